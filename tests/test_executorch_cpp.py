"""The example in examples/executorch_cpp: built against the wheel's libraries, held against the op list."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.export.executorch import Form
from ssmith.files import seal
from ssmith.ops import Float32
from ssmith.runtime.reference import describe
from tests.bundles import plain_run, random_bundle

pytestmark = pytest.mark.slow  # a program takes seconds to lower

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "executorch_cpp"
SECTION = (ROOT / "docs" / "embedding.md").read_text().split("\n## ExecuTorch\n")[1].split("\n## ")[0]
FORMS: tuple[Form, ...] = ("step", "stream", "sequence")


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> Path:
    """The folder with ``ssmith_run`` and the driver; warnings of the example are errors."""
    for tool in ("cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: make deps")
    if importlib.util.find_spec("executorch") is None:
        pytest.skip("executorch is not installed: pip install 'ssmith[executorch]'")
    folder: Path = tmp_path_factory.mktemp("executorch_cpp")
    (folder / "page.cpp").write_text(fences("cpp")[0])
    flags = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1", "-DCMAKE_CXX_FLAGS=-Werror")
    names = (f"-DPYTHON={sys.executable}", f"-DEXAMPLE={EXAMPLE}", f"-DPAGE={folder / 'page.cpp'}")
    command("cmake", *flags, *names, "-S", ROOT / "tests" / "executorch_cpp", "-B", folder)
    command("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return random_bundle(
        np.random.default_rng(5), orders=(4,), norm="affine", pool="ema", golden_frames=(12,)
    )


@pytest.fixture(scope="session")
def programs(bundle, tmp_path_factory) -> Path:
    """A folder with the step, stream and sequence program of the bundle and a program of nobody's."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("executorch")
    from ssmith.export.executorch import _with_golden, to_program
    from ssmith.export.executorch_program import lowered

    folder: Path = tmp_path_factory.mktemp("programs")
    lowereds = {form: to_program(bundle, form) for form in FORMS}
    for form, program in lowereds.items():
        (folder / f"net.{form}.pte").write_bytes(seal(program.data))
    (folder / "net.step.bpte").write_bytes(seal(_with_golden(bundle, lowereds["step"])))
    foreign = lowered(torch.nn.Linear(3, 2), [torch.zeros(1, 3)], "{}", delegate=False).data
    (folder / "other.pte").write_bytes(foreign)
    (folder / "foreign.pte").write_bytes(foreign.replace(b"ssmith", b"xxmith"))
    return folder


def fences(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


def command(*words: str | Path) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def run(build: Path, *words: str | Path, frames: str = "") -> subprocess.CompletedProcess[str]:
    runner = build / "example" / "ssmith_run"
    return subprocess.run([runner, *words], input=frames, capture_output=True, text=True, check=False)


def answers(build: Path, *words: str | Path, frames: str) -> Float32:
    done = run(build, *words, frames=frames)
    assert (done.returncode, done.stderr) == (0, "")
    return numbers(done.stdout)


def numbers(text: str) -> Float32:
    return np.array([[float(word) for word in line.split(",")] for line in text.split()], np.float32)


def csv(block: Float32) -> str:
    return "".join(",".join(f"{value:.9g}" for value in frame) + "\n" for frame in block)


def block(frames: int = 40, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((frames, 3)).astype(np.float32)


def close(got: Float32, bundle: Bundle, frames: Float32) -> bool:
    expected = plain_run(bundle.meta.ops, bundle.tensors, frames)
    return bool(np.abs(got - expected).max() <= 2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_outputs_are_those_of_the_op_list(build, programs, bundle, form, tmp_path):
    program, frames = programs / f"net.{form}.pte", block(1500)  # more than a block of the sequence
    got = answers(build, program, frames=csv(frames))
    assert close(got, bundle, frames)
    named = tmp_path / "frames.csv"
    named.write_text("in_0,in_1,in_2\r\n" + csv(frames).replace("\n", "\r\n"))
    np.testing.assert_array_equal(answers(build, program, named, frames=""), got)
    raw = subprocess.run(
        [build / "example" / "ssmith_run", program, "--raw"], input=frames.tobytes(), stdout=-1, check=True
    )
    np.testing.assert_array_equal(np.frombuffer(raw.stdout, np.float32).reshape(-1, 2), got)


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_line_starts_from_zeros(build, programs, bundle, form):
    first, second = block(9), block(5, seed=1)
    done = run(build, programs / f"net.{form}.pte", frames=f"{csv(first)}\n{csv(second)}")
    parts = [numbers(part) for part in done.stdout.split("\n\n")]
    assert close(parts[0], bundle, first)
    assert close(parts[1], bundle, second)


@pytest.mark.parametrize(
    ("before", "after"), [("step", "stream"), ("stream", "step"), ("sequence", "stream")]
)
def test_a_saved_state_goes_on_in_any_form(build, programs, bundle, before, after, tmp_path):
    frames, state = block(), tmp_path / "state"
    first = answers(build, programs / f"net.{before}.pte", "--save-state", state, frames=csv(frames[:17]))
    last = answers(build, programs / f"net.{after}.pte", "--load-state", state, frames=csv(frames[17:]))
    assert close(np.concatenate([first, last]), bundle, frames)
    assert list(tmp_path.iterdir()) == [state]


def test_states_that_are_not_the_model_s_are_refused(build, programs, tmp_path):
    state = tmp_path / "state"
    answers(build, programs / "net.step.pte", "--save-state", state, frames=csv(block(3)))
    good = state.read_bytes()
    other = b"0" * 64 + good[64:]
    infinite = good[:-4] + np.float32(np.inf).tobytes()
    for bad in (good[:-1], good + b"\0", b"", other, infinite):
        state.write_bytes(bad)
        done = run(build, programs / "net.step.pte", "--load-state", state, frames=csv(block(3)))
        assert (done.returncode, done.stdout) == (2, "")
        assert "state" in done.stderr
    done = run(build, programs / "net.step.pte", "--save-state", tmp_path / "no" / "state")
    assert done.returncode == 2


def test_programs_that_are_none_are_refused(build, programs, tmp_path):
    good = (programs / "net.step.pte").read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    no_seal = good.replace(b"ssmith-seal:", b"ssmith_seal:")
    cases = {
        "long_cut": (good[:-1], "damaged"),
        "short_cut": (good[:600], "no ExecuTorch program"),
        "cut_without_seal": (no_seal[: len(good) // 2], "no ExecuTorch program"),
        "flipped": (bytes(flipped), "damaged"),
        "empty": (b"", "no ExecuTorch program"),
        "text": (b"not a program\n" * 50, "no ExecuTorch program"),
        "foreign": ((programs / "foreign.pte").read_bytes(), "no method `ssmith`"),
        "other": ((programs / "other.pte").read_bytes(), "not that of `ssmith export`"),
    }
    for name, (data, words) in cases.items():
        path = tmp_path / f"{name}.pte"
        path.write_bytes(data)
        done = run(build, path, frames=csv(block(3)))
        assert (done.returncode, done.stdout) == (2, ""), name
        assert words in done.stderr, name
        assert done.stderr.count("\n") == 1, name
    for path in (tmp_path, tmp_path / "missing.pte"):
        done = run(build, path)
        assert done.returncode == 2
        assert "cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ("1,2\n", "line 1: 2 columns, but the model takes 3: in_0,in_1,in_2"),
        ("1,2,3\n1,2,3,4\n", "line 2: 4 columns"),
        ("a,b,c\n", "names of the inputs: in_0,in_1,in_2"),
        ("1,2,3\n1,two,3\n", "line 2: column 2 is no number"),
        ("1,2,3\n1,2,\n", "line 2: column 3 is no number"),
        ("1,nan,3\n", "not a finite number"),
        ("1,2,1e50\n", "not a finite number"),
    ],
)
def test_frames_that_cannot_be_used_are_refused(build, programs, frames, words):
    done = run(build, programs / "net.step.pte", frames=frames)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(numbers(done.stdout)) == frames.count("\n") - 1  # what came before was good


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a program"),
        (("--raw",), "name a program"),
        (("net.step.pte", "--time"), "wants a value"),
        (("net.step.pte", "--time", "-1"), "whole number"),
        (("net.step.pte", "--threads", "9"), "one or pool"),
        (("net.step.pte", "--fast"), "unknown option"),
        (("net.step.pte", "-", "more"), "too many"),
        (("net.step.pte", "missing.csv"), "missing.csv: No such file"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(build, programs, words, message):
    given = [programs / word if word.endswith(".pte") else word for word in words]
    done = run(build, *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_raw_frames_end_where_a_frame_ends(build, programs):
    runner = (build / "example" / "ssmith_run", programs / "net.step.pte", "--raw")
    done = subprocess.run(runner, input=block(2).tobytes() + b"abc", capture_output=True, check=False)
    assert done.returncode == 2
    assert b"frame 3" in done.stderr
    assert len(done.stdout) == 2 * 2 * 4


def test_the_description_is_the_program_s(build, programs, bundle):
    document = json.loads(run(build, programs / "net.stream.pte", "--describe").stdout)
    assert describe(bundle).items() <= document.items()
    assert document["form"] == "stream"


@pytest.mark.parametrize("form", FORMS)
def test_timing_is_a_line_of_json(build, programs, form):
    done = run(build, programs / f"net.{form}.pte", "--time", "50")
    row = json.loads(done.stdout)
    assert row["calls"] == 50
    assert row["frames_a_call"] == (1024 if form == "sequence" else 1)
    assert 0 < row["min_ns"] <= row["median_ns"] <= row["p99_ns"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc, which only Linux has")
def test_a_frame_is_answered_at_once_by_one_thread(build, programs):
    """Nobody has closed the pipe when the answer comes, and no other thread was started for it."""
    words = [build / "example" / "ssmith_run", programs / "net.step.pte"]
    with subprocess.Popen(words, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("1,2,3\n")
        process.stdin.flush()
        assert process.stdout.readline().count(",") == 1
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.stdin.close()
        assert "Threads:\t1\n" in status
        assert process.wait() == 0


def test_the_class_in_a_program_of_one_s_own(build, programs):
    """States, reset and refusals of the C++ interface; a step allocates nothing."""
    words = [build / "driver", programs / "net.step.pte", programs / "net.stream.pte"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stdout + done.stderr


def test_the_page_s_programs_run(build, programs, bundle, tmp_path):
    """C++ and Python as docs/embedding.md shows them, in a folder with programs of the name used there."""
    for path in programs.glob("net.*"):
        shutil.copy(path, tmp_path / path.name.replace("net", "robot"))
    frames = np.zeros((100, 3), np.float32)
    frames[:, 0] = np.float32(0.01) * np.arange(100, dtype=np.float32)
    done = subprocess.run([build / "page"], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(name, unit) for name, _, unit in lines] == [("out_0", "m/s"), ("out_1", "m/s")]
    expected = plain_run(bundle.meta.ops, bundle.tensors, frames)[-1]
    np.testing.assert_allclose([float(value) for _, value, _ in lines], expected, rtol=1e-5)

    check = "assert (forward._method.get_attribute(name) == 0).all()\nprint(y.shape)\n"
    code = "import numpy as np\nframe = np.ones(3, np.float32)\n" + "\n".join(fences("python")) + check
    words = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "torch.Size([1, 2])\n", done.stderr


def test_help_names_every_option(build):
    text = run(build, "--help").stdout
    source = (EXAMPLE / "main.cpp").read_text().split("Options parsed")[1].split("\n}\n")[0]
    options = {word for word in source.split('"') if word.startswith("--") and " " not in word}
    assert len(options) == 8
    assert all(f"  {option} " in text for option in options)


def test_a_missing_package_is_said(tmp_path, build):
    words = ["cmake", "-S", EXAMPLE, "-B", tmp_path, f"-DEXECUTORCH_ROOT={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip install 'executorch" in " ".join(done.stderr.split())


def test_every_file_is_free_for_any_use():
    for path in [*EXAMPLE.glob("*.?pp"), EXAMPLE / "CMakeLists.txt"]:
        assert "SPDX-License-Identifier: 0BSD" in path.read_text(encoding="utf-8"), path
