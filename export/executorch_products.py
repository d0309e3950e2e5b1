"""Which matrix product of a program is computed in which precision.

Import this module inside functions only: it needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ssmith import ops
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.export.executorch_channels import Into, Out, separable
from ssmith.export.executorch_int8 import Dynamic, Static
from ssmith.export.executorch_layers import Dense, Product
from ssmith.ops import Float32
from ssmith.quant import product_weights
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime import integer_weights
from ssmith.runtime.integer_model import Float64
from ssmith.runtime.products import rounded_products
from ssmith.runtime.rounding import rounded_rows
from ssmith.runtime.simulate import channel_products, plan_of

How = Literal["float32", "static", "dynamic"]


@dataclass(frozen=True)
class Products:
    """Makes the products of one bundle in one precision.

    Args:
        how: of each product by its key.
        rounded: codes and weights of the static ones by their keys.
        frames: whether many frames come at once.
    """

    how: dict[str, How]
    rounded: dict[str, integer_weights.Product]
    frames: bool

    @classmethod
    def of(cls, bundle: Bundle, precision: ArtifactPrecision, *, frames: bool) -> Products:
        """As ``precision`` says; in ``mixed`` what asks for 16-bit activations stays float32.

        Raises:
            InputError: int8 without a calibration, mixed without a plan, or a precision that
                ExecuTorch has not.
        """
        keys = product_weights(bundle.meta.ops)
        how: dict[str, How]
        if precision == "mixed":
            plan = plan_of(bundle)
            how = {key: "static" if plan[key] == "int8-a8" else "float32" for key in keys}
        elif precision in ("float32", "int8", "int8-dynamic"):
            kinds: dict[str, How] = {"float32": "float32", "int8": "static", "int8-dynamic": "dynamic"}
            how = dict.fromkeys(keys, kinds[precision])
            if precision == "int8-dynamic":
                how |= dict.fromkeys(channel_products(bundle), "float32")
        else:
            raise InputError(f"ExecuTorch has no {precision}; write float32, int8, int8-dynamic or mixed")
        rounded = rounded_products(bundle, 8) if "static" in how.values() else {}
        return cls(how, rounded, frames)

    def takes_affine(self, op: ops.Linear | ops.SSM) -> bool:
        """Whether an affine op before ``op`` costs nothing, as codes are an affine map already."""
        return self.how[op.name if isinstance(op, ops.Linear) else f"{op.name}.B"] == "static"

    def make(
        self,
        key: str,
        weight: Float32,
        bias: Float32 | Float64 | None,
        before: tuple[Float32, Float32] | None,
        rows: slice = slice(None),
    ) -> Product:
        """One product, or ``rows`` of it; ``before``: scale and shift of a folded affine op."""
        own = None if bias is None else bias[rows]
        if self.how[key] == "static":
            product = _rows(self.rounded[key], rows)
            extra = 0.0 if own is None else own.astype(np.float64)
            return Static(product, extra, before, frames=self.frames)
        bias = None if own is None else own.astype(np.float32)
        if self.how[key] == "float32":
            return Dense(weight[rows], bias)
        codes, scales = rounded_rows(weight[rows].astype(np.float64))
        return Dynamic(codes.astype(np.int8), scales, bias)

    def into(self, op: ops.SSM, B: Float32, before: tuple[Float32, Float32] | None) -> Product:
        """B u of an SSM; ``before`` as of ``make``."""
        key = f"{op.name}.B"
        if not separable(op.channels):
            return self.make(key, B, None, before)
        if self.how[key] == "float32":
            return Into(op.channels, B, None)
        p = self.rounded[key]
        return Into(op.channels, p.weight * p.scale[:, None], p.bias, p.codes, before)

    def out(self, op: ops.SSM, C: Float32, bias: Float64 | None) -> Product:
        """C x + bias of an SSM."""
        key = f"{op.name}.C"
        if not separable(op.channels):
            return self.make(key, C, bias, None)
        if self.how[key] == "float32":
            return Out(op.channels, C, bias)
        p = self.rounded[key]
        total = p.bias if bias is None else p.bias + bias
        return Out(op.channels, p.weight * p.scale[:, None], total, p.codes)


def _rows(product: integer_weights.Product, rows: slice) -> integer_weights.Product:
    return replace(
        product,
        weight=product.weight[rows],
        scale=product.scale[rows],
        bias=product.bias[rows],
        noise=product.noise[rows],
    )
