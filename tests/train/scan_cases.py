"""Random layers for the tests of the scan, and the defining loop that all of it is held against."""

import functools
import importlib.util

import torch

from ssmith.train.recurrence import Compiled, Numba, PlainTorch

NAMES = ("u", "lam", "B", "C", "x0")
# numba is nobody's dependency: it is tried where it is installed.
RECURRENCES = [Compiled, PlainTorch, *([Numba] if importlib.util.find_spec("numba") else [])]


def layer(batch, steps, n, inputs, outputs, *, radius=0.999, seed=0, dtype=torch.float32):
    """Arguments of `lru_scan`, the first pole at |λ| = radius, the others between 0.9 and it."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    r = torch.sqrt(0.81 + (radius**2 - 0.81) * torch.rand(n, generator=generator, dtype=torch.float64))
    r[0] = radius
    angle = 6.28 * torch.rand(n, generator=generator, dtype=torch.float64)
    gamma = torch.sqrt(1 - r**2).repeat(2)[:, None]
    u = normal(batch, steps, inputs)
    lam = torch.stack((r * angle.cos(), r * angle.sin()))
    B, C, x0 = gamma * normal(2 * n, inputs), normal(outputs, 2 * n) / n**0.5, normal(batch, 2 * n)
    return [a.to(dtype) for a in (u, lam, B, C, x0)]


def loop(u, lam, B, C, x0):
    """y (batch, T, Y) and all states (batch, T, 2N), one step after the other, in float64."""
    u, lam, B, C, x0 = (a.double() for a in (u, lam, B, C, x0))
    n = lam.shape[1]
    pole, x = torch.complex(lam[0], lam[1]), torch.complex(x0[:, :n], x0[:, n:])
    states = []
    for v in (u @ B.T).unbind(1):
        x = pole * x + torch.complex(v[:, :n], v[:, n:])
        states.append(x)
    z = torch.stack(states, 1)
    planar = torch.cat((z.real, z.imag), -1)
    return planar @ C.T, planar


def results(scan, arguments, seed=1):
    """y, last state and the gradients of all arguments for a random weighting of both results."""
    leaves = [a.clone().requires_grad_() for a in arguments]
    y, last = scan(*leaves)
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(a.shape, generator=generator, dtype=torch.float64) for a in (y, last)]
    loss = sum((w.to(a.dtype) * a).sum() for w, a in zip(weights, (y, last), strict=True))
    grads = torch.autograd.grad(loss, leaves)
    return {"y": y.detach(), "last": last.detach(), **dict(zip(NAMES, grads, strict=True))}


@functools.cache
def expected(*size, radius):
    """`results` of the loop for `layer(*size, radius=radius)`."""

    def scan(*leaves):
        y, states = loop(*leaves)
        return y, states[:, -1]

    return results(scan, [a.double() for a in layer(*size, radius=radius)])


def worst(found, wanted):
    """The largest relative error (2-norms) over all results, and whose it is."""
    errors = {
        name: float((found[name].double() - exact).norm() / exact.norm()) for name, exact in wanted.items()
    }
    return max((error, name) for name, error in errors.items())
