r"""Empirical Gramians: what the states do on data, and how much the outputs care.

For a layer x_k = Λ x_{k-1} + B u_k, y_k = Re(C x_k) in planar real coordinates (2N),

.. math::
    P = \frac{1}{M}\sum_k x_k x_k^T, \qquad Q = \frac{1}{M}\sum_k g_k g_k^T, \qquad
    g_k = C_R^T e_k + A_R^T g_{k+1}, \quad e_k = \partial (v^T f) / \partial y_k

over the M valid steps of some training sequences; f are the outputs of the whole network, v independent
random signs. Replacing x by Π x at one step changes v·f by g^T (I - Π) x to first order; if g and x are
independent, the expected square is smallest for the balancing projection of (P, Q), and then Σ_{i>q} σ_i².
White inputs and white e give the exact Gramians back. W = E[e eᵀ] alone weights the layer's outputs where the
observability is otherwise exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.recipe import CriterionName
from ssmith.reduce import CRITERIA, Measured
from ssmith.system import Real
from ssmith.train.batches import Outputs, all_outputs, parts
from ssmith.train.model import valid_steps
from ssmith.train.scan import adjoint_states, scan_states
from ssmith.train.ssm_layer import SSMLayer
from ssmith.train.undisturbed import undisturbed


@dataclass(frozen=True, eq=False)
class Statistics:
    """Empirical Gramians of one layer, float64, planar.

    Attributes:
        controllability: P (2N, 2N), second moment of the states.
        observability: Q (2N, 2N), second moment of the gradients at the states, or None if not asked for.
        output_weight: W (H, H), second moment of the gradients at the layer's outputs, or None likewise.
        steps: valid time steps behind them.
    """

    controllability: Real
    observability: Real | None
    output_weight: Real | None
    steps: int

    @property
    def measured(self) -> Measured:
        """As `ssmith.reduce.reduce_system` takes it."""
        return Measured(self.controllability, self.observability, self.output_weight, self.steps)


def measured(
    criterion: CriterionName,
    model: nn.Module,
    layers: Mapping[str, SSMLayer],
    batches: Iterable[Any],
    *,
    outputs: Outputs = all_outputs,
    seed: int = 0,
) -> dict[str, Measured]:
    """What a criterion needs to know about some layers, by name; nothing is run where it needs nothing.

    Arguments and errors as for `collect`.
    """
    needs = CRITERIA[criterion]
    if not (needs.states or needs.gradients):
        return {name: Measured() for name in layers}
    found = collect(model, layers, batches, outputs=outputs, gradients=needs.gradients, seed=seed)
    return {name: statistics.measured for name, statistics in found.items()}


def collect(
    model: nn.Module,
    layers: Mapping[str, SSMLayer],
    batches: Iterable[Any],
    *,
    outputs: Outputs = all_outputs,
    gradients: bool = True,
    seed: int = 0,
) -> dict[str, Statistics]:
    """Run the model on batches and return the empirical Gramians of its SSM layers.

    Works for any module that contains SSM layers: their inputs and outputs are watched by hooks. The model
    runs in evaluation mode; its modes, gradients, buffers and the random state come back untouched.

    Args:
        model: the network.
        layers: name → layer, the ones to watch.
        batches: training batches (see `batches.parts`); 50 to 200 sequences are enough.
        outputs: (model, batch) → outputs of any shape that the task depends on, padding masked.
        gradients: also measure Q (one backward pass per batch).
        seed: of the random signs.

    Raises:
        InputError: a layer that the model did not call (or no batches), states or gradients that are not
            finite, or lengths that do not fit a layer's steps.
    """
    sums = {name: _Sums(layer) for name, layer in layers.items()}
    signs = torch.Generator().manual_seed(seed)
    with undisturbed(model):
        for batch in batches:
            _add_batch(model, batch, sums, outputs, signs if gradients else None)
    return {name: s.finish(name) for name, s in sums.items()}


def _add_batch(
    model: nn.Module,
    batch: Any,
    sums: Mapping[str, _Sums],
    outputs: Outputs,
    signs: torch.Generator | None,
) -> None:
    calls: list[tuple[_Sums, Tensor, Tensor]] = []

    def watch(s: _Sums) -> Any:
        def hook(_: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
            if signs is not None and not y.requires_grad:
                y = y.requires_grad_()
            calls.append((s, args[0].detach(), y))
            return y

        return hook

    handles = [s.layer.register_forward_hook(watch(s)) for s in sums.values()]
    try:
        with torch.set_grad_enabled(signs is not None):
            f = outputs(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    errors: tuple[Tensor | None, ...] = (None,) * len(calls)
    if signs is not None and calls:
        v = torch.randint(0, 2, f.shape, generator=signs).to(f) * 2 - 1
        errors = torch.autograd.grad((v * f).sum(), [y for *_, y in calls], allow_unused=True)
    lengths = parts(batch).lengths
    for (s, u, y), e in zip(calls, errors, strict=True):
        s.add(u, None if signs is None else torch.zeros_like(y) if e is None else e, lengths)


class _Sums:
    """Σ x xᵀ, Σ g gᵀ and Σ e eᵀ of one layer, accumulated in float64 on the CPU."""

    def __init__(self, layer: SSMLayer) -> None:
        self.layer = layer
        size = 2 * layer.order
        self.states = torch.zeros(size, size, dtype=torch.float64)
        self.gradients: Tensor | None = None
        self.errors: Tensor | None = None
        self.steps = 0

    def add(self, u: Tensor, e: Tensor | None, lengths: Tensor | None) -> None:
        """Add one call: u (batch, T, H), e (batch, T, H) or None, lengths (batch,) or None."""
        with torch.no_grad():
            lam, b, c = (
                t.detach().cpu()
                for t in (self.layer.poles(), self.layer.input_matrix(), self.layer.output_matrix())
            )
            states = valid_rows(scan_states(u.float().cpu(), lam, b), lengths)
            self.states += states.T @ states
            self.steps += len(states)
            if e is not None:
                e = e.float().cpu()
                self.gradients = _plus(self.gradients, valid_rows(adjoint_states(e, lam, c), lengths))
                self.errors = _plus(self.errors, valid_rows(e, lengths))

    def finish(self, name: str) -> Statistics:
        """Divide by the number of steps; refuse what is no Gramian."""
        require_called(name, self.steps)
        moments = {"states": self.states, "gradients": self.gradients, "errors": self.errors}
        found = {kind: None if sums is None else sums / self.steps for kind, sums in moments.items()}
        for kind, moment in found.items():
            if moment is not None and not moment.isfinite().all():
                what = "states" if kind == "states" else "gradients of the outputs"
                raise InputError(
                    f"layer {name!r}: its {what} on the training data are not finite, so nothing was cut; "
                    "the training has diverged: lower the learning rate or look for NaN in the data"
                )
        p, q, w = (None if moment is None else moment.numpy() for moment in found.values())
        assert p is not None  # states are always measured
        return Statistics(p, q, w, self.steps)


def valid_rows(x: Tensor, lengths: Tensor | None) -> Tensor:
    """The steps of sequences that count, one below the other: x (batch, T, K) → (M, K), float64.

    Raises:
        InputError: lengths (batch,) that do not fit.
    """
    batch, steps = x.shape[:2]
    if lengths is None:
        return x.flatten(0, 1).double()
    if len(lengths) != batch or int(lengths.max()) > steps:
        raise InputError(
            f"a layer sees {batch} sequences of {steps} steps, but lengths go up to "
            f"{int(lengths.max())} for {len(lengths)}; statistics need the layer at the input's rate"
        )
    return x[valid_steps(lengths.to(x.device), steps)].double()


def require_called(name: str, steps: int) -> None:
    """Raise InputError if a layer has seen no step: nothing is known about it."""
    if steps == 0:
        raise InputError(f"the model did not call layer {name!r}, so nothing is known about its states")


def _plus(total: Tensor | None, rows: Tensor) -> Tensor:
    """Σ_k x_k x_kᵀ with more rows x_k, (M, K)."""
    moment = rows.T @ rows
    return moment if total is None else total + moment
