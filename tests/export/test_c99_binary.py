"""The loadable form against its description, and against everything a damaged file can be."""

import json
import shutil
import struct
import subprocess
import zlib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99_plan
from ssmith.export.c99_binary import ssmc_bytes
from ssmith.export.c99_plan import warmup_frames
from ssmith.runtime.reference import describe
from tests.bundles import random_bundle
from tests.op_lists import any_bundle

HERE = Path(__file__).parent
SANITIZE = ["-g", "-O1", "-std=c99", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(10))
def test_the_header_is_what_ssm_h_describes(seed):
    bundle = any_bundle(seed)
    data = ssmc_bytes(bundle)
    magic, version, length, checksum = struct.unpack_from("<4s3I", data)
    assert (magic, version, length) == (b"SSMC", 2, len(data))
    assert checksum == zlib.crc32(data[16:])
    inputs, outputs, ops, ops_at, text_at, text_n = struct.unpack_from("<6I", data, 16)
    assert (inputs, outputs, ops) == (len(bundle.meta.inputs), len(bundle.meta.outputs), len(bundle.meta.ops))
    assert json.loads(data[text_at : text_at + text_n]) == describe(bundle) | {"precision": "float32"}
    assert data[48:80].hex() == bundle.sha256
    precision, warmup, signals_at, strings_at, strings_n = struct.unpack_from("<5I", data, 80)
    assert (precision, warmup) == (0, warmup_frames(bundle))
    assert data[100:128] == bytes(28)
    strings = data[strings_at : strings_at + strings_n]
    assert strings.endswith(b"\0")
    for k, signal in enumerate((*bundle.meta.inputs, *bundle.meta.outputs)):
        name, unit, low, high, known, zero = struct.unpack_from("<2I2d2I", data, signals_at + 32 * k)
        assert strings[name:].split(b"\0")[0].decode() == signal.name
        assert strings[unit:].split(b"\0")[0].decode() == signal.unit
        assert (low if known & 1 else None, high if known & 2 else None) == (signal.minimum, signal.maximum)
        assert zero == 0
    for k in range(ops):
        offsets = struct.unpack_from("<4I", data, ops_at + 40 * k + 24)
        assert all(at % 64 == 0 for at in offsets)


def test_period(bundle):
    assert struct.unpack_from("<d", ssmc_bytes(bundle), 40) == (0.01,)
    without = Bundle(bundle.meta.model_copy(update={"period_s": None}), bundle.tensors)
    assert struct.unpack_from("<d", ssmc_bytes(without), 40) == (0.0,)


def test_matrices_are_stored_by_input(bundle):
    data = ssmc_bytes(bundle)
    (at,) = struct.unpack_from("<I", data, 128 + 24)
    weight = np.frombuffer(data, "<f4", 3 * 5, at).reshape(3, 5)
    assert np.array_equal(weight, bundle.tensors["encoder.weight"].T)


def test_a_dimension_beyond_the_engine_is_refused(bundle, monkeypatch):
    monkeypatch.setattr(c99_plan, "MAX_DIM", 4)
    with pytest.raises(InputError, match="the C engine takes up to 4"):
        ssmc_bytes(bundle)


def has_sanitizer(folder):
    """Whether the compiler can build anything at all with the sanitizers."""
    (folder / "empty.c").write_text("int main(void) { return 0; }")
    command = [*find_compiler(), *SANITIZE, str(folder / "empty.c"), "-o", str(folder / "empty")]
    return subprocess.run(command, capture_output=True).returncode == 0


def sanitized(folder):
    """The fuzzer under the sanitizers."""
    engine = resources.files("ssmith.runtime") / "c"
    with resources.as_file(engine) as sources:
        shutil.copytree(sources, folder, dirs_exist_ok=True)
    files = [str(HERE / "fuzz_ssmc.c"), str(folder / "ssm.c"), "-o", str(folder / "fuzz")]
    subprocess.run([*find_compiler(), *SANITIZE, "-DSSM_NO_INT8", f"-I{folder}", *files], check=True)
    return folder / "fuzz"


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_no_damage_crashes_the_engine(tmp_path):
    if not has_sanitizer(tmp_path):
        pytest.skip("the compiler has no address sanitizer")
    fuzz = sanitized(tmp_path)
    for k, changes in enumerate(
        (
            {"inputs": 1, "width": 2},
            {"vocabulary": 5, "width": 3, "norm": "affine", "pool": "mean"},
            {"inputs": 1, "width": 2, "channels": ((1, 1),), "norm": "none", "pool": "none"},
        )
    ):
        small = random_bundle(np.random.default_rng(k), outputs=1, orders=(2,), golden_frames=(), **changes)
        path = tmp_path / "net.ssmc"
        path.write_bytes(ssmc_bytes(small))
        done = subprocess.run([fuzz, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        words = done.stdout.split()
        opened, refused = int(words[1]), int(words[3])
        assert opened > 100  # a repaired checksum over a changed weight opens
        assert refused > 10_000
