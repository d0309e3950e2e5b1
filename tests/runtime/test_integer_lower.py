"""Bundles become integers that are proven, close to the model, and quiet on silence."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.bundle import Bundle, BundleMeta, Signal
from ssmith.errors import InputError
from ssmith.ops import SSM, Embedding, Gelu, Linear
from ssmith.quant import SCALES, product_weights
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import quantize, run_integer
from ssmith.runtime.integer_functions import requantize
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_model import IntegerModel, LinearOp, SsmOp
from ssmith.runtime.integer_ssm import ROUNDING
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.calibrated import calibrated, with_scales
from tests.op_lists import any_bundle, frames

LIMITS = {"sum": 2**63}


def snr_db(bundle: Bundle, model: IntegerModel, blocks) -> float:
    signal = error = 0.0
    for block in blocks:
        exact, _ = run(bundle.meta.ops, bundle.tensors, block.astype(np.float64))
        found = model.decode(run_integer(model, model.encode(block))[0])
        signal += (exact**2).sum()
        error += ((found - exact) ** 2).sum()
    return 10 * math.log10(signal / error)


def bundle_of(ops, tensors, inputs, outputs) -> Bundle:
    signals = [
        tuple(Signal(name=f"{kind}_{i}") for i in range(n)) for kind, n in (("u", inputs), ("y", outputs))
    ]
    meta = BundleMeta(name="net", task="regression", inputs=signals[0], outputs=signals[1], ops=tuple(ops))
    return Bundle(meta, {name: np.asarray(value, np.float32) for name, value in tensors.items()})


def one_ssm(lam, B, C) -> Bundle:
    lam, B, C = (np.asarray(a, np.complex128) for a in (lam, B, C))
    tensors = {
        "lam": [lam.real, lam.imag],
        "b": np.concatenate([B.real, B.imag]),
        "c": np.concatenate([C.real, -C.imag], axis=1),
    }
    op = SSM(name="ssm", lam="lam", B="b", C="c", state="x")
    return bundle_of([op], tensors, B.shape[1], C.shape[0])


def some_ssm(seed, inputs=3, order=4, radius=(0.6, 0.99)):
    rng = np.random.default_rng(seed)
    lam = rng.uniform(*radius, order) * np.exp(1j * rng.uniform(0, math.pi, order))
    shape = ((order, inputs), (2, order))
    B, C = (rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in shape)
    return one_ssm(lam, B, C)


# --- bounds


@given(st.integers(0, 100_000), st.sampled_from([16, 8]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_bound_is_ever_exceeded(seed, bits, trained):
    """Random op lists on codes at their limits: steps, alternating signs, noise of full scale."""
    bundle = any_bundle(seed, count=9, max_width=12, max_order=6)
    ready = calibrate(bundle, [frames(bundle, 60, seed)])
    model = lower_integer(with_scales(ready, seed, bits=8 if seed % 2 else 16) if trained else ready, bits)
    for key, bound in model.proofs.items():
        assert bound < LIMITS.get(key.rsplit(".", 1)[1], 2**31), key
    rng = np.random.default_rng(seed)
    width = len(model.input_scale)
    signs = np.concatenate(
        [np.ones((40, width)), -np.ones((40, width)), rng.choice([-1, 1], (80, width)), np.ones((40, width))]
    )
    signs[120:160:2] *= -1
    codes = np.where(signs > 0, 32767, -32768).astype(np.int16)
    peaks = dict[str, int]()
    run_integer(model, codes, peaks=peaks)
    assert {key: peak for key, peak in peaks.items() if peak > model.proofs[key]} == {}
    assert set(peaks) <= set(model.proofs)


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("seed", range(4))
def test_the_worst_input_comes_near_the_state_bound_and_stays_below(seed, bits):
    """Signs that follow the impulse response of one mode: sign Re(λ^j b_i), newest frame last."""
    bundle = some_ssm(seed, inputs=1, radius=(0.95, 0.99))
    model = lower_integer(calibrate(bundle, [frames(bundle, 300, seed)]), bits)
    (op,) = (op for op in model.ops if isinstance(op, SsmOp))
    lam = (op.lam[0] + 1j * op.lam[1]) / 2.0**31
    factor = op.drive.multiplier.astype(float)[:, None] * op.B
    n = len(lam)
    b = factor[:n] + 1j * factor[n:]
    reached = 0.0
    for mode in range(n):
        ages = np.arange(int(12 / (1 - abs(lam[mode]))))[::-1]
        signs = np.sign((lam[mode] ** ages[:, None] * b[mode]).real)
        peaks = dict[str, int]()
        run_integer(model, (signs * 32767).astype(np.int16), peaks=peaks)
        assert peaks["ssm.state"] <= model.proofs["ssm.state"] < 2**30
        reached = max(reached, peaks["ssm.state"] / model.proofs["ssm.state"])
    # the bound is on |x|, of which a turning mode's real part alone collects 2/π, and counts the drive's
    # bias, which is constant, as if it turned along
    assert reached > 0.5


def test_the_same_bundle_gives_the_same_integers():
    bundle = calibrate(some_ssm(0), [frames(some_ssm(0), 100, 0)])
    first, again = (lower_integer(Bundle.from_bytes(bundle.to_bytes())) for _ in range(2))
    for a, b in zip(first.ops, again.ops, strict=True):
        for name in ("B", "C", "lam"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
    assert first.proofs == again.proofs


def test_every_product_takes_its_trained_scales():
    """The int8 weights and the code steps of a whole network are those that its scales say."""
    bundle = with_scales(calibrated(reference_model(0)), bits=8)
    model, found = lower_integer(bundle, 8), {}
    for op in model.ops:
        if isinstance(op, LinearOp):
            found[op.name] = (op.weight, f"{op.name}.codes")
        elif isinstance(op, SsmOp):
            found[f"{op.name}.B"] = (op.B, f"{op.name}.codes")
            found[f"{op.name}.C"] = (op.C, f"{op.name}.state_codes")
    for key, name in product_weights(bundle.meta.ops).items():
        step, row = (bundle.tensors[f"{SCALES}{key}.{part}"].astype(float) for part in ("step", "row"))
        codes, steps = found[key]
        expected = np.clip(np.rint(bundle.tensors[name] * step / row[:, None]), -127, 127)
        assert np.array_equal(codes, expected), key
        assert np.array_equal(model.scales[steps], step), key


# --- accuracy


def reference_model(seed: int) -> Bundle:
    return random_bundle(
        np.random.default_rng(seed),
        width=64,
        orders=(64,) * 4,
        inputs=40,
        outputs=12,
        norm="affine",
        pool="none",
        golden_frames=(),
    )


def test_signal_to_error_of_the_reference_model():
    bundle = reference_model(0)
    rng = np.random.default_rng(1)
    seen, held_out = (rng.standard_normal((n, 500, 40)).astype(np.float32) for n in (4, 1))
    calibrated = calibrate(bundle, list(seen))
    assert snr_db(bundle, lower_integer(calibrated, 16), held_out) >= 38
    assert snr_db(bundle, lower_integer(calibrated, 8), held_out) >= 30


@pytest.mark.parametrize(
    "kinds",
    [
        {"norm": "layer", "pool": "ema"},
        {"norm": "layer", "pool": "mean"},
        {"norm": "affine", "pool": "ema", "decay": 0.999},
        {"norm": "none", "pool": "none", "feedthrough": False},
        {"norm": "affine", "pool": "mean", "vocabulary": 20},
    ],
    ids=lambda kinds: " ".join(map(str, kinds.values())),
)
def test_every_kind_of_op_is_close(kinds):
    bundle = random_bundle(np.random.default_rng(2), golden_frames=(), **kinds)
    blocks = [frames(bundle, 300, seed) for seed in range(4)]
    if "vocabulary" in kinds:
        blocks = [np.abs(block) % 20 // 1 for block in blocks]
    calibrated = calibrate(bundle, blocks[:3])
    assert snr_db(bundle, lower_integer(calibrated, 16), blocks[3:]) > 40
    assert snr_db(bundle, lower_integer(calibrated, 8), blocks[3:]) > 25


# --- silence


@pytest.mark.parametrize("bits", [16, 8])
def test_on_silence_states_end_near_their_resting_point_and_outputs_stand_still(bits):
    bundle = some_ssm(5, order=6, radius=(0.5, 0.97))
    model = lower_integer(calibrate(bundle, [frames(bundle, 300, 5)]), bits)
    (op,) = (op for op in model.ops if isinstance(op, SsmOp))
    noise = model.encode(frames(bundle, 200, 9))
    _, state = run_integer(model, noise)
    silence = np.zeros((1200, noise.shape[1]), np.int16)
    out, state = run_integer(model, silence, state)
    assert (out[-200:] == out[-1]).all()
    q = quantize(np.zeros((1, noise.shape[1]), np.int64), op.quantize)
    drive = requantize(q @ op.B.T.astype(np.int64), op.drive.multiplier.astype(np.int64), op.drive.shift)[0]
    drive = drive + (0 if op.drive_bias is None else op.drive_bias)
    n = len(drive) // 2
    lam = (op.lam[0] + 1j * op.lam[1]) / 2.0**31
    x = state["x"][:n] + 1j * state["x"][n:]
    rest = (drive[:n] + 1j * drive[n:]) / (1 - lam)
    assert (np.abs(x - rest) <= ROUNDING / (1 - np.abs(lam))).all()


# --- refusals


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-40, 1e-30])
def test_inputs_that_were_as_good_as_silent_have_a_finite_scale(size):
    bundle = random_bundle(np.random.default_rng(0))
    block = np.full((50, 3), size, np.float32)
    model = lower_integer(calibrate(bundle, [block]))
    assert np.isfinite(model.input_factor).all() and (model.input_scale > 0).all()
    assert not model.encode(np.zeros((1, 3), np.float32)).any()
    assert snr_db(bundle, model, [block]) > 38


def test_a_bundle_without_calibration_is_told_what_to_run():
    with pytest.raises(InputError, match="ssmith quantize"):
        lower_integer(some_ssm(0))


def test_other_bits_are_refused():
    bundle = calibrate(some_ssm(0), [frames(some_ssm(0), 20, 0)])
    with pytest.raises(InputError, match="16 or 8"):
        lower_integer(bundle, 12)


def test_an_index_must_be_an_input():
    ops = [Linear(name="first", weight="w"), Embedding(name="table", weight="t")]
    bundle = bundle_of(ops, {"w": [[1.0]], "t": np.eye(3)}, 1, 3)
    with pytest.raises(InputError, match="looks up the input only"):
        lower_integer(calibrate(bundle, [np.ones((5, 1), np.float32)]))


def test_a_table_must_be_countable():
    bundle = bundle_of([Embedding(name="table", weight="t")], {"t": np.ones((40_000, 1))}, 1, 1)
    with pytest.raises(InputError, match="40000 rows"):
        lower_integer(calibrate(bundle, [np.ones((5, 1), np.float32)]))


def test_a_pole_too_slow_for_32_bits_is_refused_with_the_numbers():
    lam = np.nextafter(np.float32(1), np.float32(0))  # 1 - 6e-8 turned by nothing: the slowest real pole
    slow = one_ssm([complex(lam)], [[1.0]], [[1.0]])
    lower_integer(calibrate(slow, [np.ones((50, 1), np.float32)]))  # still fits
    rng = np.random.default_rng(0)
    for angle in rng.uniform(0.1, 1.5, 100_000):
        re, im = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        if 0 < 1 - math.hypot(float(re), float(im)) < 2e-9:
            break
    slower = one_ssm([complex(re, im)], [[1.0]], [[1.0]])
    with pytest.raises(InputError, match=r"integer code needs 1 - \|λ\| above|unit circle"):
        lower_integer(calibrate(slower, [np.ones((50, 1), np.float32)]))


def test_values_beyond_the_tables_are_refused():
    ops = [Linear(name="first", weight="w"), Gelu(name="gelu")]
    bundle = bundle_of(ops, {"w": [[1e9]]}, 1, 1)
    with pytest.raises(InputError, match="integer table covers"):
        lower_integer(calibrate(bundle, [np.ones((5, 1), np.float32)]))
