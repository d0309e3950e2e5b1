"""The reduction's part of the page: which certificates are shown, with their figures and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ssmith import report_plots as plots
from ssmith.report_cuts import BundleRow, CutRow
from ssmith.report_data import ReportData
from ssmith.report_words import Sentence, agreement, asked_text, headline, outcome_text, plan_text, sentences

SHOWN = 6  # certificates with a figure; the table lists every cut
LARGE = 0.1  # relative difference at the worst frequency
FEW = 3  # fewer points say nothing about predictions


@dataclass(frozen=True)
class Certificate:
    """One cut on the page."""

    cut: CutRow
    when: str
    headline: str
    sentences: list[Sentence]
    figure: Markup


@dataclass(frozen=True)
class Prediction:
    """One figure of predicted against measured, and how far the two agree."""

    figure: Markup
    caption: str


@dataclass(frozen=True)
class Reduction:
    """All cuts that were made at one time: in training, or to one bundle afterwards."""

    key: str
    title: str
    intro: str
    cuts: list[CutRow]
    certificates: list[Certificate]
    predictions: list[Prediction]

    @property
    def alarming(self) -> bool:
        """Whether a response differs so much that a reader needs to hear about frequencies without data."""
        return any((c.cut.hinf_error or 0.0) > LARGE for c in self.certificates if c.cut.outcome == "kept")

    @property
    def hidden(self) -> int:
        """How many cuts that were tried have no certificate of their own on the page."""
        return sum(cut.outcome != "not cut" for cut in self.cuts) - len(self.certificates)


def reductions(data: ReportData) -> list[Reduction]:
    """Training's cuts first, then those of each bundle that was cut afterwards; equal ones once."""
    found = []
    if data.cuts:
        plan = f"{plan_text(data.plan)} " if data.plan else ""
        intro = (plan + outcome_text(data.cuts)).strip()
        found.append(_reduction("training", "During training", intro, data.cuts))
    for index, bundle in enumerate(data.bundles):
        if bundle.cuts and all(bundle.cuts != other.cuts for other in data.bundles[:index]):
            intro = f"{_model(bundle)} {outcome_text(bundle.cuts)}".strip()
            found.append(
                _reduction(
                    f"after-{index}", f"After training: {bundle.model} in {bundle.file}", intro, bundle.cuts
                )
            )
    return found


def notable(cuts: Sequence[CutRow], limit: int = SHOWN) -> list[CutRow]:
    """The cuts to explain one by one, in their order; all of them where there are few.

    Of many: the costliest that stands, the costliest that was undone, the one that moved the outputs most,
    the last that stands of each layer.
    """
    tried = [cut for cut in cuts if cut.singular_values and cut.outcome != "not cut"]
    if len(tried) <= limit:
        return tried
    chosen = list(dict.fromkeys(_by_interest(tried)))[:limit]
    return [tried[index] for index in sorted(chosen)]


def _by_interest(cuts: Sequence[CutRow]) -> Iterator[int]:
    kept = [i for i, cut in enumerate(cuts) if cut.outcome == "kept"]
    undone = [i for i, cut in enumerate(cuts) if cut.outcome == "undone"]
    for group in (kept, undone):
        if group:
            yield max(group, key=lambda i: (cuts[i].cost or 0.0, i))
    if kept:
        yield max(kept, key=lambda i: (cuts[i].output_error or 0.0, i))
    yield from {cuts[i].layer: i for i in kept}.values()


def _reduction(key: str, title: str, intro: str, cuts: list[CutRow]) -> Reduction:
    certificates = []
    for index, cut in enumerate(notable(cuts)):
        when = f"step {cut.step:,}".replace(",", "\u202f") if cut.step else "after training"
        where = f"in figure {index + 1} ({title}, {when})"
        figure = Markup(plots.spectrum_plot(cut, where))
        certificates.append(Certificate(cut, when, headline(cut), sentences(cut), figure))
    return Reduction(key, title, intro, cuts, certificates, list(_predictions(cuts, title)))


def _predictions(cuts: list[CutRow], title: str) -> Iterator[Prediction]:
    measures: tuple[plots.Measure, ...] = ("output_error", "cost")
    for measure in measures:
        pairs = [p for cut in cuts if (p := plots.predicted_and_measured(cut, measure)) is not None]
        if len(pairs) < FEW:
            continue
        alike = agreement(pairs)
        caption = f"{len(pairs)} cuts."
        if alike is not None:
            what = "moved the outputs" if measure == "output_error" else "raised the loss"
            caption = (
                f"Of any two of these {len(pairs)} cuts, the one predicted to cost more {what} more in"
                f" {100 * alike:.0f} % of the cases (50 % would be chance)."
            )
        yield Prediction(Markup(plots.prediction_plot(cuts, measure, title)), caption)


def _model(bundle: BundleRow) -> str:
    orders = f" ({plots.range_text(bundle.orders)} states a layer now)" if bundle.orders else ""
    goal = f", asked {asked_text(bundle.reduced_to)}" if bundle.reduced_to else ""
    tuned = f", then trained on: {bundle.fine_tuned}" if bundle.fine_tuned else ""
    return f"The model {bundle.model} in {bundle.file}{orders} was cut when it was finished{goal}{tuned}."
