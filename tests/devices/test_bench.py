"""Real artifacts measured for real; nothing here says how fast."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.devices import Plan, bench
from ssmith.devices.bench import measurement, present
from ssmith.devices.host import Host
from ssmith.devices.target import Job, Probe, RawRun
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.measurement import read_measurements, write_measurements
from ssmith.runtime.session import Session
from tests.devices.conftest import SHORT

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler (apt install gcc)")


@pytest.fixture(scope="module")
def measured(artifacts):
    if find_compiler() is None:
        pytest.skip("needs a C compiler (apt install gcc)")
    return {m.label: m for m in bench(artifacts, plan=SHORT)}


def test_every_backend_of_the_folder_is_measured(measured, artifacts):
    held = {"native": ["float32", "int8"], "onnx": ["float32"], "reference": ["float64"]}
    assert present(artifacts) == held
    assert list(measured) == ["native", "native int8", "onnx", "reference"]
    assert [m.precision for m in measured.values()] == ["float32", "int8", "float32", "float64"]
    for found in measured.values():
        assert found.metric_kind == "latency" and not found.emulated
        assert found.timing is not None and found.timing.min_us > 0
        assert 1 <= found.timing.samples <= SHORT.steps
        assert found.timing.p99_9_us is None  # too few steps for one
        assert found.cold_start_us > found.load_us > 0
        assert found.first_step_us > 0 and found.timer_overhead_us > 0
        assert found.warmup_steps <= SHORT.warmup_limit
        assert found.deadline.period_us == pytest.approx(5_000.0)
        assert found.deadline.steps == 20
        assert found.deadline.worst_us >= found.deadline.duty * 5_000.0  # due to done includes computing
        assert found.fingerprint["python"] and found.fingerprint["ssmith"]
        assert any("golden vectors" in note for note in found.notes)


def test_native_is_timed_in_c_and_reports_its_sizes(measured, artifacts):
    native, int8, onnx = (measured[name] for name in ("native", "native int8", "onnx"))
    assert (native.clock, int8.clock, onnx.clock) == ("c", "c", "python")
    for found, name in ((native, "kws"), (int8, "kws_int8")):
        header = (artifacts / f"{name}.h").read_text()
        assert f"{name.upper()}_FLASH_BYTES {found.flash_bytes}" in header
        assert found.artifact == f"{name}.c" and found.ram_bytes > 0
    assert onnx.flash_bytes == (artifacts / "kws.step.onnx").stat().st_size
    assert native.peak_rss_bytes < onnx.peak_rss_bytes  # no interpreter around it
    assert native.python_step_p50_us > native.timing.p50_us  # a call from Python costs on top
    assert "-ffp-contract=off" in native.fingerprint["compiler_flags"]


def test_measurements_survive_the_file(measured, tmp_path):
    path = tmp_path / "measurements.json"
    write_measurements(path, list(measured.values()))
    assert read_measurements(path) == list(measured.values())
    assert json.loads(path.read_text())["version"] == 1


def test_affinity_is_given_back(measured):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("the system does not let a process choose its core")
    before = os.sched_getaffinity(0)
    Host().probe()
    assert os.sched_getaffinity(0) == before
    assert all(found.pinned for found in measured.values())


@needs_compiler
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_c_loop_computes_the_model_on_the_frames_it_is_given(artifacts, tmp_path, precision):
    host = Host()
    job = host.push(host.build(artifacts, "native", precision, tmp_path), SHORT)
    frames = np.fromfile(tmp_path / "frames.f32", np.float32).reshape(-1, 2)
    assert len(frames) == 40  # the golden case
    output = host.run(job, Plan(steps=50, warmup_limit=0, cold_starts=2, paced_limit_s=0.02))
    raw = host.read(job, output)
    assert len(raw.samples) == 50 and len(raw.paced_busy) == len(raw.paced_late) == 4
    assert len(raw.cold_start_ns) == len(raw.load_ns) == len(raw.first_ns) == 2
    assert (raw.samples > 0).all() and (raw.paced_late >= raw.paced_busy).all()
    session = Session.open(artifacts, backend="native", precision=precision)
    for k in (*range(50), *range(4)):  # back to back in a circle, then paced from the first frame on
        expected = session.step(frames[k % 40])
    last = np.fromfile(output / "main" / "last.f32", np.float32)
    assert last.tobytes() == expected.tobytes()
    session = Session.open(artifacts, backend="native", precision=precision)
    for k in range(64):  # a cold process has no paced steps; what calibrates its loop leaves no trace
        expected = session.step(frames[k % 40])
    last = np.fromfile(output / "cold0" / "last.f32", np.float32)
    assert last.tobytes() == expected.tobytes()


@needs_compiler
@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], 2), (["missing", ".", "5", "1", "0", "0", "0"], 2), (["{frames}", "missing", *"51000"], 2)],
)
def test_the_c_loop_refuses_what_it_cannot_use(artifacts, tmp_path, arguments, code):
    host = Host()
    job = host.push(host.build(artifacts, "native", "float32", tmp_path), SHORT)
    filled = [a.format(frames=tmp_path / "frames.f32") for a in arguments]
    assert subprocess.run([*job.command, *filled], check=False, cwd=tmp_path).returncode == code


@needs_compiler
def test_the_c_loop_compiles_without_a_warning(artifacts, tmp_path):
    compiler, firmware = find_compiler(), Path(__file__).parents[2] / "devices" / "firmware" / "host_loop.c"
    defines = {
        "MODEL": "kws",
        "MODEL_HEADER": '"kws.h"',
        "MODEL_INPUTS": "KWS_INPUTS",
        "MODEL_OUTPUTS": "KWS_OUTPUTS",
        "MODEL_FLASH_BYTES": "KWS_FLASH_BYTES",
        "MODEL_RAM_BYTES": "sizeof(kws_t)",
    }
    done = subprocess.run(
        [
            *(compiler or []),
            *("-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror", "-c"),
            *(f"-D{name}={value}" for name, value in defines.items()),
            *(f"-I{artifacts}", str(firmware), "-o", str(tmp_path / "loop.o")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_without_a_bundle_random_frames_are_used_and_said(artifacts, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in artifacts.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert list(present(copy)) == ["native", "onnx"]
    (found,) = bench(copy, backends=["onnx"], plan=SHORT)
    assert any("random frames (normal, seed 0)" in note for note in found.notes)


def test_a_failing_program_is_reported_with_its_words(artifacts, tmp_path):
    job = Job(
        backend="onnx",
        precision="float32",
        artifact="x",
        artifacts=artifacts,
        command=(sys.executable, "-c", "raise SystemExit('no such luck')"),
        folder=tmp_path,
        period_s=None,
    )
    with pytest.raises(SsmithError, match="no such luck"):
        Host().run(job, SHORT)


class Emulator:
    """A target that only counts, as an instruction-set simulator does."""

    name = "cortex-m4"

    def probe(self):
        return Probe(backends=("native",), emulated=True, missing={"onnx": "no room"})

    def build(self, artifacts, backend, precision, folder):
        return Job(backend, precision, "kws.c", artifacts, ("run",), folder, 5e-3, flash_bytes=7)

    def push(self, job, plan):
        return job

    def run(self, job, plan):
        return job.folder

    def read(self, job, output):
        return RawRun(samples=np.full(2_000, 5), instructions_per_step=81_000.0, ram_bytes=9)


def test_an_emulator_gives_instructions_and_never_a_latency(artifacts):
    skipped = {}
    found, integer = bench(artifacts, Emulator(), on_skip=skipped.__setitem__)
    assert (found.precision, integer.precision) == ("float32", "int8")
    assert found.metric_kind == "instructions" and found.emulated
    assert found.instructions_per_step == 81_000.0
    assert found.timing is None and found.deadline is None and found.load_us is None
    assert (found.flash_bytes, found.ram_bytes) == (7, 9)
    assert skipped == {"onnx": "no room", "reference": "the target does not offer it"}
    with pytest.raises(MissingToolError, match="no room"):
        bench(artifacts, Emulator(), backends=["onnx"])


def test_unstable_times_and_short_runs_are_noted(artifacts, tmp_path):
    job = Job("native", "float32", "kws.c", artifacts, ("run",), tmp_path, None)
    drifting = np.linspace(1_000, 9_000, 6_000).astype(np.int64)
    found = measurement("host", Probe(("native",)), job, RawRun(samples=drifting), Plan())
    assert found.warmup_stable is False
    assert any("had not settled" in note for note in found.notes)
    assert any("p99.9 needs 10000" in note for note in found.notes)
    assert found.deadline is None and found.cold_start_us is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"target": "toaster"}, "no target 'toaster'"), ({"backends": ["abacus"]}, "nothing for the backend")],
)
def test_unknown_names_are_refused(artifacts, arguments, message):
    with pytest.raises(InputError, match=message):
        bench(artifacts, **arguments)


def test_a_precision_that_is_not_held_is_refused(artifacts, tmp_path):
    with pytest.raises(InputError, match="nothing for the backend 'onnx' in int8"):
        Host().build(artifacts, "onnx", "int8", tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match="manifest"):
        bench(tmp_path)
