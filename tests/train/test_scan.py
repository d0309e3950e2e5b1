import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.train.recurrence import PlainTorch
from ssmith.train.scan import adjoint_states, lru_scan, scan_states
from ssmith.train.scan_chunked import chunked
from ssmith.train.scan_fused import Plan, fused
from tests.train.scan_cases import RECURRENCES, expected, layer, loop, results, worst

METHODS = ("auto", "ssd", "fused", "torch")
CLAMP = 1 - 1e-5
# (batch, T, N, U, Y), |λ| of the slowest pole
CASES = [
    ((3, 100, 12, 5, 4), 0.999),
    ((1, 1, 1, 1, 1), 0.99),
    ((2, 33, 40, 1, 1), CLAMP),
    ((2, 257, 5, 7, 40), 0.999),
    ((1, 4096, 1, 1, 1), CLAMP),
    ((2, 4096, 24, 4, 4), CLAMP),
    ((2, 4095, 33, 3, 2), CLAMP),
]


def ways():
    """Every way to run: the public methods, and the forms on each recurrence, tiled and not."""
    yield from ((method, functools.partial(lru_scan, method=method)) for method in METHODS)
    for kind in RECURRENCES:
        run = kind()
        for rows, recompute in ((40, True), (40, False), (1 << 20, False)):
            plan = Plan(run, rows, recompute)
            yield f"fused-{run.name}-{rows}-{recompute}", functools.partial(fused, plan=plan)
        yield f"chunked-{run.name}", functools.partial(chunked, recurrence=run, length=16)


WAYS = dict(ways())


@pytest.mark.parametrize("size,radius", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_outputs_and_gradients_match_a_float64_loop(way, size, radius):
    error, whose = worst(results(WAYS[way], layer(*size, radius=radius)), expected(*size, radius=radius))
    assert error <= 1e-5, f"{whose} of {way} is off by {error:.1e}"


@pytest.mark.parametrize("way", WAYS)
def test_float64_gradients_pass_gradcheck(way):
    arguments = [a.requires_grad_() for a in layer(2, 7, 3, 2, 3, radius=0.95, dtype=torch.float64)]
    assert torch.autograd.gradcheck(WAYS[way], arguments)


@pytest.mark.parametrize("way", WAYS)
def test_a_pole_at_zero_is_allowed(way):
    arguments = layer(1, 40, 4, 2, 2)
    arguments[1][:, 0] = 0
    exact = results(lambda *a: (loop(*a)[0], loop(*a)[1][:, -1]), [a.double() for a in arguments])
    assert worst(results(WAYS[way], arguments), exact)[0] <= 1e-5


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(METHODS), st.lists(st.integers(1, 90), min_size=1, max_size=4), st.integers(0, 99))
def test_fed_in_pieces_equals_fed_whole(method, pieces, seed):
    u, *matrices, x0 = layer(2, sum(pieces), 6, 2, 3, seed=seed)
    whole, last = lru_scan(u, *matrices, x0, method=method)
    parts, state = [], x0
    for piece in u.split(pieces, 1):
        y, state = lru_scan(piece, *matrices, state, method=method)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(state, last, rtol=2e-5, atol=2e-5)


def test_gradients_flow_between_pieces():
    arguments = layer(2, 90, 6, 2, 3)

    def in_pieces(u, lam, B, C, x0):
        first, middle = lru_scan(u[:, :37], lam, B, C, x0)
        second, last = lru_scan(u[:, 37:], lam, B, C, middle)
        return torch.cat((first, second), 1), last

    error, whose = worst(results(in_pieces, arguments), expected(2, 90, 6, 2, 3, radius=0.999))
    assert error <= 1e-5, whose


@pytest.mark.parametrize("method", METHODS)
def test_any_memory_layout_is_taken_and_nothing_is_written_to(method):
    plain = layer(3, 50, 20, 4, 4)
    strided = [a.mT.contiguous().mT if a.dim() > 1 else a for a in plain]
    copies = [a.clone() for a in strided]
    assert not any(a.is_contiguous() for a in strided)
    found, wanted = (results(functools.partial(lru_scan, method=method), a) for a in (strided, plain))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(strided, copies, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_the_future_changes_no_bit_of_the_past(method):
    u, *rest = layer(2, 200, 24, 4, 4)
    changed = u.clone()
    changed[:, 123:] = 1e3
    before, after = (lru_scan(a, *rest, method=method)[0][:, :123] for a in (u, changed))
    assert torch.equal(before, after)


@pytest.mark.parametrize("method", METHODS)
def test_twice_the_same_gives_the_same_bits(method):
    arguments = layer(5, 300, 24, 4, 4)
    first, second = (results(functools.partial(lru_scan, method=method), arguments) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS)
def test_only_what_is_asked_for_is_differentiated(method):
    u, lam, B, C, x0 = layer(2, 60, 24, 4, 4)
    y, _ = lru_scan(u, lam, B, C.requires_grad_(), x0, method=method)
    with torch.no_grad():
        quiet, _ = lru_scan(u, lam, B, C, x0, method=method)
    assert torch.equal(y, quiet) and quiet.grad_fn is None
    y.sum().backward()
    assert C.grad is not None and u.grad is None


@pytest.mark.parametrize("method", METHODS)
def test_low_precision_settings_do_not_reach_the_recurrence(method):
    arguments = layer(4, 128, 48, 8, 8)
    run = functools.partial(lru_scan, method=method)
    wanted = results(run, arguments)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = results(run, arguments)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_half_precision_inputs_are_computed_in_the_poles_dtype():
    u, *rest = layer(2, 40, 6, 2, 3)
    half = u.to(torch.bfloat16)
    y, _ = lru_scan(half, *rest)
    assert y.dtype == torch.float32
    assert torch.equal(y, lru_scan(half.float(), *rest)[0])


def test_the_chunked_form_keeps_no_states():
    batch, steps, n = 24, 784, 128
    arguments = [a.requires_grad_() for a in layer(batch, steps, n, 4, 4)]
    kept = {}

    def pack(a):
        kept[a.untyped_storage().data_ptr()] = a.untyped_storage().nbytes()
        return a

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda a: a):
        lru_scan(*arguments)
    assert sum(kept.values()) < batch * steps * 2 * n * 4 / 4


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_states_and_adjoint_states_obey_their_equations(dtype, tolerance):
    u, lam, B, C, x0 = layer(2, 300, 9, 3, 2, dtype=dtype)
    states = scan_states(u, lam, B, x0)
    wanted = loop(u, lam, B, C, x0)[1]
    assert states.dtype == dtype
    assert (states.double() - wanted).norm() <= tolerance * wanted.norm()
    # <e, C x> = <g, B u> for every e, if the state starts at zero: g is the adjoint of the map.
    e = torch.randn(2, 300, 2, dtype=dtype, generator=torch.Generator().manual_seed(3))
    g = adjoint_states(e, lam, C).double()
    outputs = loop(u, lam, B, C, torch.zeros_like(x0))[0]
    left, right = (e * outputs).sum(), (g * (u.double() @ B.double().T)).sum()
    assert abs(left - right) <= tolerance * g.norm() * u.norm()
    # The gradient of the loss reaching the state before the first step is A_R^T g_0.
    start = x0.double().requires_grad_()
    (loop(u, lam, B, C, start)[0] * e).sum().backward()
    a, b, (re, im) = lam[0].double(), lam[1].double(), g[:, 0].split(9, -1)
    torch.testing.assert_close(
        start.grad, torch.cat((a * re + b * im, a * im - b * re), 1), rtol=1e-4, atol=1e-4
    )


def test_states_are_also_there_without_a_compiler(monkeypatch):
    u, lam, B, C, x0 = layer(2, 301, 9, 3, 2)
    usual = scan_states(u, lam, B, x0), adjoint_states(u[..., :2], lam, C)
    monkeypatch.setattr("ssmith.train.scan.pick", lambda device: PlainTorch())
    plain = scan_states(u, lam, B, x0), adjoint_states(u[..., :2], lam, C)
    for a, b in zip(usual, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"u": torch.zeros(2, 3)}, "batch, T, U"),
        ({"u": torch.zeros(2, 0, 3)}, "at least 1"),
        ({"lam": torch.zeros(4)}, r"\(2, N\)"),
        ({"lam": torch.zeros(2, 4, dtype=torch.float16)}, "float16"),
        ({"B": torch.zeros(8, 2)}, r"B has shape \(8, 2\).*\(8, 3\)"),
        ({"C": torch.zeros(2, 4)}, "C has shape"),
        ({"x0": torch.zeros(1, 8)}, "x0 has shape"),
        ({"method": "fft"}, "auto, ssd, fused or torch"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    u, lam, B, C, x0 = layer(2, 5, 4, 3, 2)
    with pytest.raises(InputError, match=words):
        lru_scan(**{"u": u, "lam": lam, "B": B, "C": C, "x0": x0, **change})
