"""One drawing as an SVG string that fits into the page: themed by CSS, deterministic, accessible.

Matplotlib draws with placeholder colours; they become CSS variables, so that one drawing serves
light and dark. Text stays text. Equal data gives equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

WIDTH, HEIGHT = 3.8, 2.4  # inches of 72 points: small, so that text stays legible on a phone

# Placeholder colours; no drawing uses them for anything else.
INK, SOFT, GRID, LOST = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04", "#0a0a05", "#0a0a06")
_VARIABLES = {INK: "--ink", SOFT: "--soft", GRID: "--grid", LOST: "--lost"} | {
    color: f"--series-{i + 1}" for i, color in enumerate(SERIES)
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    "text.color": INK,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}


def series_color(index: int) -> str:
    """Placeholder of the series of that index; the palette repeats."""
    return SERIES[index % len(SERIES)]


def svg(
    name: str,
    title: str,
    draw: Callable[[Any], None],
    *,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> str:
    """Let ``draw`` fill Matplotlib axes; returns one ``<svg>`` element.

    Args:
        name: unique on the page; ids inside the drawing derive from it.
        title: what a screen reader says in place of the drawing.
        draw: called once with the axes.
        width: in inches of 72 points.
        height: in inches of 72 points.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=no_metadata)
    return _for_page(buffer.getvalue(), title)


def _for_page(text: str, title: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r' id="[a-zA-Z][a-zA-Z0-9.]*_\d+"', "", text)  # nothing refers to these
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, f"var({variable})")
    view = re.search(r'viewBox="[^"]*"', text)
    label = escape(title, quote=True)
    head = f'<svg class="plot" role="img" aria-label="{label}" {view.group() if view else ""}>'
    return re.sub(r"<svg[^>]*>", lambda _: head, text, count=1).strip()
