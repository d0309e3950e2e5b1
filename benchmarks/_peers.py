"""Other engines in the benchmark's turns: a function a peer, each from sources or packages of the user's.

Nothing of them is in this repository: RTNeural comes from a checkout that the user names, ExecuTorch and
ONNX Runtime from their packages. What is missing is said on stderr and left out.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from _native import Candidate, build_name, noise, of_library

from ssmith.bundle import Bundle
from ssmith.runtime.session import Session

PEERS = Path(__file__).parent / "peers"
PYTHON_FRAMES = 32  # of an interpreter's call, so that its turn is long enough to find its caches
CXX = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-w")  # -w: their headers' warnings


@dataclass(frozen=True)
class Network:
    """A network that RTNeural runs, named in peers/rtneural.cpp; ``macs`` per step."""

    name: str
    inputs: int
    outputs: int
    macs: int


# Four GRU layers of 64 do as many multiply-adds as the model of reference, which has four blocks of 64.
GRU64X4 = Network("GRU64X4", 40, 12, 3 * 64 * (40 + 64 + 3 * (64 + 64)) + 64 * 12)
GRU16 = Network("GRU16", 1, 1, 3 * 16 * (1 + 16) + 16)
LSTM8 = Network("LSTM8", 1, 1, 4 * 8 * (1 + 8) + 8)


@dataclass(frozen=True)
class Sources:
    """Folders that the user names: RTNeural's repository, and the one that holds ``Eigen/``."""

    rtneural: Path | None
    eigen: Path | None


def rtneural(network: Network, sources: Sources, folder: Path) -> list[Candidate]:
    """RTNeural's static model with its Eigen back-end and the one that depends on nothing.

    Args:
        network: which.
        sources: what is not named is left out.
        folder: where the libraries go.
    """
    if sources.rtneural is None:
        _left_out("RTNeural", "name a checkout with --rtneural FOLDER")
        return []
    # 32 is the widest alignment that RTNeural's Eigen back-end takes, and Eigen must not want more.
    backends = {"STL": ["-DRTNEURAL_USE_STL=1", "-DRTNEURAL_DEFAULT_ALIGNMENT=32"]}
    if sources.eigen is None:
        _left_out("RTNeural's Eigen back-end", "name Eigen's folder with --eigen FOLDER")
    else:
        backends["Eigen"] = [
            "-DRTNEURAL_USE_EIGEN=1",
            "-DRTNEURAL_DEFAULT_ALIGNMENT=32",
            "-DEIGEN_MAX_ALIGN_BYTES=32",
            "-DEIGEN_STACK_ALLOCATION_LIMIT=0",
            f"-I{sources.eigen}",
        ]
    candidates = []
    for backend, flags in backends.items():
        path = folder / f"rtneural_{network.name}_{backend}.so"
        given = [f"-DNETWORK={network.name}", *flags, f"-I{sources.rtneural}"]
        build = _build(PEERS / "rtneural.cpp", given, path)
        name = f"RTNeural {network.name}, {backend}"
        candidates.append(of_library(name, path, network.inputs, network.outputs, build=build))
    return candidates


def onnx_runtime(bundle: Bundle, folder: Path) -> list[Candidate]:
    """The bundle in ONNX Runtime, from Python: one thread, inputs and states bound once."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        _left_out("ONNX Runtime", "pip install 'ssmith[export,onnx]'")
        return []
    from ssmith.export.onnx import lower

    session = Session.open(lower(bundle, folder)[0], backend="onnx")
    frames = list(noise(PYTHON_FRAMES, len(bundle.meta.inputs)))

    def call(calls: int) -> None:
        for _ in range(calls):
            for frame in frames:
                session.step(frame)

    build = f"onnxruntime {version('onnxruntime')}"
    return [Candidate("ONNX Runtime, Python", call, frames=PYTHON_FRAMES, build=build)]


def executorch(bundle: Bundle, folder: Path) -> list[Candidate]:
    """The bundle as an ExecuTorch program with XNNPACK, through the C++ API and from Python; one thread."""
    if importlib.util.find_spec("executorch") is None:
        _left_out("ExecuTorch", "pip install 'ssmith[train,executorch]'")
        return []
    from _executorch import lower

    program = folder / f"{bundle.name}.pte"
    widths = lower(bundle, program)
    return [_executorch_cxx(bundle, program, folder), _executorch_python(bundle, program, widths)]


def _executorch_cxx(bundle: Bundle, program: Path, folder: Path) -> Candidate:
    package = importlib.util.find_spec("executorch")
    assert package is not None
    assert package.submodule_search_locations is not None
    root = next(p for p in map(Path, package.submodule_search_locations) if (p / "include").is_dir())
    # As its CMake package says: the include paths, the definitions its libraries were compiled with, and
    # the registering libraries, which nothing refers to.
    given = [
        f'-DPROGRAM="{program}"',
        "-DC10_USING_CUSTOM_GENERATED_MACROS",
        "-DET_EVENT_TRACER_ENABLED",
        "-DET_USE_THREADPOOL",
        f"-I{root / 'include'}",
        f"-I{root / 'include/executorch/runtime/core/portable_type/c10'}",
    ]
    names = (
        "executorch",
        "executorch_kernels_optimized",
        "executorch_backend_xnnpack",
        "executorch_threadpool",
    )
    link = [
        f"-L{root / 'lib'}",
        f"-Wl,-rpath,{root / 'lib'}",
        "-Wl,--no-as-needed",
        *(f"-l{n}" for n in names),
    ]
    path = folder / f"executorch_{bundle.name}.so"
    build = f"executorch {version('executorch')}, {_build(PEERS / 'executorch.cpp', given, path, link)}"
    inputs, outputs = len(bundle.meta.inputs), len(bundle.meta.outputs)
    return of_library("ExecuTorch, C++", path, inputs, outputs, build=build)


def _executorch_python(bundle: Bundle, program: Path, widths: list[int]) -> Candidate:
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(1)
    loaded = Runtime.get().load_program(program)  # the method reads from it for as long as it lives
    method = loaded.load_method("forward")
    assert method is not None
    frames = [torch.from_numpy(frame[None]) for frame in noise(PYTHON_FRAMES, len(bundle.meta.inputs))]

    def call(calls: int, keep: object = loaded) -> None:
        states = [torch.zeros(1, n) for n in widths]
        for _ in range(calls):
            for frame in frames:
                _, *states = method.execute((frame, *states))

    build = f"executorch {version('executorch')}"
    return Candidate("ExecuTorch, Python", call, frames=PYTHON_FRAMES, build=build)


def _build(source: Path, given: list[str], path: Path, link: list[str] | None = None) -> str:
    """Compile a peer's library; the command line that says how, without paths."""
    command = ["g++", *CXX, *given, str(source), "-o", str(path), *(link or ())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stderr[-2000:]}")
    shown = [flag for flag in (*CXX, *given) if "/" not in flag]
    return build_name("g++", shown)


def _left_out(what: str, how: str) -> None:
    print(f"{what} is left out: {how}", file=sys.stderr)
