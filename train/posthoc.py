"""Cutting a finished model: bundle → smaller bundle, with statistics from data or from the system alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.batches import Loss, Outputs, all_outputs
from ssmith.train.cuts import CutReport, LayerCut
from ssmith.train.cutter import Aim, Criterion, Cutter, alone
from ssmith.train.data import load
from ssmith.train.evaluate import in_batches, loss_of_outputs, outputs_function, relevant
from ssmith.train.freeze import GoldenInput, freeze
from ssmith.train.model import Network
from ssmith.train.splits import Splits
from ssmith.train.statistics import undisturbed
from ssmith.train.thaw import thaw

CPU = torch.device("cpu")


def reduce_posthoc(
    bundle: Bundle, *, order: int | None, tolerance: float | None, recipe: Recipe | None
) -> tuple[Bundle, list[dict[str, Any]]]:
    """Cut every layer of a frozen model once, in order, each with statistics of what the others became.

    With a recipe the task-aware criterion runs on its training data (reduction-criteria: the choice
    that keeps accuracy); without one only the exact Gramians are known, which assume white noise at
    every layer's input: the error bound holds, accuracy often does not.

    Args:
        bundle: the model.
        order: complex modes to keep in each layer; larger than a layer's leaves it alone. Or:
        tolerance: share of the spectrum to drop, Σσ² with data and Σσ without.
        recipe: whose data to use.

    Returns:
        The new bundle, whose golden vectors are the cut model's, and one record a layer.

    Raises:
        InputError: the data has other inputs or outputs than the model, or an order below one.
    """
    if order is not None and order < 1:
        raise InputError(f"--order {order}: a layer keeps at least 1 state")
    if tolerance is not None and not 0 < tolerance < 1:
        raise InputError(f"--tolerance {tolerance}: it is a share of the spectrum, above 0 and below 1")
    network = thaw(bundle).eval()
    loss: Loss | None = None
    outputs: Outputs = all_outputs
    if recipe is None:
        batches: list[Any] = [torch.tensor(case.input)[None] for case in bundle.golden()]
        held_out = batches
    else:
        splits = load(recipe)
        _check_fit(bundle, splits)
        batches = list(in_batches(splits.train, CPU, recipe.reduce.sequences))
        held_out = list(in_batches(splits.validation, CPU))
        loss, outputs = _loss(recipe, splits), _outputs(recipe, splits)
    cuts = _cut_all(network, Aim(order, tolerance, 0.0), batches, held_out, loss, outputs)
    records = CutReport(0, 1, tuple(cuts)).as_json()
    reduced = freeze(
        network,
        name=bundle.name,
        task=bundle.meta.task,
        inputs=bundle.meta.inputs,
        outputs=bundle.meta.outputs,
        period_s=bundle.meta.period_s,
        golden_inputs=[GoldenInput(case.name, case.input) for case in bundle.golden()],
        reduction=[*bundle.meta.reduction, *(cut for cut in records if cut["accepted"])],
        provenance={**bundle.meta.provenance, "reduced_from": bundle.sha256},
    )
    return reduced, records


def _cut_all(
    network: Network,
    aim: Aim,
    batches: Sequence[Any],
    held_out: Sequence[Any],
    loss: Loss | None,
    outputs: Outputs,
) -> list[LayerCut]:
    optimizer = torch.optim.SGD(network.parameters())  # the cutter exchanges parameters in one
    criterion: Criterion = "exact" if loss is None else "task-aware"
    cutter = Cutter(network, optimizer, criterion, 1, 1, "keep", loss, outputs, alone)
    cuts = []
    with undisturbed(network):
        for i, layer in enumerate(network.layers):
            before = cutter.loss(held_out)
            cut, _, _ = cutter.cut(
                f"blocks.{i}.ssm",
                layer,
                aim,
                batches,
                held_out,
                loss_before=before,
                loss_limit=float("inf"),
                seed=i,
            )
            cuts.append(cut)
    return cuts


def _loss(recipe: Recipe, splits: Splits) -> Loss:
    """The recipe's loss in its own units: a thawed network has no normalisation left to tell them."""
    scaled = _scaled(splits)

    def loss(network: nn.Module, batch: Any) -> Tensor:
        x, y, lengths = batch
        out, counted = relevant(recipe, network, x, lengths)
        if recipe.task == "regression":
            out, y = out / scaled, y / scaled
        assert isinstance(network, Network)
        return loss_of_outputs(recipe, network, out, y, counted)

    return loss


def _outputs(recipe: Recipe, splits: Splits) -> Outputs:
    plain, scaled = outputs_function(recipe), _scaled(splits)
    return lambda network, batch: plain(network, batch) / scaled


def _scaled(splits: Splits) -> Tensor:
    return torch.tensor(splits.output_std)


def _check_fit(bundle: Bundle, splits: Splits) -> None:
    model = (len(bundle.meta.inputs), len(bundle.meta.outputs))
    data = (len(splits.inputs), len(splits.outputs))
    if model != data:
        raise InputError(
            f"the model has {model[0]} inputs and {model[1]} outputs, the data {data[0]} and {data[1]}; give"
            " --data the recipe that the model was trained with"
        )
