"""The machine we run on: native code timed from C, everything else from Python, each in a fresh process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from ssmith.compiler import INSTALL, compile_command, compiler_version, find_compiler
from ssmith.devices import loop
from ssmith.devices.fingerprint import host_fingerprint
from ssmith.devices.golden import case
from ssmith.devices.target import KINDS, Job, Plan, Probe, RawRun, held
from ssmith.devices.timing import Nanoseconds
from ssmith.devices.worker import clock_ns
from ssmith.errors import InputError, SsmithError
from ssmith.ops import Float32
from ssmith.runtime.artifacts import Artifact, Manifest, find_bundle, read_manifest, verified
from ssmith.runtime.choice import PACKAGES, missing_package
from ssmith.runtime.native import FLAGS
from ssmith.runtime.session import BackendName, Session

GOLDEN = "golden.f32"  # frames that go in, and in the output's folder what comes out
COLD_STEPS = 64  # of a fresh process that is started only for its load time and peak memory
COLD_LIMIT_NS = 2_000_000_000  # no further cold start after this: importing torch takes seconds
SESSION_STEPS = 4_000  # native steps called from Python, beside those timed in C
RANDOM_FRAMES = 256
GRACE_S = 120  # beyond the planned time, for loading on a busy machine
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass(frozen=True)
class Host:
    """The machine we run on; see ``Target``."""

    name: str = "host"

    def probe(self) -> Probe:
        """What can run here: native needs a C compiler, the others need a package."""
        missing: dict[BackendName, str] = {}
        if find_compiler() is None:
            missing["native"] = f"no C compiler was found; install one ({INSTALL})"
        for backend in PACKAGES:
            if (package := missing_package(backend)) is not None:
                missing[backend] = f"{package} is not installed; run pip install 'ssmith[{backend}]'"
        backends = tuple(backend for backend in KINDS if backend not in missing)
        with pinned() as core:
            return Probe(backends, fingerprint=host_fingerprint(core), missing=missing)

    def build(self, artifacts: Path, backend: BackendName, precision: str, folder: Path) -> Job:
        """A C program around the generated model, or the Python worker.

        Raises:
            InputError: the folder holds nothing for this backend in this precision.
            SsmithError: the compiler refused the generated code.
        """
        manifest = read_manifest(artifacts)
        file = held(manifest, backend, precision)
        if file is not None and file.kind == "c-source":
            return _build_c(artifacts, manifest, file, folder)
        if file is None and backend != "reference":
            raise InputError(f"{artifacts} holds nothing for the backend {backend!r} in {precision}")
        return _build_python(artifacts, manifest, backend, precision, file, folder)

    def push(self, job: Job, plan: Plan) -> Job:
        """Write the input frames beside the program."""
        frames, origin = input_frames(job.artifacts, job.backend, plan.seed)
        frames.tofile(job.folder / "frames.f32")
        if (wanted := case(job.artifacts, job.backend, job.precision)) is not None:
            wanted.inputs.tofile(job.folder / GOLDEN)
        return replace(job, notes=(*job.notes, origin))

    def run(self, job: Job, plan: Plan) -> Path:
        """Cold starts, then the long run and golden frames, all on one core; returns their output's folder.

        Raises:
            InputError: the system gives neither the core nor the priority that the plan asks for.
            SsmithError: a program failed or did not end.
        """
        output, in_c = job.folder / "output", job.command[0] != sys.executable
        with pinned(plan.core) as core:
            cold = loop.short(replace(plan, warmup_limit=0), COLD_STEPS)
            begin = clock_ns()
            for k in range(plan.cold_starts):
                _start(job.command, job, cold, output / f"cold{k}", core)
                if clock_ns() - begin > COLD_LIMIT_NS:
                    break
            golden = [f"golden={path}"] if (path := job.folder / GOLDEN).exists() else []
            _start(job.command, job, plan, output / "main", core, golden)
            if in_c and plan.session:
                worker = _worker(job.artifacts, job.backend, job.precision)
                beside = loop.short(plan, min(SESSION_STEPS, plan.steps))
                _start(worker, job, beside, output / "session", core)
        (output / "pinned").write_text("" if core is None else str(core))
        return output

    def read(self, job: Job, output: Path) -> RawRun:
        """Parse what the programs wrote."""
        folders = sorted(output.glob("cold*"))
        cold = [loop.read_stats(path) for path in folders]

        def of_cold(name: str) -> Nanoseconds:
            return np.array([run[name] for run in cold], np.int64)

        peaks = [run["peak_rss_bytes"] for run in cold or [loop.read_stats(output / "main")]]
        first = [loop.read_samples(path / "samples.i64")[0] for path in folders]
        return replace(
            loop.read_output(output / "main"),
            cold_start_ns=of_cold("cold_start_ns"),
            load_ns=of_cold("load_ns"),
            first_ns=np.array(first, np.int64),
            peak_rss_bytes=int(max(peaks)) or None,
            golden_outputs=_golden(job, output / "main" / GOLDEN),
            session_samples=_called_from_python(output / "session"),
            clock="python" if job.command[0] == sys.executable else "c",
            pinned=(output / "pinned").read_text() != "",
        )


def open_target(model: str) -> Host:
    """The host; it has no models."""
    return Host()


@contextlib.contextmanager
def pinned(wanted: int | None = None) -> Iterator[int | None]:
    """Hold this thread, and every process it starts, on one core; given back at the end.

    Args:
        wanted: the core; None takes the last.

    Yields:
        The core, or None where the system does not let us choose.

    Raises:
        InputError: this process may not use the core that is wanted.
    """
    try:
        before = os.sched_getaffinity(0)
        core = max(before) if wanted is None else wanted  # core 0 serves most interrupts
        if core not in before:
            known = ", ".join(map(str, sorted(before)))
            raise InputError(
                f"core {core} cannot be used here; take one of {known}, as in --cpu {max(before)}"
            )
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError) as error:
        if wanted is not None:
            raise InputError(
                f"this system does not let a process choose its core ({error}); leave --cpu out"
            ) from error
        yield None
        return
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


def input_frames(artifacts: Path, backend: BackendName, seed: int) -> tuple[np.ndarray, str]:
    """What the model is fed: recorded frames of its golden vectors, else random ones.

    Returns:
        Frames of shape (T, U), float32, and a sentence that says which.
    """
    bundle = find_bundle(artifacts, read_manifest(artifacts))
    if bundle is not None:
        from safetensors import safe_open

        with safe_open(bundle, "numpy") as file:
            names = [n for n in file.keys() if n.startswith("golden.") and n.endswith(".input")]  # noqa: SIM118
            recorded = [file.get_tensor(name) for name in sorted(names)]
        if recorded:
            frames = np.concatenate(recorded).astype(np.float32)
            return frames, f"fed with the {len(frames)} recorded frames of the golden vectors, in a circle"
    inputs = Session.open(artifacts, backend=backend).inputs
    frames = np.random.default_rng(seed).standard_normal((RANDOM_FRAMES, inputs), np.float32)
    return (
        frames,
        f"fed with {RANDOM_FRAMES} random frames (normal, seed {seed}): no recorded ones were found",
    )


def _build_c(artifacts: Path, manifest: Manifest, source: Artifact, folder: Path) -> Job:
    path, program = verified(artifacts, source), folder / "host_loop"
    name, upper = path.stem, path.stem.upper()
    defines = {
        "MODEL": name,
        "MODEL_HEADER": f'"{name}.h"',
        "MODEL_INPUTS": f"{upper}_INPUTS",
        "MODEL_OUTPUTS": f"{upper}_OUTPUTS",
        "MODEL_FLASH_BYTES": f"{upper}_FLASH_BYTES",
        "MODEL_RAM_BYTES": f"sizeof({name}_t)",
    }
    compiler = compile_command(FLAGS)
    with resources.as_file(resources.files("ssmith.devices") / "firmware" / "host_loop.c") as program_source:
        command = [
            *compiler,
            *(f"-D{key}={value}" for key, value in defines.items()),
            *(f"-I{path.parent}", str(program_source), str(path), "-o", str(program)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SsmithError(f"the C compiler refused {path}:\n{done.stderr.strip()[-2000:]}")
    return Job(
        backend="native",
        precision=source.precision,
        artifact=source.path,
        artifacts=artifacts,
        command=(str(program),),
        folder=folder,
        period_s=manifest.period_s,
        fingerprint=_fingerprint(compiler),
        notes=("timed in C around the generated code; the same compiler and flags as the native backend",),
    )


def _build_python(
    artifacts: Path,
    manifest: Manifest,
    backend: BackendName,
    precision: str,
    file: Artifact | None,
    folder: Path,
) -> Job:
    return Job(
        backend=backend,
        precision=precision,
        artifact=file.path if file else f"{manifest.name}.ssm",
        artifacts=artifacts,
        command=_worker(artifacts, backend, precision),
        folder=folder,
        period_s=manifest.period_s,
        flash_bytes=file.bytes if file else None,
        notes=("timed around Session.step in Python, one frame a call",),
    )


def _worker(artifacts: Path, backend: BackendName, precision: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "ssmith.devices.worker", str(artifacts.resolve()), backend, precision)


def _fingerprint(command: list[str]) -> dict[str, str]:
    compiler = find_compiler() or []
    return {
        "compiler": compiler_version(compiler),
        "compiler_flags": " ".join(command[len(compiler) :]),
    }


def _start(
    command: tuple[str, ...], job: Job, plan: Plan, output: Path, core: int | None, golden: Sequence[str] = ()
) -> None:
    """One process, with the arguments of ``firmware/host_loop.c``."""
    output.mkdir(parents=True)
    extra = [*loop.options(job, plan, core), *golden]
    files = (str(job.folder / "frames.f32"), str(output))
    limit = loop.planned_s(job, plan) + GRACE_S
    arguments = [*command, *files, *loop.numbers(job, plan, clock_ns()), *extra]
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, check=False, timeout=limit, env=os.environ | ONE_THREAD
        )
    except subprocess.TimeoutExpired as error:
        raise SsmithError(f"measuring {job.artifact} did not end within {limit:.0f} s") from error
    if done.returncode == loop.REFUSED:
        raise loop.refused(done.stderr, plan)
    if done.returncode != 0:
        raise SsmithError(
            f"measuring {job.artifact} with {job.backend} failed (exit code {done.returncode}):"
            f" {done.stderr.strip()[-2000:]}"
        )


def _golden(job: Job, path: Path) -> Float32 | None:
    """Outputs of the golden frames, shape (T, Y); None where nothing is known to compare them with."""
    wanted = case(job.artifacts, job.backend, job.precision)
    return None if wanted is None else np.fromfile(path, np.float32).reshape(len(wanted.inputs), -1)


def _called_from_python(folder: Path) -> Nanoseconds:
    if not folder.is_dir():
        return RawRun().session_samples
    overhead = int(loop.read_stats(folder)["overhead_ns"])
    return np.maximum(loop.read_samples(folder / "samples.i64") - overhead, 0)
