"""Damaged artifacts through ``Session.open``: refused or opened, never a crash of our own code.

    python -m tests.fuzzing FILE --cases 200 --seed 0 [--repaired]

FILE is an artifact, or a ``manifest.json`` whose folder is then opened. Each case is a function of (seed,
number). With ``--repaired`` the checksum inside .onnx and .pte files is made right again, as an attacker
would, so that their own parsers meet the damage. Cases run in a forked child; one that dies there is told
apart by the Python line that was running: in a package of somebody else, or in ssmith. Prints JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from ssmith.errors import SsmithError
from ssmith.files import SEAL, seal
from ssmith.runtime.session import Session

SECONDS = 20  # a case that takes longer hangs
MEMORY = 6 << 30  # address space of a child: a size that was damaged asks for less than the machine has
FOREIGN = ("onnxruntime", "executorch", "torch", "safetensors")
# Its module of C++ is called from here, with no Python of its own between; Python alone gets no signal.
CALLS = {"/runtime/executorch_program.py": "executorch"}
FIRST = {".onnx": "onnxruntime", ".pte": "executorch.runtime"}  # imported once, before the forks


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four random changes: bits, bytes, words that like to overflow, cuts, repeats, holes."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        n = len(changed)
        if n == 0:
            break
        at, length = int(rng.integers(n)), int(rng.integers(1, 65))
        kind = int(rng.integers(7))
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at] = int(rng.integers(256))
        elif kind == 2:
            word = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, n, n - 1)[int(rng.integers(7))]
            changed[at : at + 4] = word.to_bytes(4, "little")
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif kind == 5:
            changed[at : at + length] = bytes(length)
        else:
            del changed[at:]
    return bytes(changed)


def repaired(data: bytes) -> bytes:
    """The same with a checksum that holds, if there still is one."""
    mark = re.escape(SEAL[:-64].encode())
    zeroed, count = re.subn(mark + rb"[0-9a-f]{64}", SEAL.encode(), data)
    return seal(zeroed) if count == 1 else data


def attempt(original: Path, folder: Path, data: bytes) -> str:
    """``refused`` or ``opened``; anything else is a surprise and says which."""
    if original.name == "manifest.json":
        (folder / original.name).write_bytes(data)
        path = folder
    else:
        path = folder / original.name
        path.write_bytes(data)
    try:
        session = Session.open(path, backend="reference" if path is folder else None)
        saved = session.state_get()
        with np.errstate(all="ignore"):
            session.step(np.zeros(session.inputs, np.float32))
            session.process(np.ones((3, session.inputs), np.float32))
        session.state_set(saved)
    except SsmithError:
        return "refused"
    except MemoryError:
        return "refused"  # by the limit that a child has
    except Exception as error:
        return f"surprise: {type(error).__name__}: {error}"[:300]
    return "opened"


def _child(
    original: Path, folder: Path, first: int, options: argparse.Namespace, pipe: int, log: Path
) -> None:
    """Cases from ``first`` on, a line before and after each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = original.read_bytes()
    with log.open("w") as trace, os.fdopen(pipe, "w") as out:
        faulthandler.enable(trace)
        os.dup2(trace.fileno(), 2)
        for case in range(first, options.cases):
            changed = damaged(data, np.random.default_rng((options.seed, case)))
            if options.repaired:
                changed = repaired(changed)
            print("begin", case, file=out, flush=True)
            signal.alarm(SECONDS)
            outcome = attempt(original, folder, changed)
            signal.alarm(0)
            print("end", outcome, file=out, flush=True)


def _why_it_died(status: int, log: Path) -> str:
    """Where a dead child was: in one of the packages we call, or in our own code."""
    name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
    trace = log.read_text("utf-8", "replace")
    lines = re.findall(r'File "([^"]+)", line \d+', trace)
    for line in lines[:1]:
        for package in FOREIGN:
            if f"/{package}/" in line:
                return f"crash in {package}: {name}"
        if name != "SIGALRM" and (
            called := next((p for end, p in CALLS.items() if line.endswith(end)), None)
        ):
            return f"crash in {called}: {name}"
    if name == "SIGALRM":
        return "surprise: hangs"
    if not lines and (found := next((p for p in FOREIGN if p in trace), None)):
        return f"crash in {found}: {name}"  # its own assertion, printed before it stopped the process
    return f"surprise: {name} at {lines[0] if lines else 'an unknown line'}"


def fuzz(original: Path, options: argparse.Namespace) -> Counter[str]:
    """Outcome → how often; the keys of surprises name the case."""
    found: Counter[str] = Counter()
    with contextlib.suppress(ImportError):
        __import__(FIRST.get(original.suffix, "numpy"))
    with tempfile.TemporaryDirectory() as scratch:
        folder, log = Path(scratch, "files"), Path(scratch, "trace")
        shutil.copytree(original.parent, folder)
        case = 0
        while case < options.cases:
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(read)
                _child(original, folder, case, options, write, log)
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as lines:
                for line in lines:
                    word, _, rest = line.rstrip("\n").partition(" ")
                    if word == "begin":
                        case = int(rest)
                    else:
                        found[f"case {case}: {rest}" if rest.startswith("surprise") else rest] += 1
                        case += 1
            _, status = os.waitpid(child, 0)
            if status:
                why = _why_it_died(status, log)
                found[f"case {case}: {why}" if why.startswith("surprise") else why] += 1
                case += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repaired", action="store_true")
    options = parser.parse_args()
    json.dump(dict(sorted(fuzz(options.file, options).items())), sys.stdout)


if __name__ == "__main__":
    main()
