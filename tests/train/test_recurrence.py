import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import SsmithError
from ssmith.train import recurrence
from tests.train.scan_cases import RECURRENCES


def random(n, batch, steps, dtype, seed=0):
    """v (batch, steps, 2N), lam (2, N), state (batch, 2N)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, steps, 2 * n), (2, n), (batch, 2 * n)
    v, lam, state = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return v.to(dtype), (0.97 * lam / lam.norm(dim=0)).to(dtype), state.to(dtype)


def complex_of(a):
    n = a.shape[-1] // 2
    return torch.complex(a[..., :n].double(), a[..., n:].double())


def close(planar, exact, dtype):
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    return (complex_of(planar) - exact).norm() <= tolerance * (1 + exact.norm())


@pytest.mark.parametrize("kind", RECURRENCES)
@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 71),
    batch=st.integers(1, 3),
    steps=st.integers(1, 140),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_both_directions_obey_their_equations(kind, n, batch, steps, dtype):
    run = kind()
    x, lam, state = random(n, batch, steps, dtype)
    v, x0, pole = complex_of(x), state.clone(), complex_of(lam.flatten())
    run.forward(x, lam, state)
    z = complex_of(x)
    before = torch.cat((complex_of(x0)[:, None], z[:, :-1]), 1)
    assert close(x, pole * before + v, dtype)
    assert torch.equal(state, x[:, -1])

    g, _, adjoint = random(n, batch, steps, dtype, seed=1)
    e, late = complex_of(g), complex_of(adjoint)
    alone, adjoint_alone = g.clone(), adjoint.clone()
    dlam = torch.ones(batch, 2 * n, dtype=torch.float64)
    run.backward(g, lam, adjoint, x, x0, dlam)
    h = complex_of(g)
    after = torch.cat((pole.conj() * h[:, 1:], late[:, None]), 1)
    assert close(g, e + after, dtype)
    assert close(adjoint, pole.conj() * h[:, 0], dtype)
    assert close(dlam - 1, (h * before.conj()).sum(1), dtype)

    run.backward(alone, lam, adjoint_alone)
    torch.testing.assert_close(alone, g)
    torch.testing.assert_close(adjoint_alone, adjoint)


def test_the_compiled_loops_do_not_depend_on_the_number_of_threads():
    run = recurrence.Compiled()
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            x, lam, state = random(77, 5, 90, torch.float32)
            x0 = state.clone()
            run.forward(x, lam, state)
            g, _, adjoint = random(77, 5, 90, torch.float32, seed=1)
            dlam = torch.zeros(5, 154, dtype=torch.float64)
            run.backward(g, lam, adjoint, x, x0, dlam)
            found.append((x, state, g, adjoint, dlam))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_subnormal_numbers_survive_the_compiled_library():
    recurrence.Compiled()
    assert sys.float_info.min / 4 > 0
    assert (torch.tensor([1.2e-38]) / 4).item() > 0


def test_without_a_compiler_numba_then_plain_torch_take_over(monkeypatch):
    def refuse(*_):
        raise SsmithError("none")

    monkeypatch.setattr(recurrence, "build_library", refuse)
    fresh = recurrence.fastest.__wrapped__
    assert fresh().name == ("numba" if recurrence.Numba in RECURRENCES else "torch")
    monkeypatch.delitem(sys.modules, "ssmith.train.recurrence_numba", raising=False)
    monkeypatch.delattr("ssmith.train.recurrence_numba", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert fresh().name == "torch"


def test_tensors_off_the_cpu_get_plain_torch():
    assert recurrence.pick(torch.device("meta")).name == "torch"
    assert recurrence.pick(torch.device("cpu"), plain=True).name == "torch"
    assert recurrence.pick(torch.device("cpu")) is recurrence.fastest()


@pytest.mark.parametrize("kind", RECURRENCES)
def test_rounding_of_long_sums_and_powers_does_not_add_up(kind):
    run, steps = kind(), 1 << 16
    # λ = 0: the gradient of λ is a plain sum of equal terms, the worst case for a float32 sum.
    g, ones = torch.full((1, steps, 2), 0.1), torch.ones(1, steps, 2)
    dlam = torch.zeros(1, 2, dtype=torch.float64)
    run.backward(g, torch.zeros(2, 1), torch.zeros(1, 2), ones, ones[:, 0].contiguous(), dlam)
    assert dlam[0, 0].item() == pytest.approx(2 * steps * g[0, 0, 0].item(), rel=2e-6)
    # No input: the last state is λ^T times the first; a rounded λ^chunk would be off T/chunk times over.
    steps, angle = 1 << 14, torch.linspace(0, 3, 32)
    lam = (1 - 1e-5) * torch.stack((angle.cos(), angle.sin()))
    x, state = torch.zeros(1, steps, 64), torch.cat((torch.ones(1, 32), torch.zeros(1, 32)), 1)
    run.forward(x, lam, state)
    exact = complex_of(lam.flatten()) ** steps
    bound = 1e-6 if kind is recurrence.PlainTorch else 3e-5  # step by step every product rounds
    assert ((complex_of(state)[0] - exact).abs() <= bound * exact.abs()).all()
