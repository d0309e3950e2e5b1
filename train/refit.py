r"""Fitting a cut layer's output matrix to what the layer said before, on the data.

With z the states of the reduced layer and y = Re(C x) the part of the full layer's output that comes from its
states, both over the layer's inputs on training sequences,

.. math:: \min_{V} \; \frac{1}{M} \sum_k \|y_k - V z_k\|^2 + \rho \|V\|_F^2

with V planar (Y, 2r) and a small ridge ρ. Poles and B stay, so the states do, and with them stability; an
a-priori error bound is void.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssmith.reduce import Reduction
from ssmith.reduce.planar import channel_rows
from ssmith.reduce.refit import refit_output
from ssmith.system import Complex, Real, System
from ssmith.train.batches import Outputs, parts
from ssmith.train.scan import scan_states
from ssmith.train.ssm_layer import SSMLayer
from ssmith.train.statistics import require_called, valid_rows
from ssmith.train.undisturbed import undisturbed


def refitted(
    reduction: Reduction,
    model: nn.Module,
    name: str,
    layer: SSMLayer,
    batches: Iterable[Any],
    outputs: Outputs,
) -> Reduction:
    """The reduction with C fitted to the layer's answers on data; `error_bound` is nan.

    Args:
        reduction: of the layer.
        model: that the layer is in, uncut; it runs in evaluation mode and comes back untouched.
        name: the layer's, for messages.
        layer: uncut.
        batches: training batches.
        outputs: runs a batch through the model.

    Raises:
        InputError: the model did not call the layer, or a fit is impossible (see `refit_output`).
    """
    full, small = layer.system(), reduction.system
    inputs: list[Tensor] = []
    gram = torch.zeros(2 * small.order, 2 * small.order, dtype=torch.float64)
    cross = torch.zeros(full.outputs, 2 * small.order, dtype=torch.float64)
    steps = 0
    handle = layer.register_forward_hook(lambda m, args, y: inputs.append(args[0].detach()))
    try:
        with undisturbed(model), torch.no_grad():
            for batch in batches:
                inputs.clear()
                outputs(model, batch)
                for u in inputs:
                    u, lengths = u.float().cpu(), parts(batch).lengths
                    z = valid_rows(scan_states(u, *_dynamics(small)), lengths)
                    y = valid_rows(scan_states(u, *_dynamics(full)), lengths) @ _output(full).T
                    gram += z.T @ z
                    cross += y.T @ z
                    steps += len(z)
    finally:
        handle.remove()
    require_called(name, steps)
    fitted = _fitted(small, (gram / steps).numpy(), (cross / steps).numpy())
    return replace(
        reduction,
        system=replace(small, C=fitted),
        error_bound=math.nan,
        notes=(*reduction.notes, f"C fitted to the full layer's outputs on {steps} time steps"),
    )


def _fitted(system: System, gram: Real, cross: Real) -> Complex:
    """C by least squares; of a system with channels each one's own."""
    if system.channels is None:
        return refit_output(gram, cross)
    whole = np.zeros(system.C.shape, np.complex128)
    for h, modes in enumerate(system.channels):
        if modes:
            rows = channel_rows(system.channels, h, system.order)
            whole[h, rows[:modes]] = refit_output(gram[np.ix_(rows, rows)], cross[h : h + 1, rows])
    return whole


def _dynamics(system: System) -> tuple[Tensor, Tensor]:
    """λ (2, N) and B (2N, U) as the scan takes them, float32."""
    lam, b = torch.tensor(system.lam), torch.tensor(system.B)
    return torch.stack([lam.real, lam.imag]).float(), torch.cat([b.real, b.imag]).float()


def _output(system: System) -> Tensor:
    """C (Y, 2N), planar, float64."""
    c = torch.tensor(system.C)
    return torch.cat([c.real, -c.imag], dim=1)
