"""The loadable integer form: its description, its bits, and everything a damaged file can be."""

import json
import struct
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.export.c99_integer_binary import KINDS, integer_ssmc_bytes
from ssmith.export.c99_integer_plan import integer_plan
from ssmith.runtime import native
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import any_bundle, frames

HERE = Path(__file__).parent
SANITIZE = ["-g", "-O1", "-std=c99", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
pytestmark = [
    pytest.mark.usefixtures("library_cache"),
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler"),
]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("bits", [16, 8])
def test_the_file_is_what_ssm_h_describes(seed, bits):
    bundle = calibrated(any_bundle(seed))
    model = lower_integer(bundle, bits)
    data = integer_ssmc_bytes(bundle, model)
    inputs, outputs, ops, ops_at, text_at, text_n = struct.unpack_from("<6I", data, 16)
    calls = integer_plan(model).calls
    assert (inputs, outputs, ops) == (len(bundle.meta.inputs), len(bundle.meta.outputs), len(calls))
    precision, _, signals_at, _, _, code_bits, scales_at = struct.unpack_from("<7I", data, 80)
    assert (precision, code_bits) == (1, bits)
    scales = np.frombuffer(data, "<f4", inputs + outputs, scales_at)
    assert np.array_equal(scales, np.concatenate([model.input_factor, model.output_scale]))
    signals = np.frombuffer(data, "<f4", 8 * (inputs + outputs), signals_at).reshape(-1, 8)[:, 7]
    assert np.array_equal(signals, np.concatenate([model.input_scale, model.output_scale]))
    for k, call in enumerate(calls):
        kind, _, _, width_in, width_out, *rest = struct.unpack_from("<I2H2I4i2I", data, ops_at + 40 * k)
        assert (kind, width_in, width_out) == (KINDS[call.kernel], call.width_in, call.width_out)
        assert tuple(rest[: len(call.numbers)]) == call.numbers
        for offset, array in zip(rest[4:], call.arrays.values(), strict=False):
            assert (offset == 0) == (array is None)
            if array is not None:
                assert offset % 64 == 0
                assert data[offset : offset + array.nbytes] == array.tobytes()
    assert json.loads(data[text_at : text_at + text_n])["activation_bits"] == bits


def opened(bundle, bits, folder):
    path = folder / "net_int8.ssmc"
    path.write_bytes(integer_ssmc_bytes(bundle, lower_integer(bundle, bits)))
    return native.open_backend(path)


def assert_same_bits(bundle, bits, backend, block, lengths):
    """Whole, in pieces and frame by frame: outputs and states are the reference's."""
    model = lower_integer(bundle, bits)
    values, last = run_integer(model, model.encode(block))
    expected = model.decode(values)
    pieces = [backend.process(piece) for piece in np.split(block, np.cumsum(lengths)[:-1]) if len(piece)]
    assert np.array_equal(np.concatenate(pieces), expected)
    states = backend.state_get()
    assert list(states) == list(last)
    for name, value in states.items():
        assert value.dtype == last[name].dtype
        assert np.array_equal(value, last[name])
    backend.reset()
    assert np.array_equal(np.stack([backend.step(u) for u in block]), expected)


seeds, widths = st.integers(0, 2**32 - 1), st.sampled_from((16, 8))
splits = st.lists(st.integers(0, 19), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(seeds, widths, st.integers(1, 14), splits)
def test_loadable_form_on_any_op_list(tmp_path_factory, seed, bits, count, lengths):
    bundle = calibrated(any_bundle(seed, count=count), seed=seed)
    backend = opened(bundle, bits, tmp_path_factory.getbasetemp())
    assert_same_bits(bundle, bits, backend, frames(bundle, sum(lengths) + 1, seed + 1), [*lengths, 1])


@settings(max_examples=4, deadline=None)
@given(seeds, widths, splits)
def test_generated_form_on_any_op_list(tmp_path_factory, seed, bits, lengths):
    bundle = calibrated(any_bundle(seed, count=14), seed=seed)
    folder = tmp_path_factory.mktemp("generated")
    c99.lower(bundle, folder, ("int8",), bits)
    backend = native.open_backend(folder / "net_int8.c")
    assert_same_bits(bundle, bits, backend, frames(bundle, sum(lengths) + 1, seed + 1), [*lengths, 1])


@pytest.mark.parametrize("width", [1, 2, 3, 5, 15, 16, 17, 33, 64, 130])
@pytest.mark.parametrize("bits", [16, 8])
def test_every_width(tmp_path, width, bits):
    bundle = calibrated(
        random_bundle(
            np.random.default_rng(width), width=width, orders=(max(1, width // 3),), golden_frames=()
        )
    )
    assert_same_bits(bundle, bits, opened(bundle, bits, tmp_path), frames(bundle, 9), [4, 5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with every kind of state: modes, and pools with 32-bit and 64-bit words."""
    place = tmp_path_factory.mktemp("states")
    for pool in ("ema", "mean"):
        bundle = calibrated(random_bundle(np.random.default_rng(0), name=pool, pool=pool))
        c99.lower(bundle, place)
        c99.lower(bundle, place / "a8", ("int8",), 8)
    return place


@pytest.mark.parametrize("pool", ["ema", "mean"])
def test_both_forms_save_the_same_state(folder, pool):
    block = np.random.default_rng(1).standard_normal((33, 3), np.float32)
    forms = [native.open_backend(folder / f"{pool}_int8.{kind}") for kind in ("c", "ssmc")]
    for form in forms:
        form.process(block)
    saved = [form.state_get() for form in forms]
    rest = []
    for form, state in zip(forms, reversed(saved), strict=True):
        form.reset()
        form.state_set(state)
        rest.append(form.process(block))
    assert np.array_equal(*rest)


@pytest.mark.parametrize("kind", ["c", "ssmc"])
@pytest.mark.parametrize("pool", ["ema", "mean"])
def test_a_state_that_integers_never_reach_is_refused(folder, pool, kind):
    backend = native.open_backend(folder / f"{pool}_int8.{kind}")
    backend.process(np.ones((5, 3), np.float32))
    good = backend.state_get()
    bad = {"state_0": 2**30 + 1, "state_1": -(2**31), "pool_count": -1}
    bad["pool_sum"] = 2**62 + 1 if pool == "mean" else 2**30 + 1
    for name, value in bad.items():
        damaged = {key: array.copy() for key, array in good.items()}
        damaged[name][-1] = value
        with pytest.raises(InputError, match="states never have"):
            backend.state_set(damaged)
    too_many = 2**33 + 1 if pool == "mean" else 2**29 + 1
    with pytest.raises(InputError, match="states never have"):
        backend.state_set(good | {"pool_count": np.array([too_many], good["pool_count"].dtype)})
    assert all(np.array_equal(value, good[name]) for name, value in backend.state_get().items())


@pytest.mark.parametrize("kind", ["c", "ssmc"])
def test_a_state_of_another_precision_is_refused(folder, kind):
    """The digest is the same: the blob's first bytes tell them apart."""
    files = (folder / "ema", folder / "ema_int8", folder / "a8" / "ema_int8")
    models = [native.open_backend(path.with_suffix(f".{kind}")) for path in files]
    blobs = [model._saved() for model in models]
    assert len({blob[:4] for blob in blobs}) == 3
    assert len({blob[8:16] for blob in blobs}) == 1


@pytest.fixture(scope="module", params=["-march=native", "-DSSM_PLAIN"])
def fuzz(request, tmp_path_factory):
    """The fuzzer of the float form under the sanitizers, with vector units and without."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "empty.c").write_text("int main(void) { return 0; }")
    command = [*find_compiler(), *SANITIZE, request.param]
    probe = [*command, str(folder / "empty.c"), "-o", str(folder / "empty")]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        pytest.skip("the compiler has no address sanitizer")
    with resources.as_file(resources.files("ssmith.runtime") / "c") as engine:
        files = [str(HERE / "fuzz_ssmc.c"), str(engine / "ssm.c"), "-o", str(folder / "fuzz")]
        subprocess.run([*command, f"-I{engine}", *files], check=True)
    return folder / "fuzz"


@pytest.mark.parametrize(
    ("bits", "changes"),
    [
        (16, {"inputs": 1, "width": 2, "pool": "none"}),
        (8, {"vocabulary": 5, "width": 3, "norm": "affine", "pool": "mean"}),
        (16, {"inputs": 1, "width": 2, "channels": ((1, 1),), "norm": "none", "pool": "none"}),
    ],
)
def test_no_damage_crashes_the_engine(fuzz, tmp_path, bits, changes):
    small = random_bundle(np.random.default_rng(0), outputs=1, orders=(2,), golden_frames=(), **changes)
    small = calibrated(small)
    path = tmp_path / "net.ssmc"
    path.write_bytes(integer_ssmc_bytes(small, lower_integer(small, bits)))
    done = subprocess.run([fuzz, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    opened_files, refused = int(words[1]), int(words[3])
    assert opened_files > 100  # a repaired checksum over a changed weight opens
    assert refused > 10_000
