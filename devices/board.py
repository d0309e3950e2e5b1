"""A board with a POSIX shell, by ssh or adb: the runner is brought there, started, its samples fetched."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ssmith.devices import facts, fetched, loop
from ssmith.devices.golden import case
from ssmith.devices.host import input_frames
from ssmith.devices.link import Done, Link, LinkError
from ssmith.devices.target import KINDS, Job, Plan, Probe, RawRun, held
from ssmith.devices.toolchain import PROGRAM, Toolchain, command_on_target, sources, with_cmake, with_zig
from ssmith.errors import InputError, SsmithError
from ssmith.runtime.artifacts import (
    MANIFEST,
    Artifact,
    Manifest,
    find_bundle,
    read_manifest,
    verified,
)
from ssmith.runtime.choice import PACKAGES
from ssmith.runtime.session import BackendName

COLD_STEPS = 64  # of a fresh process that is started only for its load time
WRONG_ARGUMENTS = 2  # the runner's exit code without arguments
SHORT_S, COMPILE_S = 60.0, 600.0
_ONE_THREAD = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1"
# Frames in, outputs out, by the same session that is timed.
_COMPUTE = (
    "import sys, numpy as np; from ssmith.runtime.session import Session; a, b, p, f, o = sys.argv[1:];"
    " s = Session.open(a, backend=b, precision=p);"
    " s.process(np.fromfile(f, np.float32).reshape(-1, s.inputs)).astype(np.float32).tofile(o)"
)


@dataclass(frozen=True)
class Board:
    """One board; see ``Target``.

    Args:
        name: what reports call it.
        link: how it is reached.
        base: a folder there in which a new one may be made and programs started.
        toolchain: what compiles for it.
        grace_s: a run may take so much longer than planned before it is killed.
    """

    name: str
    link: Link
    base: str
    toolchain: Toolchain = field(default_factory=Toolchain)
    grace_s: float = 60.0
    _known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def probe(self) -> Probe:
        """Ask the board what it is; native needs a compiler here or there, the others its Python."""
        try:
            found = facts.ask(self.link)
        except LinkError as error:
            return Probe((), absent=str(error))
        self._known.clear()
        self._known.update(found)
        missing: dict[BackendName, str] = {}
        if self.toolchain.on_target and "compiler" not in found:
            missing["native"] = "the board has no cc to compile with (--cc-on-target)"
        for backend in KINDS:
            if backend != "native" and (why := facts.python_missing(found, PACKAGES.get(backend, ()))):
                missing[backend] = why
        backends = tuple(backend for backend in KINDS if backend not in missing)
        return Probe(backends, fingerprint=facts.fingerprint(found), missing=missing)

    def build(self, artifacts: Path, backend: BackendName, precision: str, folder: Path) -> Job:
        """Compile the runner, or name the files that the board's Python opens.

        Raises:
            InputError: the folder holds nothing for this backend in this precision.
            MissingToolError: the compiler is not installed.
            SsmithError: it refused the generated code.
        """
        manifest, known = read_manifest(artifacts), self._known or facts.ask(self.link)
        file, there = held(manifest, backend, precision), f"{self.base.rstrip('/')}/ssmith-{folder.name}"
        if file is None and backend != "reference":
            raise InputError(f"{artifacts} holds nothing for the backend {backend!r} in {precision}")
        job = Job(backend, precision, f"{manifest.name}.ssm", artifacts, (), folder, manifest.period_s)
        if backend != "native":
            worker = f"{facts.PYTHON} -m ssmith.devices.worker"
            command = f"env {_ONE_THREAD} {worker} {_opened(file, manifest)} {backend} {precision}"
            note = "timed around Session.step in the board's Python, one frame a call"
            job = replace(job, notes=(note,), flash_bytes=None if file is None else file.bytes)
        else:
            if file is None or file.kind != "c-source":
                raise InputError(f"{artifacts} holds no generated C in {precision}; a board needs NAME.c")
            command, source = f"./{PROGRAM}", verified(artifacts, file)
            note = "timed in C around the generated code"
            job = replace(job, notes=(note,), fingerprint=self._compiled(source, folder, known))
        job = replace(job, artifact=file.path if file else job.artifact)
        return replace(job, command=(there, command))

    def push(self, job: Job, plan: Plan) -> Job:
        """Bring everything there, compile there if asked to, and see whether the program starts.

        Raises:
            LinkError: the connection broke.
            SsmithError: no room, no right to write, a compiler that refuses, a program that does not start.
        """
        frames, origin = input_frames(job.artifacts, job.backend, plan.seed)
        frames.tofile(job.folder / "frames.f32")
        files = self._files(job) | {"frames.f32": job.folder / "frames.f32"}
        if (wanted := case(job.artifacts, job.backend, job.precision)) is not None:
            wanted.inputs.astype(np.float32).tofile(job.folder / "golden.f32")
            files["golden.f32"] = job.folder / "golden.f32"
        there = shlex.quote(job.command[0])
        folders = sorted({f"{there}/{Path(name).parent}" for name in files if "/" in name})
        made = self.link.run(f"umask 077; mkdir {there} {' '.join(folders)}", timeout_s=SHORT_S)
        if made.code != 0:
            raise SsmithError(f"{self.name} cannot make a folder in {self.base}: {_words(made)}")
        try:
            self.link.put(files, job.command[0])
            if job.backend == "native":
                self._ready(job, there)
        except BaseException:
            self._remove(job)
            raise
        return replace(job, notes=(*job.notes, origin))

    def run(self, job: Job, plan: Plan) -> Path:
        """Cold starts, the long run, the golden frames; the board's folder is removed whatever happens."""
        output, cold = job.folder / "output", loop.short(replace(plan, warmup_limit=0), COLD_STEPS)
        try:
            for k in range(plan.cold_starts):
                self._measure(job, cold, f"output/cold{k}")
            self._measure(job, plan, "output/main")
            if (job.folder / "golden.f32").exists():
                self._compute(job, plan)
            shutil.rmtree(output, ignore_errors=True)  # of the turn before
            output.mkdir()
            self.link.get(f"{job.command[0]}/output", output)
        finally:
            self._remove(job)
        return output

    def read(self, job: Job, output: Path) -> RawRun:
        """Parse what the board sent."""
        wanted = case(job.artifacts, job.backend, job.precision)
        shape = None if wanted is None else wanted.outputs.shape
        raw = fetched.read(output, shape, self.name)
        return replace(
            raw,
            clock="c" if job.backend == "native" else "python",
            pinned="pin" in self._known,
        )

    def _compiled(self, source: Path, folder: Path, known: dict[str, str]) -> dict[str, str]:
        if self.toolchain.on_target:
            line = command_on_target(source)
            return {"compiler": known.get("compiler", ""), "compiler_flags": f"{line} (on the board)"}
        if self.toolchain.file is not None:
            built = with_cmake(source, folder, self.toolchain.file)
            return {
                "compiler": built.compiler,
                "compiler_flags": built.flags,
                "toolchain_file": self.toolchain.file.name,
            }
        if not known["system"].startswith("Linux"):
            raise SsmithError(
                f"{self.name} runs {known['system']}, and zig builds for Linux here; compile there"
                " (--cc-on-target) or give a CMake toolchain file (--toolchain)"
            )
        built = with_zig(source, folder, known["machine"], known.get("features", "").split())
        return {"compiler": built.compiler, "compiler_flags": built.flags}

    def _files(self, job: Job) -> dict[str, Path]:
        """What the job needs there, by its name there."""
        manifest = read_manifest(job.artifacts)
        if job.backend == "native" and not self.toolchain.on_target:
            built = job.folder / "bin" / PROGRAM
            return {PROGRAM: built if built.exists() else job.folder / PROGRAM}
        if job.backend == "native":
            found = {path.name: path for path in job.artifacts.iterdir() if path.suffix == ".h"}
            return found | sources() | {job.artifact: job.artifacts / job.artifact}
        bundle = find_bundle(job.artifacts, manifest)
        if job.backend == "reference" and bundle is not None:
            return {bundle.name: bundle}
        first = KINDS[job.backend][0].partition("-")[0]  # onnx, pte: a session may open several of its kind
        kept = [f.path for f in manifest.files if f.kind.startswith(first)]
        return {f"artifacts/{name}": job.artifacts / name for name in (MANIFEST, *kept)}

    def _ready(self, job: Job, there: str) -> None:
        if self.toolchain.on_target:
            line = command_on_target(Path(job.artifact))
            done = self.link.run(f"cd {there} && {line}", timeout_s=COMPILE_S)
            if done.code != 0:
                raise SsmithError(
                    f"the compiler of {self.name} refused {job.artifact}: {_words(done)[-2000:]}"
                )
        done = self.link.run(f"cd {there} && chmod 755 {PROGRAM} && ./{PROGRAM}", timeout_s=SHORT_S)
        if done.code == WRONG_ARGUMENTS and not done.complaint:
            return
        known = self._known.get("machine", "?")
        raise SsmithError(
            f"{self.name} (uname -m: {known}) does not start the program that was built for it:"
            f" {_words(done)};"
            f" {_advice(done, self.base)}"
        )

    def _measure(self, job: Job, plan: Plan, output: str) -> None:
        """One process there, with the arguments of ``firmware/host_loop.c``."""
        core = int(self._known["pin"]) if self._known.get("pin", "").isdigit() else None
        words = loop.numbers(job, plan, 0)  # 0: its clock is not ours, no cold start is read from it
        words += loop.options(job, plan, core if plan.core is None else plan.core)
        limit = loop.planned_s(job, plan) + self.grace_s
        self._limited(job, plan, f"{job.command[1]} frames.f32 {output} {' '.join(words)}", limit, output)

    def _compute(self, job: Job, plan: Plan) -> None:
        manifest = read_manifest(job.artifacts)
        program = f"./{PROGRAM}"
        if job.backend != "native":
            opened = _opened(held(manifest, job.backend, job.precision), manifest)
            program = f'{facts.PYTHON} -c "{_COMPUTE}" {opened} {job.backend} {job.precision}'
        self._limited(job, plan, f"{program} golden.f32 output/golden.f32", self.grace_s, "output")

    def _limited(self, job: Job, plan: Plan, command: str, limit_s: float, output: str) -> None:
        """Run a command there that the board itself kills after a time, even if we are gone by then."""
        seconds = max(1, round(limit_s))
        line = (
            f"cd {shlex.quote(job.command[0])} && mkdir -p {output} || exit 1; {command} </dev/null & p=$!; "
            f"( sleep {seconds} & s=$!; trap 'kill $s; exit' TERM; wait $s; kill -9 $p ) >/dev/null 2>&1 & "
            "w=$!; wait $p; r=$?; kill $w 2>/dev/null; exit $r"
        )
        start = time.monotonic()
        done = self.link.run(line, timeout_s=seconds + SHORT_S)
        if done.code == 0:
            return
        if done.code == loop.REFUSED:
            raise loop.refused(f"{self.name}: {done.complaint}", plan)
        if time.monotonic() - start >= seconds - 0.5:
            raise SsmithError(
                f"measuring {job.artifact} on {self.name} did not end within {seconds} s; killed"
            )
        raise SsmithError(
            f"measuring {job.artifact} with {job.backend} on {self.name} failed (exit code {done.code}):"
            f" {(done.complaint or _meaning(done.code))[-2000:]}"
        )

    def _remove(self, job: Job) -> None:
        with contextlib.suppress(LinkError):  # the board may be gone; the error that matters is on its way
            self.link.run(f"rm -rf {shlex.quote(job.command[0])}", timeout_s=SHORT_S)


def with_toolchain(board: object, toolchain: Toolchain) -> Board:
    """The same board, compiled for with ``toolchain``.

    Raises:
        InputError: the target is no board with a shell.
    """
    if not isinstance(board, Board):
        name = getattr(board, "name", "this target")
        raise InputError(f"{name} takes no --toolchain or --cc-on-target; they are for ssh: and adb: boards")
    return replace(board, toolchain=toolchain)


def _opened(file: Artifact | None, manifest: Manifest) -> str:
    return "artifacts" if file is not None else f"{manifest.name}.ssm"


def _words(done: Done) -> str:
    return done.complaint or done.out[-400:].decode(errors="replace").strip() or f"exit code {done.code}"


def _advice(done: Done, base: str) -> str:
    if "ermission denied" in done.complaint:
        return f"{base} may be mounted noexec: name another folder, as in ssh:USER@HOST:/home/USER"
    if done.code == 128 + 4:
        return "it met an instruction that this processor lacks"
    return (
        "another architecture than the board's? Give its own toolchain (--toolchain) or compile there"
        " (--cc-on-target)"
    )


def _meaning(code: int) -> str:
    known = {
        2: "it could not read its frames or write its samples there; is the disk full?",
        3: "the model refused a frame",
        126: "it could not be started",
        127: "the program is not there",
        137: "it was killed; out of memory?",
        139: "it crashed (segmentation fault)",
    }
    return known.get(code, "it said nothing")
