"""Layers from elsewhere against the equations that they were published with."""

import numpy as np
import pytest
import torch

from ssmith.errors import InputError
from ssmith.imported import prefixes
from ssmith.system import System

H, N, FRAMES = 3, 4, 60


def lru(seed: int = 0, prefix: str = "") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.5, 0.99, N)
    parts = {
        "nu_log": np.log(-np.log(radius)),
        "theta_log": np.log(rng.uniform(0.1, 3, N)),
        "gamma_log": np.log(np.sqrt(1 - radius**2)),
        "B_re": rng.standard_normal((N, H)),
        "B_im": rng.standard_normal((N, H)),
        "C_re": rng.standard_normal((H, N)),
        "C_im": rng.standard_normal((H, N)),
        "D": rng.standard_normal(H),
    }
    return {prefix + name: array.astype(np.float32) for name, array in parts.items()}


def s4d(seed: int = 0, prefix: str = "") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = {
        "kernel.log_dt": np.log(rng.uniform(1e-3, 1e-1, H)),
        "kernel.log_A_real": np.log(rng.uniform(0.3, 0.8, (H, N))),
        "kernel.A_imag": np.pi * np.arange(N) + np.zeros((H, 1)),
        "kernel.C": rng.standard_normal((H, N, 2)),
        "D": rng.standard_normal(H),
    }
    return {prefix + name: array.astype(np.float32) for name, array in parts.items()}


def s5(seed: int = 0, prefix: str = "") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = {
        "Lambda_re": -rng.uniform(0.1, 1, N),
        "Lambda_im": rng.uniform(0, 20, N),
        "B": rng.standard_normal((N, H, 2)),
        "C": rng.standard_normal((H, N, 2)),
        "D": rng.standard_normal(H),
        "log_step": np.log(rng.uniform(1e-3, 1e-1, (N, 1))),
    }
    return {prefix + name: array.astype(np.float32) for name, array in parts.items()}


def test_an_lru_is_the_published_recurrence() -> None:
    p = {name: array.astype(np.float64) for name, array in lru().items()}
    u = np.random.default_rng(1).standard_normal((FRAMES, H))
    x, rows = np.zeros(N, complex), []
    for frame in u:
        driven = np.exp(p["gamma_log"]) * ((p["B_re"] + 1j * p["B_im"]) @ frame)
        x = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"])) * x + driven
        rows.append(((p["C_re"] + 1j * p["C_im"]) @ x).real + p["D"] * frame)
    np.testing.assert_allclose(stream(System.from_lru(lru()), u), rows, rtol=1e-10, atol=1e-10)


def test_s4d_is_the_published_convolution() -> None:
    p = {name: array.astype(np.float64) for name, array in s4d().items()}
    u = np.random.default_rng(1).standard_normal((FRAMES, H))
    a = -np.exp(p["kernel.log_A_real"]) + 1j * p["kernel.A_imag"]
    dta = a * np.exp(p["kernel.log_dt"])[:, None]
    c = (p["kernel.C"][..., 0] + 1j * p["kernel.C"][..., 1]) * (np.exp(dta) - 1) / a
    kernel = 2 * np.einsum("hn,hnl->hl", c, np.exp(dta[..., None] * np.arange(FRAMES))).real
    expected = [np.convolve(kernel[h], u[:, h])[:FRAMES] + p["D"][h] * u[:, h] for h in range(H)]
    system = System.from_s4d(s4d())
    assert system.channels == (N,) * H
    np.testing.assert_allclose(stream(system, u), np.transpose(expected), rtol=1e-9, atol=1e-9)
    bare = {name.removeprefix("kernel."): array for name, array in s4d().items()}
    np.testing.assert_array_equal(System.from_s4d(bare).B, system.B)


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
@pytest.mark.parametrize("conj_sym", [True, False])
def test_s5_is_the_published_scan(discretization: str, conj_sym: bool) -> None:
    p = {name: array.astype(np.float64) for name, array in s5().items()}
    u = np.random.default_rng(1).standard_normal((FRAMES, H))
    lam, step = p["Lambda_re"] + 1j * p["Lambda_im"], np.exp(p["log_step"][:, 0])
    b, c = p["B"] @ (1, 1j), p["C"] @ (1, 1j)
    if discretization == "zoh":
        pole = np.exp(lam * step)
        b = ((pole - 1) / lam)[:, None] * b
    else:
        pole = (1 + step / 2 * lam) / (1 - step / 2 * lam)
        b = (step / (1 - step / 2 * lam))[:, None] * b
    states = np.array([sum(pole ** (k - j) * (b @ u[j]) for j in range(k + 1)) for k in range(FRAMES)])
    expected = (2 if conj_sym else 1) * (states @ c.T).real + p["D"] * u
    system = System.from_s5(s5(), discretization=discretization, conj_sym=conj_sym)
    np.testing.assert_allclose(stream(system, u), expected, rtol=1e-9, atol=1e-9)


def test_the_same_numbers_in_other_containers() -> None:
    plain = System.from_s5(s5())
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in s5().items()}
    np.testing.assert_array_equal(System.from_s5(tensors).lam, plain.lam)
    single = {**s5(), "log_step": s5()["log_step"][:, 0]}
    single |= {name: single[name] @ np.array([1, 1j], np.complex64) for name in "BC"}
    np.testing.assert_allclose(System.from_s5(single).B, plain.B, rtol=1e-7)
    whole = {name: array for name, array in lru().items() if name[0] not in "BC"}
    whole |= {k: lru()[f"{k}_re"] + 1j * lru()[f"{k}_im"] for k in "BC"} | {"D": np.diag(lru()["D"])}
    np.testing.assert_array_equal(System.from_lru(whole).B, System.from_lru(lru()).B)


def test_clipped_poles() -> None:
    wild = {**s5(), "Lambda_re": np.array([0.1, -1, -1, -1], np.float32)}
    with pytest.raises(InputError, match="Re λ"):
        System.from_s5(wild)
    assert abs(System.from_s5(wild, clip_eigs=True).lam[0]) < 1


def test_layers_are_found_by_their_prefix() -> None:
    both = lru(0, "layers.0.seq.") | lru(1, "layers.1.seq.") | {"head.weight": np.zeros((2, 2))}
    assert prefixes(both, "lru") == ["layers.0.seq.", "layers.1.seq."]
    assert prefixes(both, "s5") == []
    np.testing.assert_array_equal(System.from_lru(both, "layers.1.seq.").lam, System.from_lru(lru(1)).lam)
    with pytest.raises(InputError, match=r"prefix ''.*'layers\.0\.seq\.', 'layers\.1\.seq\.'"):
        System.from_lru(both)
    with pytest.raises(InputError, match="looks like lru"):
        System.from_s5(both)


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (lru, {"C_re": None}, "'C_re' is missing|'C' is missing"),
        (lru, {"B_re": lru()["B_re"].T}, r"'B_re' has shape \(3, 4\), expected N = 4 × U.*transposed"),
        (lru, {"C_im": np.ones((3, 5), np.float32)}, r"'C_im' has shape \(3, 5\), expected Y = 3 × N = 4"),
        (lru, {"D": np.ones(2, np.float32)}, r"'D' has shape \(2,\), expected Y = 3"),
        (lru, {"nu_log": np.full(4, np.nan, np.float32)}, "'nu_log' holds NaN"),
        (lru, {"theta_log": np.zeros(4, np.int64)}, "'theta_log' has type int64"),
        (lru, {"nu_log": np.full(4, -50, np.float32)}, r"\|λ\| = 1"),
        (
            s4d,
            {"kernel.A_imag": s4d()["kernel.A_imag"].T},
            r"'kernel.A_imag' has shape \(4, 3\), expected H = 3",
        ),
        (s4d, {"kernel.C": s4d()["kernel.C"][..., 0]}, r"'kernel.C' has shape \(3, 4\).*× 2, or complex"),
        (s4d, {"D": None}, "'D' is missing"),
        (s5, {"B": s5()["B"].transpose(1, 0, 2)}, r"'B' has shape \(3, 4\), expected P = 4 × U.*transposed"),
        (s5, {"C1": s5()["C"]}, "bidirectional"),
        (s5, {"log_step": None}, "'log_step' is missing"),
    ],
)
def test_what_does_not_fit_is_named(make, change, message: str) -> None:
    broken = {name: array for name, array in (make() | change).items() if array is not None}
    read = {lru: System.from_lru, s4d: System.from_s4d, s5: System.from_s5}[make]
    with pytest.raises(InputError, match=message):
        read(broken)


def stream(system: System, u: np.ndarray) -> np.ndarray:
    x, rows = np.zeros(system.order, complex), []
    for frame in u:
        x = system.lam * x + system.B @ frame
        rows.append((system.C @ x).real + system.D * frame)
    return np.array(rows)
