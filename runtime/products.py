"""The matrix products of a bundle in int8, as every form of it rounds them: C, ONNX and ExecuTorch.

Each product has a key (``ssmith.quant.product_weights``). With u its input, the vector that the op before
has produced (for ``OP.C`` the planar states),

    q = clip(rint((u - codes.offset) / codes.step), -codes.limit, codes.limit)
    W u ≈ scale ∘ (weight @ q) + bias

A Linear's own bias comes on top; D of an SSM multiplies ``step ∘ q + offset`` of its ``OP.B``.
"""

from __future__ import annotations

import numpy as np

from ssmith.bundle import Bundle
from ssmith.runtime.integer_lower import ActivationBits, settled
from ssmith.runtime.integer_model import Float64
from ssmith.runtime.integer_ssm import SsmStep
from ssmith.runtime.integer_steps import LinearStep
from ssmith.runtime.integer_weights import Codes, Product


def rounded_products(bundle: Bundle, activation_bits: ActivationBits = 16) -> dict[str, Product]:
    """Codes and int8 weights of every product by its key, exactly those of ``lower_integer``.

    Args:
        bundle: calibrated; variants are not looked at.
        activation_bits: of the codes that meet weights, 16 or 8.

    Raises:
        InputError: as ``lower_integer``, but for bounds that only the integers between the products need.
    """
    found: dict[str, Product] = {}
    for step in settled(bundle, activation_bits).steps:
        if isinstance(step, LinearStep):
            found[step.name] = step.product
        elif isinstance(step, SsmStep):
            found |= {f"{step.name}.B": step.into, f"{step.name}.C": step.out}
    return found


def codes_of(u: Float64, codes: Codes) -> Float64:
    """Codes of real vectors, whole numbers in float64: (T, K) → (T, K)."""
    q: Float64 = np.clip(np.rint((u - codes.offset) / codes.step), -codes.limit, codes.limit)
    return q
