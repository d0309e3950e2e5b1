"""Quantisation-aware training: a frozen model goes on learning with the numbers of int8 in its products.

The frozen form is what is trained, BatchNorm folded, because that is what ships. It starts where
rounding after training ends: its weights are the int8 weights, its scales those that the ranges gave. The
scales follow the weights for a while and then stay. What is kept is the best on validation, as int8
computes it; weights and poles are put on their codes, so that the float32 form of the model and every
integer form have the same ones. Where no step beats rounding after training, that is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import SSM, Embedding
from ssmith.quant import SCALE_PARTS, SCALES, WEIGHT_LIMIT, Rounding, product_weights
from ssmith.recipe import Recipe
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_ssm import quantize_poles
from ssmith.runtime.integer_weights import Product, TrainedScales
from ssmith.runtime.products import rounded_products
from ssmith.train.evaluate import Evaluation, evaluate
from ssmith.train.fake_quant_model import RoundedNetwork, rounded_network
from ssmith.train.finetune import better, fine_tune
from ssmith.train.freeze import GoldenInput, freeze, unrecorded
from ssmith.train.model import Network
from ssmith.train.progress import Progress
from ssmith.train.splits import Splits
from ssmith.train.thaw import thaw

Bits = Literal[8, 16]
REFRESHES = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the steps: when scales are taken from the ranges anew
CALIBRATION_FRAMES = 20_000
FACTS = ("name", "task", "inputs", "outputs", "period_s", "reduction", "provenance")


@dataclass(frozen=True, eq=False)
class Trained:
    """What quantisation-aware training found.

    Attributes:
        bundle: with new weights, ranges, scales and golden vectors; the given one, calibrated, if no
            step beat rounding after training.
        helped: whether one did.
        activation_bits: of the codes it was for.
        steps: how many were done.
        best_step: whose weights were kept; 0 if none.
        float_before: loss and metric on validation of the given model.
        rounded_before: of its int8 form, rounded after training.
        float_after: of the kept weights in float32.
        rounded_after: of their int8 form.
    """

    bundle: Bundle
    helped: bool
    activation_bits: Bits
    steps: int
    best_step: int
    float_before: Evaluation
    rounded_before: Evaluation
    float_after: Evaluation
    rounded_after: Evaluation

    def facts(self) -> dict[str, Any]:
        """All but the bundle, as plain JSON values."""
        names = ("float_before", "rounded_before", "float_after", "rounded_after")
        plain = ("helped", "activation_bits", "steps", "best_step")
        return {n: getattr(self, n) for n in plain} | {n: asdict(getattr(self, n)) for n in names}

    def words(self, recipe: Recipe) -> dict[str, Any]:
        """What to tell the user."""
        name = "accuracy" if recipe.task == "classification" else "nrmse"
        kept = f"step {self.best_step} of {self.steps}"
        if not self.helped:
            kept = f"none of {self.steps} steps: no better than rounding after training, which is kept"
        return {
            "activation bits": self.activation_bits,
            "kept": kept,
            f"validation {name} in float32": round(self.float_before.metric, 4),
            f"validation {name} rounded after training": round(self.rounded_before.metric, 4),
            f"validation {name} trained with rounding": round(self.rounded_after.metric, 4),
            f"validation {name} in float32 after it": round(self.float_after.metric, 4),
        }


def quantisation_aware(
    bundle: Bundle,
    recipe: Recipe,
    splits: Splits,
    steps: int,
    *,
    activation_bits: Bits,
    on_progress: Callable[[Progress], object] | None = None,
) -> Trained:
    """Train a frozen model on with the rounding of its int8 form; equal arguments give equal bytes.

    Args:
        bundle: frozen from a ``Network``, one order; ranges and scales that it has are replaced.
        recipe: batches, rates, loss and seed; ``quantize.learning_rate_factor``.
        splits: the data; training and validation are used.
        steps: how many.
        activation_bits: of the codes that meet weights.
        on_progress: called after every step.

    Raises:
        InputError: fewer than one step, several orders in the bundle, a bundle that cannot be thawed or has
            no int8 form.
        SsmithError: the loss diverged.
    """
    if bundle.variants:
        raise InputError(
            f"the bundle {bundle.name!r} holds {len(bundle.orders)} orders, and each needs a training of its"
            f" own; take one of {bundle.orders} first, bundle.variant(ORDER)"
        )
    data = _calibration_data(splits)
    given = calibrate(bundle, data)
    network = thaw(given)
    start = calibrate(_frozen(network, bundle), data)
    products = rounded_products(start, activation_bits)
    model = _with_rounding(start, products, activation_bits)
    before = _measured(recipe, thaw(given), splits)
    rounded_before = _measured(recipe, model, splits)
    _take_up_means(model, products)
    refresh = {max(1, round(share * steps)) for share in REFRESHES}

    def before_step(done: int) -> None:
        if done in refresh:
            _refresh(model, bundle, data, activation_bits)

    tuned = fine_tune(
        model,
        recipe,
        splits,
        steps,
        rate=recipe.quantize.learning_rate_factor,
        before_step=before_step,
        on_progress=on_progress,
    )
    if tuned.best_step == 0 or not better(recipe, tuned.after, rounded_before):
        kept = (before, rounded_before, before, rounded_before)
        return Trained(given, False, activation_bits, steps, 0, *kept)
    rounding = Rounding(activation_bits=activation_bits, steps=steps)
    ready = _finished(model, bundle, data, rounding)
    after = _measured(recipe, thaw(ready), splits)
    return Trained(
        ready, True, activation_bits, steps, tuned.best_step, before, rounded_before, after, tuned.after
    )


def rounded_from(bundle: Bundle, activation_bits: Bits) -> RoundedNetwork:
    """The network that computes, in torch, what the int8 form of a calibrated bundle does.

    Of a bundle without trained scales the means that rounding takes back are missing in its SSMs.

    Raises:
        InputError: it was not frozen from a ``Network``, or has no int8 form.
    """
    model = _with_rounding(bundle, rounded_products(bundle, activation_bits), activation_bits)
    return model.eval()


def _measured(recipe: Recipe, network: Network, splits: Splits) -> Evaluation:
    return evaluate(recipe, network, splits.validation, torch.device("cpu"))


def _calibration_data(splits: Splits) -> list[Any]:
    """Training sequences, evenly chosen, about `CALIBRATION_FRAMES`."""
    sequences = splits.train.inputs
    every = max(1, sum(map(len, sequences)) // CALIBRATION_FRAMES)
    return list(sequences[::every])


def _facts(bundle: Bundle) -> dict[str, Any]:
    return {name: getattr(bundle.meta, name) for name in FACTS}


def _frozen(network: Network, bundle: Bundle) -> Bundle:
    """The network's weights now as a bundle without golden vectors; what it is called is the bundle's."""
    plain = thaw(bundle)
    known = plain.state_dict()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if k in known})
    return unrecorded(plain.cpu().eval(), _facts(bundle))


def _with_rounding(bundle: Bundle, products: Mapping[str, Product], bits: Bits) -> RoundedNetwork:
    """A calibrated bundle as a rounded network, its weights put on the codes of the products."""
    scales = {key: _scales(product, bits) for key, product in products.items()}
    model = lower_integer(bundle, bits)
    tensors = dict(bundle.tensors)
    for key, name in product_weights(bundle.meta.ops).items():
        tensors[name] = _on_codes(products[key].weight.astype(np.float64), scales[key])
    network = rounded_network(thaw(Bundle(bundle.meta, tensors)), scales, torch.tensor(model.input_scale))
    return network


def _scales(product: Product, bits: Bits) -> TrainedScales:
    """What a product was rounded with, in float32 as a bundle keeps it."""
    parts = (product.codes.step, product.codes.offset, product.scale)
    step, offset, row = (part.astype(np.float32).astype(np.float64) for part in parts)
    return TrainedScales(step, offset, row, bits)


def _on_codes(codes: Any, scales: TrainedScales) -> Any:
    """The real weights of int8 codes (M, K)."""
    return (scales.row[:, None] * codes / scales.step).astype(np.float32)


@torch.no_grad()
def _take_up_means(model: RoundedNetwork, products: Mapping[str, Product]) -> None:
    """Put what rounding takes back of the means into the biases that there are; an SSM has none."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            product = products[name.replace("blocks.", "block")]
            rounded = product.scale[:, None] * product.weight @ (product.codes.offset / product.codes.step)
            module.bias.add_(torch.tensor(product.bias - rounded, dtype=module.bias.dtype))


def _refresh(model: RoundedNetwork, bundle: Bundle, data: list[Any], bits: Bits) -> None:
    """Scales from the ranges that the weights of now lead to."""
    now = calibrate(_frozen(model, bundle), data)
    products = rounded_products(now, bits)
    for key, fake in model.products().items():
        fake.load(_scales(products[key], bits))


def _finished(model: RoundedNetwork, bundle: Bundle, data: list[Any], rounding: Rounding) -> Bundle:
    """The trained network frozen on its codes, with ranges, golden vectors and scales."""
    loose = _frozen(model, bundle)
    tensors: dict[str, Any] = {}
    for op in loose.meta.ops:
        if isinstance(op, SSM):
            lam, _ = quantize_poles(op.name, loose.tensors[op.lam])
            tensors[op.lam] = (lam * 2.0**-31).astype(np.float32)
    for key, name in product_weights(loose.meta.ops).items():
        fake = model.products()[key]
        step, row = (_numpy(a) for a in (fake.step, fake.row))
        scales = TrainedScales(step, _numpy(fake.offset), row, rounding.activation_bits)
        exact = loose.tensors[name] * step / row[:, None]
        tensors[name] = _on_codes(np.clip(np.rint(exact), -WEIGHT_LIMIT, WEIGHT_LIMIT), scales)
    first = loose.meta.ops[0]
    if isinstance(first, Embedding):
        table = loose.tensors[first.weight]
        scale = np.maximum(np.abs(table).max(0), np.finfo(np.float32).tiny) / WEIGHT_LIMIT
        tensors[first.weight] = (np.rint(table / scale) * scale).astype(np.float32)
    on_codes = Bundle(loose.meta, {**loose.tensors, **tensors})
    facts = _facts(bundle)
    provenance = {**facts.pop("provenance"), "quantisation_aware_steps": str(rounding.steps)}
    golden = [GoldenInput(case.name, case.input) for case in bundle.golden()]
    frozen = freeze(thaw(on_codes), **facts, provenance=provenance, golden_inputs=golden)
    frozen = calibrate(frozen, data)
    scale_tensors = {
        f"{SCALES}{key}.{part}": _numpy(getattr(fake, part)).astype(np.float32)
        for key, fake in model.products().items()
        for part in SCALE_PARTS
    }
    meta = frozen.meta.model_copy(update={"rounding": rounding})
    ready = Bundle(meta, {**frozen.tensors, **scale_tensors})
    lower_integer(ready, rounding.activation_bits)  # its integers must be provable too
    return ready


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().double().numpy()
