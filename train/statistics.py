r"""Empirical Gramians: what the states do on data, and how much the outputs care.

For a layer x_k = Λ x_{k-1} + B u_k, y_k = Re(C x_k) in planar real coordinates (2N),

.. math::
    P = \frac{1}{M}\sum_k x_k x_k^T, \qquad Q = \frac{1}{M}\sum_k g_k g_k^T, \qquad
    g_k = C_R^T e_k + A_R^T g_{k+1}, \quad e_k = \partial (v^T f) / \partial y_k

over the M valid steps of some training sequences; f are the outputs of the whole network, v independent
random signs. Replacing x by Π x at one step changes v·f by g^T (I - Π) x to first order; if g and x are
independent, the expected square is smallest for the balancing projection of (P, Q), and then Σ_{i>q} σ_i².
White inputs and white e give the exact Gramians back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.system import Real
from ssmith.train.batches import Outputs, all_outputs, parts
from ssmith.train.layers import LRU
from ssmith.train.model import valid_steps
from ssmith.train.scan import adjoint_states, scan_states


@dataclass(frozen=True, eq=False)
class Statistics:
    """Empirical Gramians of one layer, float64, planar.

    Attributes:
        controllability: P (2N, 2N), second moment of the states.
        observability: Q (2N, 2N), second moment of the gradients at the states, or None if not asked for.
        steps: valid time steps behind them.
    """

    controllability: Real
    observability: Real | None
    steps: int


def collect(
    model: nn.Module,
    layers: Mapping[str, LRU],
    batches: Iterable[Any],
    *,
    outputs: Outputs = all_outputs,
    gradients: bool = True,
    seed: int = 0,
) -> dict[str, Statistics]:
    """Run the model on batches and return the empirical Gramians of its LRU layers.

    Works for any module that contains LRU layers: their inputs and outputs are watched by hooks. The model
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


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards training flags and random state are as before."""
    modes = {module: module.training for module in model.modules()}
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


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
    """Σ x xᵀ and Σ g gᵀ of one layer, accumulated in float64 on the CPU."""

    def __init__(self, layer: LRU) -> None:
        self.layer = layer
        size = 2 * layer.order
        self.states = torch.zeros(size, size, dtype=torch.float64)
        self.gradients: Tensor | None = None
        self.steps = 0

    def add(self, u: Tensor, e: Tensor | None, lengths: Tensor | None) -> None:
        """Add one call: u (batch, T, H), e (batch, T, H) or None, lengths (batch,) or None."""
        batch, steps = u.shape[:2]
        mask = None
        if lengths is not None:
            if len(lengths) != batch or int(lengths.max()) > steps:
                raise InputError(
                    f"a layer sees {batch} sequences of {steps} steps, but lengths go up to "
                    f"{int(lengths.max())} for {len(lengths)}; statistics need the layer at the input's rate"
                )
            mask = valid_steps(lengths.cpu(), steps)
        with torch.no_grad():
            lam, b, c = (
                t.detach().cpu() for t in (self.layer.poles(), self.layer.input_matrix(), self.layer.C)
            )
            self.states += _second_moment(scan_states(u.float().cpu(), lam, b), mask)
            if e is not None:
                moment = _second_moment(adjoint_states(e.float().cpu(), lam, c), mask)
                self.gradients = moment if self.gradients is None else self.gradients + moment
        self.steps += batch * steps if mask is None else int(mask.sum())

    def finish(self, name: str) -> Statistics:
        """Divide by the number of steps; refuse what is no Gramian."""
        if self.steps == 0:
            raise InputError(f"the model did not call layer {name!r}, so nothing is known about its states")
        p = self.states / self.steps
        q = None if self.gradients is None else self.gradients / self.steps
        if not (p.isfinite().all() and (q is None or q.isfinite().all())):
            raise InputError(
                f"layer {name!r}: states or gradients are not finite; the training has diverged, so lower "
                "the learning rate or look for NaN in the data"
            )
        return Statistics(p.numpy(), None if q is None else q.numpy(), self.steps)


def _second_moment(x: Tensor, mask: Tensor | None) -> Tensor:
    """Σ_k x_k x_kᵀ over valid steps, float64; x (batch, T, 2N)."""
    rows = x[mask] if mask is not None else x.flatten(0, 1)
    rows = rows.double()
    return rows.T @ rows
