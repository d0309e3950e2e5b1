"""SSMs of independent channels in C: what is not zero is stored, and the bits are those of whole matrices."""

import platform
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.export.c99_binary import CHANNELS, ssmc_bytes
from ssmith.export.c99_form import header, source
from ssmith.export.c99_integer import integer_form, integer_weights_text
from ssmith.export.c99_integer_binary import KINDS, integer_ssmc_bytes
from ssmith.export.c99_source import float_form, weights_text
from ssmith.ops import SSM
from ssmith.runtime import native
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import frames

pytestmark = pytest.mark.usefixtures("library_cache")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
RAGGED = ((2, 0, 3, 1, 9), (0, 0, 0, 0, 1))
counts = st.lists(st.integers(0, 9), min_size=1, max_size=20).filter(any)


def bundle_of(*channels, seed=0, **changes):
    """A calibrated model; each block's SSM has these channels."""
    rng = np.random.default_rng(seed)
    width = len(channels[0])
    return calibrated(random_bundle(rng, width=width, channels=channels, golden_frames=(), **changes))


def without_channels(bundle):
    """The same model with its zeros."""
    ops = tuple(
        op.model_copy(update={"channels": None}) if isinstance(op, SSM) else op for op in bundle.meta.ops
    )
    return Bundle(bundle.meta.model_copy(update={"ops": ops}), bundle.tensors)


def answer(bundle, precision, block, bits=16):
    if precision == "int8":
        model = lower_integer(bundle, bits)
        return model.decode(run_integer(model, model.encode(block))[0])
    return run(bundle.meta.ops, bundle.tensors, block, precision=precision)[0]


def assert_same_bits(backend, block, expected, lengths):
    pieces = [backend.process(piece) for piece in np.split(block, np.cumsum(lengths)[:-1]) if len(piece)]
    assert np.array_equal(np.concatenate(pieces), expected)
    backend.reset()
    assert np.array_equal(np.stack([backend.step(u) for u in block]), expected)


splits = st.lists(st.integers(0, 19), min_size=1, max_size=4)


@needs_compiler
@settings(max_examples=40, deadline=None)
@given(counts, st.sampled_from(("float32", "int8")), st.sampled_from((16, 8)), splits)
@example([1], "float32", 16, [3])
@example([1], "int8", 8, [3])
@example([0, 0, 40], "float32", 16, [9])
@example([1] * 33, "int8", 16, [4, 1])
def test_the_loadable_form_of_any_channels(tmp_path_factory, channels, precision, bits, lengths):
    bundle = bundle_of(channels, seed=sum(channels))
    model = lower_integer(bundle, bits)
    path = tmp_path_factory.getbasetemp() / "net.ssmc"
    path.write_bytes(integer_ssmc_bytes(bundle, model) if precision == "int8" else ssmc_bytes(bundle))
    block = frames(bundle, sum(lengths) + 1, seed=1)
    backend = native.open_backend(path)
    assert_same_bits(backend, block, answer(bundle, precision, block, bits), [*lengths, 1])


@needs_compiler
@pytest.mark.parametrize("channels", [RAGGED, ((4,) * 16,)])
def test_the_generated_forms(tmp_path, channels):
    bundle = bundle_of(*channels)
    c99.lower(bundle, tmp_path)
    block = frames(bundle, 40)
    for precision, stem in (("float32", "net"), ("float32-fma", "net"), ("int8", "net_int8")):
        wanted = "float32-fma" if precision == "float32-fma" else "float32"
        backend = native.open_backend(tmp_path / f"{stem}.c", wanted if precision != "int8" else "int8")
        assert_same_bits(backend, block, answer(bundle, precision, block), [13, 1, 4, 22])


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="levels are x86's")
@pytest.mark.parametrize("level", range(3))
def test_every_level_of_one_build(tmp_path, monkeypatch, level):
    """Fused products too: level 0 has to emulate them."""
    flags = ("-std=c99", "-O2", "-ffp-contract=off", f"-DSSM_LEVEL_LIMIT={level}", "-DSSM_FMA")
    monkeypatch.setattr(native, "FLAGS", [flags])
    bundle = bundle_of(*RAGGED)
    c99.lower(bundle, tmp_path, ("float32",))
    block = frames(bundle, 20)
    backend = native.open_backend(tmp_path / "net.c")
    assert_same_bits(backend, block, answer(bundle, "float32-fma", block), [7, 13])


@needs_compiler
def test_a_state_saved_with_the_zeros_goes_on_without_them(tmp_path):
    """The order of the states is the same; only the digest of the model differs, so the words are copied."""
    bundle = bundle_of(*RAGGED)
    (tmp_path / "few.ssmc").write_bytes(ssmc_bytes(bundle))
    (tmp_path / "all.ssmc").write_bytes(ssmc_bytes(without_channels(bundle)))
    few, whole = (native.open_backend(tmp_path / f"{name}.ssmc") for name in ("few", "all"))
    block = frames(bundle, 50)
    whole.process(block[:20])
    few.state_set(whole.state_get())
    assert np.array_equal(few.process(block[20:]), whole.process(block[20:]))


def test_sizes_in_the_header_count_no_zeros():
    bundle, modes, width = bundle_of(*RAGGED), 15 + 1, 5
    whole = without_channels(bundle)

    def macro(form, name):
        return int(re.search(rf"#define \w+_{name} (\d+)", header(form))[1])

    few, many = float_form(bundle), float_form(whole)
    zeros = 4 * 2 * modes * (width - 1) * 2  # of B and of C
    lists = 2 * width * 2  # how many modes each channel has, two layers
    assert macro(few, "FLASH_BYTES") == macro(many, "FLASH_BYTES") - zeros + lists
    assert macro(few, "STATE_BYTES") == macro(many, "STATE_BYTES")
    assert few.scratch_bytes == many.scratch_bytes
    sizes = {"float": 4, "uint16_t": 2, "int8_t": 1, "int16_t": 2, "int32_t": 4}
    model = lower_integer(bundle)
    integers = integer_form(bundle, model)
    for form, text, tables in (
        (few, weights_text(bundle), 0),
        (integers, integer_weights_text(bundle, model), 2 * 384),
    ):
        arrays = re.findall(r"static const (\w+) \w+\[(\d+)\] SSM_ALIGNED = \{\n([^}]*)\}", text)
        assert all(len(body.split(",")) == int(n) for _, n, body in arrays)
        assert macro(form, "FLASH_BYTES") == sum(sizes[kind] * int(n) for kind, n, _ in arrays) + tables


def test_one_sees_the_channels():
    bundle = bundle_of(*RAGGED)
    for form in (float_form(bundle), integer_form(bundle, lower_integer(bundle))):
        text = source(form)
        assert "5 channels of 15 modes in all" in text
        assert text.count("ssm_drive") == text.count("ssm_readout") == 2


def test_the_file_is_what_ssm_h_describes():
    bundle = bundle_of(*RAGGED)
    data = ssmc_bytes(bundle)
    assert struct.unpack_from("<I", data, 4) == (3,)
    records = [struct.unpack_from("<5If4I", data, 128 + 40 * k) for k in range(len(bundle.meta.ops))]
    found = [record for record in records if record[0] == CHANNELS]
    for record, channels, stem in zip(found, RAGGED, ("block0.ssm", "block1.ssm"), strict=True):
        modes = sum(channels)
        assert record[1:4] == (5, 5, modes)
        assert np.array_equal(np.frombuffer(data, "<u2", 5, record[4]), channels)
        b, c = bundle.tensors[f"{stem}.b"], bundle.tensors[f"{stem}.c"]
        owner = np.tile(np.repeat(np.arange(5), channels), 2)
        rows = np.arange(2 * modes)
        assert np.array_equal(np.frombuffer(data, "<f4", 2 * modes, record[7]), b[rows, owner])
        assert np.array_equal(np.frombuffer(data, "<f4", 2 * modes, record[8]), c[owner, rows])
    assert struct.unpack_from("<I", ssmc_bytes(without_channels(bundle)), 4) == (2,)


def patched(data, at, kind, value):
    """The bytes with one number changed and their checksum repaired."""
    body = bytearray(data)
    struct.pack_into(kind, body, at, value)
    struct.pack_into("<I", body, 12, zlib.crc32(body[16:]))
    return bytes(body)


def places(bundle, precision):
    """(bytes, offset of the first layer's modes, where that offset stands) of a file."""
    if precision == "float32":
        data, kinds, field = ssmc_bytes(bundle), (CHANNELS,), 16
    else:
        data = integer_ssmc_bytes(bundle, lower_integer(bundle))
        kinds, field = (KINDS["drive"], KINDS["readout"]), 36
    (ops,) = struct.unpack_from("<I", data, 24)
    at = next(at for at in range(128, 128 + 40 * ops, 40) if struct.unpack_from("<I", data, at)[0] in kinds)
    return data, struct.unpack_from("<I", data, at + field)[0], at + field


@needs_compiler
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_hostile_channels_are_refused(tmp_path, precision):
    data, modes, field = places(bundle_of(*RAGGED), precision)
    path = tmp_path / "net.ssmc"

    def opened(changed):
        path.write_bytes(changed)
        return native.open_backend(path)

    opened(data)
    for value in (0, 1, 3, 65535):  # there are 2, and no other number adds up
        with pytest.raises(InputError, match="damaged"):
            opened(patched(data, modes, "<H", value))
    for offset in (0, 2, 127, modes + 2, len(data) - 4, len(data), 2**32 - 4):
        with pytest.raises(InputError, match="damaged"):
            opened(patched(data, field, "<I", offset))
    with pytest.raises(InputError, match="damaged"):  # version 2 knows no channels
        opened(patched(data, 4, "<I", 2))
    whole = without_channels(bundle_of(*RAGGED))
    with pytest.raises(InputError, match="damaged"):  # and the checksum does not cover the version
        opened(patched(ssmc_bytes(whole), 4, "<I", 3))
    with pytest.raises(InputError, match="version 2 or 3"):
        opened(patched(data, 4, "<I", 4))


@pytest.mark.parametrize("bits", [16, 8])
def test_no_rounding_reaches_across_channels(bits):
    """States of channels that hear the same go together; their weights are rounded apart all the same."""
    bundle = bundle_of((3, 0, 2, 4), seed=4)
    same = {**bundle.tensors, "encoder.weight": bundle.tensors["encoder.weight"] * 0 + np.float32(0.5)}
    model = lower_integer(calibrated(replace(bundle, tensors=same)), bits)
    (op,) = [op for op in model.ops if hasattr(op, "lam")]
    outside = np.tile(np.repeat(np.arange(4), (3, 0, 2, 4)), 2)[:, None] != np.arange(4)
    assert not op.B[outside].any()
    assert not op.C.T[outside].any()
    assert (np.abs(op.B).max(1) == 127).all()  # each mode hears one channel: its scale is exact
