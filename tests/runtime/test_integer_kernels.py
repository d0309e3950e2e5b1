"""The integer kernels, every vector unit this machine has, against ``runtime.integer``, bit for bit."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ssmith.compiler import build_library
from ssmith.runtime import integer_functions as exact
from ssmith.runtime.integer import scan
from ssmith.runtime.integer_model import IntegerModel

HERE = Path(__file__).parent
C = HERE.parents[1] / "runtime" / "c"
BASE = ("-std=c99", "-O3", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
BUILDS = {"plain": ("-DSSM_PLAIN",), "any": (), "native": ("-march=native",)}
# Vector units of a build for any x86-64: SSE2, AVX2, AVX-512. A processor that lacks one runs the next lower.
CASES = [("plain", 0), ("any", 0), ("any", 1), ("any", 3), ("native", 0)]
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64)
Array = NDArray[np.generic]


@pytest.fixture(scope="module", params=CASES, ids="{0[0]}-level-{0[1]}".format)
def kernels(request, library_cache) -> ctypes.CDLL:
    build, level = request.param
    source = HERE / "integer_kernels.c"
    files = [*sorted(C.glob("ssm_*.h")), source]
    library = ctypes.CDLL(str(build_library(source.read_text(), files, [(*BASE, *BUILDS[build])])))
    library.set_level(level)
    return library


def call(kernels: ctypes.CDLL, name: str, *arguments: Array | int | None) -> None:
    """Arrays go as pointers, ``np.int32`` and ``np.uint32`` as themselves, other numbers as size_t."""

    def c(value: Array | int | None) -> object:
        if value is None:
            return ctypes.c_void_p(None)
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            return ctypes.c_void_p(value.ctypes.data)
        if isinstance(value, np.int32 | np.uint32):
            return ctypes.c_int32(int(value)) if isinstance(value, np.int32) else ctypes.c_uint32(int(value))
        return ctypes.c_size_t(int(value))

    getattr(kernels, f"k_{name}")(*map(c, arguments))


def integers(rng: np.random.Generator, limit: int, shape: tuple[int, ...] | int, dtype: type) -> Array:
    """Values in [-limit, limit] of every magnitude, the ends often among them."""
    bits = rng.integers(0, int(limit).bit_length() + 1, shape)
    values = rng.integers(-limit, limit + 1, shape) >> (int(limit).bit_length() - bits)
    ends = rng.random(shape)
    return np.where(ends < 0.05, limit, np.where(ends > 0.95, -limit, values)).astype(dtype)


def pack(w: Array) -> Array:
    """The layout of ``ssm_dot``: groups of 16 columns, rows inside a group, on a 64-byte boundary."""
    padded = np.pad(w, ((0, 0), (0, -w.shape[1] % 4)))
    flat = np.concatenate([padded[:, k : k + 16].ravel() for k in range(0, padded.shape[1], 16)])
    return aligned(flat)


def aligned(values: Array) -> Array:
    """A copy that ends where its memory ends, on a 64-byte boundary at its start."""
    room = np.empty(values.size * values.itemsize + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.size * values.itemsize].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def padded(q: Array) -> Array:
    return aligned(np.pad(q, ((0, 0), (0, -q.shape[1] % 4))))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("columns", range(1, 34))
def test_dot(kernels, bits, columns):
    rng = np.random.default_rng(columns)
    code = np.int8 if bits == 8 else np.int16
    for rows in (1, 2, 3, 4, 5, 8, 9, 15, 17, 20, 32, 63):
        for frames in (1, 5):  # tiles of one frame and of four
            q = integers(rng, (1 << (bits - 1)) - 1, (frames, columns), code)
            w = integers(rng, 127, (rows, columns), np.int8)
            y = np.empty((frames, rows), np.int32)
            call(kernels, f"dot_a{bits}", padded(q), pack(w), y, frames, columns, rows)
            assert np.array_equal(y, q.astype(np.int64) @ w.T.astype(np.int64)), (rows, frames)


@pytest.mark.parametrize("bits", [8, 16])
def test_dot_of_the_largest_codes(kernels, bits):
    limit, code = (1 << (bits - 1)) - 1, np.int8 if bits == 8 else np.int16
    for sign in (1, -1):
        q = np.full((1, 512), sign * limit, code)
        w = np.full((20, 512), 127, np.int8)
        w[::3] = -127
        y = np.empty((1, 20), np.int32)
        call(kernels, f"dot_a{bits}", padded(q), pack(w), y, 1, 512, 20)
        assert np.array_equal(y, q.astype(np.int64) @ w.T.astype(np.int64))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("width", SIZES)
def test_quantize(kernels, bits, width):
    rng = np.random.default_rng(width)
    code = np.int8 if bits == 8 else np.int16
    for shift in (1, 2, 7, 15, 30):
        for limit in ((1 << (bits - 1)) - 1, 100, 1):
            v = integers(rng, (1 << (31 - shift)) - 1, (3, width), np.int32)
            m = integers(rng, (1 << 31) - 1, width, np.int32)
            for b in (None, integers(rng, 1 << 20, width, np.int32)):
                q = np.full((3, width + -width % 4), 99, code)
                arguments = (v, m, b, q, np.int32(limit), np.uint32(shift), 3, width)
                call(kernels, f"quantize_a{bits}", *arguments)
                value = exact.requantize(v.astype(np.int64), m.astype(np.int64), shift)
                expected = np.clip(value if b is None else value + b, -limit, limit)
                assert np.array_equal(q[:, :width], expected)
                assert not q[:, width:].any()


@pytest.mark.parametrize("width", SIZES)
def test_requant_and_feedthrough(kernels, width):
    rng = np.random.default_rng(width)
    for shift in (1, 3, 16):
        v = integers(rng, (1 << (31 - shift)) - 1, (3, width), np.int32)
        m = integers(rng, (1 << 31) - 1, width, np.int32)
        value = exact.requantize(v.astype(np.int64), m.astype(np.int64), shift)
        for b in (None, integers(rng, 1 << 20, width, np.int32)):
            y = v.copy()
            call(kernels, "requant", y, m, b, np.uint32(shift), 3, width)
            assert np.array_equal(y, (value if b is None else value + b).astype(np.int32))
    for bits, code, shift in ((8, np.int8, 23), (16, np.int16, 15), (16, np.int16, 1)):
        q = integers(rng, (1 << (bits - 1)) - 1, (3, width), code)
        v = integers(rng, 1 << 29, (3, width), np.int32)
        m = integers(rng, 1 << 29, width, np.int32)
        y = v.copy()
        call(kernels, f"ifeedthrough_a{bits}", y, padded(q), m, np.uint32(shift), 3, width)
        assert np.array_equal(y, v + exact.requantize(q.astype(np.int64), m.astype(np.int64), shift))


@pytest.mark.parametrize("modes", SIZES)
@pytest.mark.parametrize("bits", [16, 32])
def test_rotate(kernels, modes, bits):
    rng = np.random.default_rng(modes)
    angle = rng.uniform(0, 2 * np.pi, modes)
    unit = np.stack([np.cos(angle), np.sin(angle)]) * rng.uniform(0.5, 0.99999, modes)
    lam = np.round(unit * (1 << (bits - 1))).astype(np.int16 if bits == 16 else np.int32)
    x = integers(rng, 1 << 27, 2 * modes, np.int32)
    drive = integers(rng, 1 << 18, (5, 2 * modes), np.int32)
    wide = lam.astype(np.int64) << (32 - bits)
    expected = scan(wide, drive.astype(np.int64), x.astype(np.int64))
    call(kernels, f"rotate_l{bits}", x, lam, drive, 5, modes)
    assert np.array_equal(drive, expected)
    assert np.array_equal(x, expected[-1])


@pytest.mark.parametrize("p", range(1, 26))
def test_gelu_and_gate(kernels, p):
    rng = np.random.default_rng(p)
    edges = (np.arange(33)[:, None] << p) + np.array([-1, 0, 1])  # of the segments
    for width in SIZES:
        v = integers(rng, (1 << 30) - 1, width, np.int32)
        expected = exact.gelu(v.astype(np.int64), p)
        call(kernels, "igelu", v, np.uint32(p), width)
        assert np.array_equal(v, expected)
    v = np.clip(np.concatenate([edges.ravel(), -edges.ravel()]), 1 - (1 << 30), (1 << 30) - 1).astype(
        np.int32
    )
    value = integers(rng, (1 << 29) - 1, v.size, np.int32)
    both = np.stack([np.concatenate([value, v]), np.concatenate([value[::-1], v])])
    y = np.empty((2, v.size), np.int32)
    call(kernels, "igate", both, y, np.uint32(p), 2, v.size)
    assert np.array_equal(y, exact.gate(both.astype(np.int64), p))
    expected = exact.gelu(v.astype(np.int64), p)
    call(kernels, "igelu", v, np.uint32(p), v.size)
    assert np.array_equal(v, expected)


@pytest.mark.parametrize("width", SIZES)
def test_gate_of_odd_widths(kernels, width):
    v = integers(np.random.default_rng(width), (1 << 29) - 1, (3, 2 * width), np.int32)
    y = np.empty((3, width), np.int32)
    call(kernels, "igate", v, y, np.uint32(24), 3, width)
    assert np.array_equal(y, exact.gate(v.astype(np.int64), 24))


@pytest.mark.parametrize("width", SIZES)
def test_input_embedding_and_add(kernels, width):
    rng = np.random.default_rng(width)
    codes = integers(rng, 32767, width, np.int16)
    v = np.empty(width, np.int32)
    call(kernels, "iinput", codes, v, np.uint32(14), width)
    assert np.array_equal(v, codes.astype(np.int32) << 14)
    u = integers(rng, 1 << 29, width, np.int32)
    total = v + u
    call(kernels, "iadd", v, u, width)
    assert np.array_equal(v, total)
    table, m = integers(rng, 127, (7, width), np.int8), integers(rng, 1 << 30, width, np.int32)
    index = np.array([0, 6, -32768, 7, 3, 32767, -1], np.int16)
    y = np.empty((7, width), np.int32)
    call(kernels, "iembedding", index, table, m, y, np.uint32(23), 7, 7, width)
    rows = table[np.clip(index, 0, 6)].astype(np.int64)
    assert np.array_equal(y, exact.requantize(rows, m.astype(np.int64), 23))


@pytest.mark.parametrize("width", SIZES)
def test_layernorm(kernels, width):
    rng = np.random.default_rng(width)
    shift = width.bit_length() - 1
    factor = min(round((1 << (31 + shift)) / width), (1 << 31) - 1)
    m, b = integers(rng, 1 << 29, width, np.int32), integers(rng, 1 << 20, width, np.int32)
    for limit in ((1 << 29) - 1, 1 << 20, 50, 1, 0):
        for eps in (1, 37, (1 << 29) - 1):
            v = rng.integers(-limit, limit + 1, (3, width)).astype(np.int32)
            v[1] = limit * np.where(np.arange(width) % 2, -1, 1)  # the largest variance there is
            v[2] = limit  # and the smallest
            frames = [exact.layernorm(frame.astype(np.int64), shift, factor, eps) for frame in v]
            expected = exact.requantize(np.array(frames), m.astype(np.int64), 2) + b
            scalars = (np.uint32(2), np.uint32(shift), np.int32(factor), np.int32(eps))
            call(kernels, "ilayernorm", v, m, b, *scalars, 3, width)
            assert np.array_equal(v, expected), (limit, eps)


@pytest.mark.parametrize(
    "count", [0, 1, 6, (1 << 24) - 3, (1 << 31) - 3, (1 << 32) - 3, (1 << 33) - 3, 1 << 33]
)
def test_mean_pool(kernels, count):
    rng = np.random.default_rng(1)
    limit = (1 << 29) - 1
    total = np.array([0, limit * count, -limit * count, (limit - 5) * count, 12345 * min(count, 1)], np.int64)
    v = integers(rng, limit, (9, 5), np.int32)
    v[:, 1:3] = limit, -limit  # stays at the largest mean there is
    expected = np.empty_like(v)
    state = np.concatenate([total, [count]]).astype("<i8").view("<i4").copy()
    for t, frame in enumerate(v.astype(np.int64)):
        total, count, expected[t] = exact.mean_pool_step(total, count, frame)
    call(kernels, "ipool_mean", v, state, 9, 5)
    assert np.array_equal(v, expected)
    assert np.array_equal(state.view("<i8"), [*total, count])


@pytest.mark.parametrize("gain", [128, 1 << 20, 1 << 28, (1 << 31) - 4])
def test_ema_pool(kernels, gain):
    rng = np.random.default_rng(2)
    v = integers(rng, (1 << 28) - 1, (40, 6), np.int32)
    v[:, 0] = (1 << 28) - 1
    total, weight, expected = np.zeros(6, np.int64), 0, np.empty_like(v)
    for t, frame in enumerate(v.astype(np.int64)):
        total, weight, expected[t] = exact.ema_pool_step(total, weight, frame, gain)
    state = np.zeros(7, np.int32)
    call(kernels, "ipool_ema", v[:11].copy(), state.copy(), np.int32(gain), 11, 6)
    y = v.copy()
    for part in (y[:11], y[11:]):
        call(kernels, "ipool_ema", part, state, np.int32(gain), len(part), 6)
    assert np.array_equal(y, expected)
    assert np.array_equal(state, [*total, weight])


def test_edges(kernels):
    rng = np.random.default_rng(3)
    scale = rng.uniform(1e-4, 1e-2, 7).astype(np.float32)
    model = IntegerModel("edges", 16, scale, 0, scale, (), ())
    factor = model.input_factor
    x = rng.standard_normal((200, 7)).astype(np.float32) * 40
    halves = (np.arange(-98, 98).reshape(28, 7) + 0.5).astype(np.float32) * scale
    x = np.concatenate([x, halves, np.float32([[0.0, -0.0, 3e38, -3e38, 1e-45, -1e-45, 1e-30]])])
    codes = np.empty(x.shape, np.int16)
    call(kernels, "encode", x, factor, codes, *x.shape)
    assert np.array_equal(codes, model.encode(x))
    v = integers(rng, (1 << 30) - 1, (50, 7), np.int32)
    y = np.empty(v.shape, np.float32)
    call(kernels, "decode", v, scale, y, *v.shape)
    assert np.array_equal(y, model.decode(v))
