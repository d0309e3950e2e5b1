"""``wasm``: the model as WebAssembly without a system, run by wasmtime, which counts operators as fuel."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ssmith.devices.counted import spread
from ssmith.devices.emulated import FRAMES, OUTPUT, push_frames
from ssmith.devices.freestanding import PROGRAM, Core, build, missing
from ssmith.devices.target import Job, Plan, Probe, RawRun
from ssmith.errors import SsmithError

FUEL = 10**10  # for one call; a step that takes more hangs
CORE = Core(
    ("-target", "wasm32-freestanding"), ("-Wl,--no-entry", "-Wl,--export-memory", "-Wl,--gc-sections")
)


def open_target(model: str) -> Wasm:
    """WebAssembly; it has no models."""
    return Wasm()


@dataclass(frozen=True)
class Wasm:
    """WebAssembly without SIMD; see ``Target``."""

    name: str = "wasm"

    def probe(self) -> Probe:
        """What is missing."""
        try:
            engine = f"wasmtime {version('wasmtime')}"
        except PackageNotFoundError:
            engine = "wasmtime"
        return Probe(
            ("native",),
            emulated=True,
            fingerprint={"processor": "wasm32", "emulator": engine},
            measures=("instructions", "correctness"),
            absent=missing("ziglang", "wasmtime"),
        )

    def build(self, artifacts: Path, backend: str, precision: str, folder: Path) -> Job:
        """Compile the model to a module that imports nothing."""
        return build(artifacts, precision, folder, CORE)

    def push(self, job: Job, plan: Plan) -> Job:
        """Lay the frames beside the module."""
        return push_frames(job, plan)

    def run(self, job: Job, plan: Plan) -> Path:
        """Step through the frames from a fresh state.

        Raises:
            SsmithError: the module traps, or the model refuses a frame.
        """
        import wasmtime

        config = wasmtime.Config()
        config.consume_fuel = True
        engine = wasmtime.Engine(config)
        store = wasmtime.Store(engine)
        store.set_fuel(FUEL)
        instance = wasmtime.Instance(store, wasmtime.Module.from_file(engine, str(job.folder / PROGRAM)), [])
        exports = instance.exports(store)
        memory: Any = exports["memory"]

        def call(name: str, *arguments: int) -> int:
            store.set_fuel(FUEL)
            function: Any = exports[name]
            try:
                return int(function(store, *arguments))
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                raise SsmithError(f"{name}() trapped: {str(error).splitlines()[-1]}") from error

        ram, flash, _, width = (call("number", which) for which in range(4))
        frame, result = call("address", 0), call("address", 1)
        if call("start") != 0:
            raise SsmithError(f"{job.artifact}: the model did not start")
        rows, counts = [], []
        for row in np.load(job.folder / FRAMES):
            memory.write(store, row.tobytes(), frame)
            if call("step") != 0:
                raise SsmithError(f"{job.artifact}: the model refused a golden frame")
            counts.append(FUEL - store.get_fuel())
            rows.append(np.frombuffer(memory.read(store, result, result + 4 * width), np.float32))
        np.savez(
            job.folder / OUTPUT,
            outputs=np.array(rows),
            counts=np.array(counts),
            numbers=np.array([ram, flash]),
        )
        return job.folder

    def read(self, job: Job, output: Path) -> RawRun:
        """What ``run`` found."""
        with np.load(output / OUTPUT) as found:
            ram, flash = (int(n) for n in found["numbers"])
            return RawRun(
                instructions_per_step=float(found["counts"].mean()),
                count_unit="fuel",
                golden_outputs=found["outputs"],
                flash_bytes=flash,
                ram_bytes=ram,
                notes=(*spread(found["counts"]),),
            )
