"""The models that targets are tried with, their programs, and what these must answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.export import c99
from ssmith.ops import Float32
from tests.bundles import random_bundle
from tests.native.toolchains import EXACT, HERE, Toolchain, compile_object, link


def reference() -> Bundle:
    """The model of reference: 4 blocks, H = N = 64, 40 → 12, 103k parameters."""
    return random_bundle(
        np.random.default_rng(0),
        width=64,
        orders=(64,) * 4,
        inputs=40,
        outputs=12,
        norm="affine",
        pool="none",
    )


def small(width: int) -> Bundle:
    """One block, H = N = width, 1 → 1."""
    return random_bundle(
        np.random.default_rng(0),
        width=width,
        orders=(width,),
        inputs=1,
        outputs=1,
        norm="affine",
        pool="none",
    )


def layers() -> Bundle:
    """The ops that the model of reference lacks, in odd sizes."""
    return random_bundle(np.random.default_rng(1), width=13, orders=(6, 17), norm="layer", pool="ema")


def tokens() -> Bundle:
    """Embedding and cumulative pooling."""
    return random_bundle(np.random.default_rng(2), width=9, orders=(5,), vocabulary=11, pool="mean")


MODELS: dict[str, Callable[[], Bundle]] = {
    "reference": reference,
    "small16": lambda: small(16),
    "small8": lambda: small(8),
    "layers": layers,
    "tokens": tokens,
}


def build(
    toolchain: Toolchain, folder: Path, work: Path, name: str = "net", *flags: str, codes: bool = False
) -> Path:
    """Compile a generated model with ``feed.c`` around it.

    Args:
        toolchain: for what.
        folder: the artifact folder.
        work: where objects and the program go.
        name: of the model's files.
        flags: beside what the headers tell users.
        codes: feed an int8 model codes instead of floats.

    Raises:
        BuildError: a compiler or a linker refused something.
    """
    defines = [f"-DMODEL={name}", f"-DUPPER={name.upper()}", f'-DMODEL_HEADER="{name}.h"']
    defines += ["-DCODES"] if codes else []
    model = compile_object(toolchain, folder / f"{name}.c", work / f"{name}.o", (*EXACT, *flags))
    return _around(toolchain, folder, [model], work, defines)


def build_engine(toolchain: Toolchain, folder: Path, work: Path, bundle: Bundle, name: str = "net") -> Path:
    """The same with the loadable form: the engine, and ``NAME.ssmc`` as an array."""
    engine = compile_object(toolchain, folder / "ssm.c", work / "ssm.o", EXACT)
    data = (folder / f"{name}.ssmc").read_bytes()
    text = ",".join(map(str, data))
    (work / "model_bytes.h").write_text(
        f"__attribute__((aligned(64))) static const unsigned char model_bytes[{len(data)}] = {{{text}}};\n"
    )
    defines = ["-DENGINE", f"-DINPUTS={len(bundle.meta.inputs)}", f"-DOUTPUTS={len(bundle.meta.outputs)}"]
    defines += ["-DMEMORY=65536", '-DMODEL_HEADER="model_bytes.h"']
    return _around(toolchain, folder, [engine], work, defines)


def _around(
    toolchain: Toolchain, folder: Path, objects: Sequence[Path], work: Path, defines: Sequence[str]
) -> Path:
    flags = ("-O2", f"-I{folder}", *defines)
    objects = [*objects, compile_object(toolchain, HERE / "feed.c", work / "feed.o", flags)]
    if toolchain.runner == "wasm":
        objects.append(
            compile_object(toolchain, HERE / "memory.c", work / "memory.o", ("-O2", "-fno-builtin"))
        )
    return link(toolchain, objects, work / "feed.elf")


@functools.cache
def exported(model: str, parent: Path) -> Path:
    """Export a model to ``parent/MODEL``, once."""
    folder = parent / model
    c99.lower(MODELS[model](), folder)
    return folder


def frames(count: int, inputs: int) -> Float32:
    """The noise of ``feed.c``: (T, U), exact in float32."""
    return (noise(count * inputs).astype(np.float32) * np.float32(2.0**-22)).reshape(count, inputs)


def codes(count: int, inputs: int) -> NDArray[np.int16]:
    """The same as codes: the upper 16 bits, rounded towards zero."""
    n = noise(count * inputs)
    return (np.sign(n) * (np.abs(n) // 256)).astype(np.int16).reshape(count, inputs)


def noise(count: int) -> NDArray[np.int64]:
    """Signed 24-bit numbers of the generator in ``feed.c``."""
    values = np.empty(count, np.int64)
    seed = 1
    for i in range(count):
        seed = (seed * 1664525 + 1013904223) % (1 << 32)
        values[i] = (seed >> 8) - (1 << 23)
    return values


def fnv(values: NDArray[np.generic]) -> str:
    """The hash of ``feed.c``: FNV-1a, 64 bits, over the bytes."""
    h = 0xCBF29CE484222325
    for byte in values.tobytes():
        h = ((h ^ byte) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"
