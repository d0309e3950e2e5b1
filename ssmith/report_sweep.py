"""The accuracy-versus-order curve of one model, as an SVG file that stands alone."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from ssmith.report_svg import INK, LOST, SERIES, SOFT, svg

WIDTH, HEIGHT = 6.0, 5.0  # inches of 72 points
MANY = 18  # orders that fit under the plot
ROW = 0.085  # height of a mark's label, in units of the upper plot
Document = dict[str, Any]


def sweep_plot(document: Document) -> str:
    """The metric over the order, and below it how much the outputs change: measured and predicted.

    The prediction is √ of the dropped share of Σσ²; where the criterion counts Σσ, that share itself.

    Args:
        document: what `ssmith.train.sweep.sweep` returns.

    Returns:
        An SVG document with its own colours, which any viewer shows.
    """
    points = [point for point in document["points"] if point["reached"]]
    metric = document["metric"]

    def draw(axes: Any) -> None:
        figure = axes.figure
        axes.remove()
        plots = figure.subplots(2 if metric else 1, 1, sharex=True, squeeze=False)[:, 0]
        if metric:
            _line(plots[0], points, "metric", SERIES[0])
            plots[0].set_ylabel(f"held-out {metric}")
        _change(plots[-1], points, "held-out" if metric else "golden", document["power"])
        _marks(plots, document["marks"])
        orders = [point["order"] for point in points]
        plots[-1].set_xscale("log", base=2)
        shown = orders[:: 1 + len(orders) // MANY]
        plots[-1].set_xticks(shown, [str(order) for order in shown])
        plots[-1].minorticks_off()
        plots[-1].set_xlabel("order: states kept in each layer")

    title = f"{document['model']}: what is left at every order"
    return _alone(svg("sweep", title, draw, width=WIDTH, height=HEIGHT if metric else 0.6 * HEIGHT))


def _line(plot: Any, points: list[Document], key: str, color: str, **style: Any) -> None:
    known = [(p["order"], p[key]) for p in points if p[key] is not None]
    plot.plot([x for x, _ in known], [y for _, y in known], "o-", color=color, ms=4, **style)


def _change(plot: Any, points: list[Document], where: str, power: int) -> None:
    """Relative change of the outputs, measured and as the spectrum predicts it."""
    _line(plot, points, "output_error", SERIES[1], label="measured")
    measure = "√ dropped share of Σσ²" if power == 2 else "dropped share of Σσ"
    _line(plot, points, "predicted_change", LOST, label=f"predicted: {measure}")
    plot.set_ylabel(f"change of {where} outputs")
    plot.set_ylim(bottom=0)
    plot.legend(loc="upper right")


def _marks(plots: Any, marks: list[Document]) -> None:
    """A line through all plots for each order worth looking at, and above them what it is, a row each."""
    meanings: dict[int, list[str]] = {}
    for mark in marks:
        meanings.setdefault(mark["order"], []).append(mark["meaning"])
    for row, (order, texts) in enumerate(sorted(meanings.items())):
        top = 1.03 + ROW * (len(meanings) - 1 - row)
        style = {"color": SOFT, "lw": 1.0, "ls": (0, (2, 3)), "zorder": 1}
        for plot in plots[1:]:
            plot.axvline(order, **style)
        plots[0].axvline(order, ymax=top + ROW / 2, clip_on=False, **style)
        plots[0].annotate(
            f"{order}: {'; '.join(texts)}",
            (order, top),
            xytext=(4, 0),
            textcoords="offset points",
            xycoords=("data", "axes fraction"),
            color=INK,
            fontsize=8.5,
        )


def _alone(drawing: str) -> str:
    """A drawing made for the report's page as a file of its own: colours of the light page, a background."""
    css = (resources.files("ssmith") / "report.css").read_text("utf-8")
    colours = dict(re.findall(r"--([\w-]+):\s*(#\w+)", css.partition("@media")[0]))
    drawing = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found.group(1)], drawing)
    size = f'width="{72 * WIDTH:g}pt"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size} '
    background = f'<rect width="100%" height="100%" fill="{colours["card"]}"/>'
    start, _, rest = drawing.partition(">")
    return f"{start.replace('<svg ', head, 1)}>{background}{rest}\n"
