"""What the bundles of a run folder say about themselves: orders, cuts after training, origin."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.report_cuts import BundleRow, CutRow


def readable_bundles(folder: Path) -> dict[str, Bundle]:
    """File name → bundle, sorted by name; a file that is no usable bundle is left out."""
    found = {}
    for path in sorted(folder.glob("*.ssm")):
        with contextlib.suppress(InputError):
            found[path.name] = Bundle.read(path)
    return found


def bundle_rows(file: str, bundle: Bundle) -> list[BundleRow]:
    """The models in a bundle, largest first; of their cuts only those made after training.

    A variant's history begins with its main model's, which is not repeated.
    """
    main = bundle.variant(bundle.order)
    before = _after_training(main)
    rows = [_row(file, main, before)]
    for variant in bundle.variants:
        rows.append(_row(file, variant, [cut for cut in _after_training(variant) if cut not in before]))
    return rows


def _row(file: str, model: Bundle, cuts: list[CutRow]) -> BundleRow:
    origin = model.meta.provenance
    return BundleRow(
        file=file,
        model=model.name,
        bytes=len(model.to_bytes()),
        sha256=model.sha256,
        orders=[system.order for system in model.systems()],
        reduced_from=origin.get("reduced_from"),
        reduced_to=origin.get("reduced_to"),
        fine_tuned=origin.get("fine_tuned"),
        cuts=cuts,
    )


def _after_training(model: Bundle) -> list[CutRow]:
    return [cut for cut in bundle_cuts(model) if cut.step == 0]


def bundle_cuts(bundle: Bundle) -> list[CutRow]:
    """The reduction history; training counts its steps from 1, so step 0 means after training."""
    return list(_cuts(bundle))


def _cuts(bundle: Bundle) -> Iterator[CutRow]:
    for entry in bundle.meta.reduction:
        with contextlib.suppress(ValidationError):
            yield CutRow.model_validate(entry)
