"""Other engines in the benchmark's turns: a function a peer, each from sources or packages of the user's.

Nothing of them is in this repository: RTNeural comes from a checkout that the user names, ONNX Runtime from
its package; ExecuTorch is in _peers_executorch.py, torch in _peers_torch.py. What is missing is said on
stderr and left out.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _native import Candidate, build_name, noise, of_library

from ssmith.bundle import Bundle
from ssmith.ops import Float32
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
        left_out("RTNeural", "name a checkout with --rtneural FOLDER")
        return []
    # 32 is the widest alignment that RTNeural's Eigen back-end takes, and Eigen must not want more.
    backends = {"STL": ["-DRTNEURAL_USE_STL=1", "-DRTNEURAL_DEFAULT_ALIGNMENT=32"]}
    if sources.eigen is None:
        left_out("RTNeural's Eigen back-end", "name Eigen's folder with --eigen FOLDER")
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
        made = build(PEERS / "rtneural.cpp", given, path)
        name = f"RTNeural {network.name}, {backend}"
        candidates.append(of_library(name, path, network.inputs, network.outputs, build=made))
    return candidates


def in_python(
    name: str,
    step: Callable[[Float32], Any],
    inputs: int,
    build: str = "",
    given: Callable[[Float32], Any] = np.asarray,
) -> Candidate:
    """A Python function that computes one frame and remembers its states.

    Args:
        name: in the results.
        step: (1, U), as ``given`` makes it of an array, to (Y) or (1, Y).
        inputs: U.
        build: the versions behind it.
        given: what a program would hold its frames in.
    """
    frames = [given(frame[None]) for frame in noise(PYTHON_FRAMES, inputs)]
    kept: list[Any] = []

    def call(calls: int) -> None:
        y = None
        for _ in range(calls):
            for frame in frames:
                y = step(frame)
        kept[:] = [y]

    return Candidate(name, call, PYTHON_FRAMES, build, last=lambda: np.array(kept[0], np.float32).reshape(-1))


def onnx_runtime(bundle: Bundle, folder: Path, name: str = "ONNX Runtime, Python") -> list[Candidate]:
    """The bundle in ONNX Runtime, from Python: one thread, inputs and states bound once."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        left_out("ONNX Runtime", "pip install 'ssmith[export,onnx]'")
        return []
    from ssmith.export.onnx import lower

    session = Session.open(lower(bundle, folder)[0], backend="onnx")
    made = f"onnxruntime {version('onnxruntime')}"
    inputs = len(bundle.meta.inputs)
    return [in_python(name, session.step, inputs, made, lambda frame: frame[0])]


def build(source: Path, given: Sequence[str], path: Path, link: Sequence[str] = ()) -> str:
    """Compile a peer's library; the command line that says how, without paths."""
    command = ["g++", *CXX, *given, str(source), "-o", str(path), *link]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stderr[-2000:]}")
    shown = [flag for flag in (*CXX, *given) if "/" not in flag]
    return build_name("g++", shown)


def left_out(what: str, how: str) -> None:
    print(f"{what} is left out: {how}", file=sys.stderr)
