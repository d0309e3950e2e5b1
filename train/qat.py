"""Quantisation-aware training: a frozen model goes on learning with the numbers of int8 in its products.

The frozen form is what is trained, BatchNorm folded, because that is what ships. It starts where
rounding after training ends: its weights are the int8 weights, its scales those that the ranges gave. The
scales stay; taken from the ranges anew on the way, the loss mostly ended higher. The given model in float
is the teacher. What is kept has the lowest loss on validation, as int8 computes it; weights and poles are put
on their codes, so that the float32 form of the model and every integer form have the same ones. Where no
step has a lower loss than rounding after training and a metric as good, that is the result; so it is where
rounding hardly raises the loss, for then training on would only be training longer.
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
from ssmith.runtime.integer_steps_taken import steps_taken
from ssmith.runtime.integer_weights import Product, Seen, TrainedScales, make_product
from ssmith.runtime.products import rounded_products
from ssmith.system import channel_mask
from ssmith.train.distill import Teacher
from ssmith.train.evaluate import Evaluation, evaluate
from ssmith.train.fake_quant_model import RoundedNetwork, product_keys, rounded_network
from ssmith.train.finetune import better, fine_tune
from ssmith.train.freeze import GoldenInput, freeze, unrecorded
from ssmith.train.model import Network
from ssmith.train.progress import Progress
from ssmith.train.splits import Splits
from ssmith.train.thaw import thaw

Bits = Literal[8, 16]
TEACHING = 0.5  # the given model's share of the loss: it keeps what few data cannot teach again
CALIBRATION_FRAMES = 20_000
_PAIRINGS = 4  # one is enough unless another choice of codes turns out better with it
FACTS = ("name", "task", "inputs", "outputs", "period_s", "reduction", "provenance")


@dataclass(frozen=True, eq=False)
class Trained:
    """What quantisation-aware training found.

    Attributes:
        bundle: with new weights, ranges, scales and golden vectors; the given one, calibrated, if no
            step beat rounding after training.
        helped: whether one did.
        activation_bits: of the codes it was for.
        steps: how many were done; 0 where rounding costs too little to train on.
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
        name = recipe.metric
        kept = f"step {self.best_step} of {self.steps}"
        if not self.steps:
            rise = self.rounded_before.loss / self.float_before.loss - 1
            kept = f"rounding after training, which changes the loss by {rise:+.2%}: no step done"
        elif not self.helped:
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
        recipe: batches, rates, loss and seed; ``quantize``.
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
    if steps < 1:
        raise InputError(f"{steps} steps of training with rounding: write 1 or more, or leave it out")
    data = _calibration_data(splits)
    given = calibrate(bundle, data)
    start = calibrate(_frozen(thaw(given), bundle), data)
    before = _measured(recipe, thaw(given), splits)
    rounded_before = _measured(recipe, rounded_from(start, activation_bits), splits)
    untouched = (before, rounded_before, before, rounded_before)
    if rounded_before.loss <= (1 + recipe.quantize.qat_above) * before.loss:
        return Trained(given, False, activation_bits, 0, 0, *untouched)
    products = _products(start, activation_bits)
    model = _with_rounding(start, products, activation_bits)
    _take_up_means(model, products)
    tuned = fine_tune(
        model,
        recipe,
        splits,
        steps,
        rate=recipe.quantize.learning_rate_factor,
        by_loss=True,
        teacher=Teacher(thaw(given), weight=TEACHING),
        on_progress=on_progress,
    )
    lower = tuned.best_step > 0 and tuned.after.loss < rounded_before.loss
    if not lower or better(recipe, rounded_before, tuned.after):
        return Trained(given, False, activation_bits, steps, 0, *untouched)
    rounding = Rounding(activation_bits=activation_bits, steps=steps)
    ready = _finished(model, bundle, data, rounding)
    after, rounded = (
        _measured(recipe, network, splits) for network in (thaw(ready), rounded_from(ready, activation_bits))
    )
    kept = (before, rounded_before, after, rounded)
    return Trained(ready, True, activation_bits, steps, tuned.best_step, *kept)


def rounded_from(bundle: Bundle, activation_bits: Bits) -> RoundedNetwork:
    """The network that computes, in torch, what the int8 form of a calibrated bundle does.

    Raises:
        InputError: it was not frozen from a ``Network``, or has no int8 form.
    """
    products = rounded_products(bundle, activation_bits)
    taken = steps_taken(bundle, activation_bits)
    details = {key: (_float32(_mean(found)), _float32(taken[key])) for key, found in products.items()}
    return _with_rounding(bundle, products, activation_bits, details).eval()


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


def _with_rounding(
    bundle: Bundle,
    products: Mapping[str, Product],
    bits: Bits,
    details: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> RoundedNetwork:
    """A calibrated bundle as a rounded network, its weights put on the codes of the products."""
    tensors, scales = dict(bundle.tensors), []
    named = product_weights(bundle.meta.ops)
    for key, name in named.items():
        scales.append(_scales(products[key], bits))
        tensors[name] = _on_codes(products[key].weight.astype(np.float64), scales[-1])
    network = thaw(Bundle(bundle.meta, tensors))
    keys = product_keys(network)
    by_key = dict(zip(keys, scales, strict=True))  # whatever the bundle calls its ops
    renamed = details and dict(zip(keys, (details[key] for key in named), strict=True))
    input_scale = torch.tensor(lower_integer(bundle, bits).input_scale)
    return rounded_network(network, by_key, input_scale, renamed)


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
            mean = _mean(products[name.replace("blocks.", "block")])
            module.bias.add_(torch.tensor(mean, dtype=module.bias.dtype))


def _mean(product: Product) -> Any:
    """What rounding takes back of the means of what it does to the weights, (M)."""
    rounded = product.scale[:, None] * product.weight @ (product.codes.offset / product.codes.step)
    return product.bias - rounded


def _products(bundle: Bundle, bits: Bits) -> dict[str, Product]:
    """Rounding after training, but with one step for both parts of a state, which integers make exactly."""
    products = rounded_products(bundle, bits)
    for op in bundle.meta.ops:
        if isinstance(op, SSM):
            weight, seen = bundle.tensors[op.C], Seen.read(bundle.tensors, f"{op.name}.state")
            found = products[f"{op.name}.C"]
            own = None if op.channels is None else np.tile(channel_mask(op.channels), (2, 1)).T
            for _ in range(_PAIRINGS):
                paired = np.tile(found.codes.step.reshape(2, -1).max(0), 2)
                if np.array_equal(paired, found.codes.step):
                    break
                found = make_product(weight, seen, bits, floor=paired, inside=own)
            products[f"{op.name}.C"] = found
    return products


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


def _float32(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
