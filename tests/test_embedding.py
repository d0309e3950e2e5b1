"""The examples of docs/embedding.md: the page shows the files, the files compile without a warning and run.

JUCE, ros2_control, Arduino and Zephyr are stood in for by ``tests/embedding/include``: the few
declarations that the examples touch, so that the examples are the code one would use.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ssmith.bundle import Bundle, Signal
from ssmith.export import c99
from ssmith.ops import Float32
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.native import models
from tests.native.emulators import run as emulate
from tests.native.toolchains import STRICT, TOOLCHAINS, compile_object, link

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "embedding"
DRIVERS = ROOT / "tests" / "embedding"
PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
FAST = ("-O1", "-ffp-contract=off", "-DSSM_NO_DISPATCH")  # to compile; the bits are the same
QUICK = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS=-DSSM_NO_DISPATCH")
C, CXX = ("-std=c99", *FAST), ("-std=c++17", *FAST)


def named(bundle: Bundle, inputs: Sequence[Signal], outputs: Sequence[Signal]) -> Bundle:
    meta = bundle.meta.model_copy(update={"inputs": tuple(inputs), "outputs": tuple(outputs)})
    return Bundle(meta, bundle.tensors)


def leveler(seed: int = 0) -> Bundle:
    """One channel at 48 kHz."""
    bundle = random_bundle(
        np.random.default_rng(seed),
        name="leveler",
        inputs=1,
        outputs=1,
        width=8,
        orders=(8,),
        norm="affine",
        pool="none",
        period_s=1 / 48000,
    )
    return named(bundle, [Signal(name="audio")], [Signal(name="audio")])


def policy() -> Bundle:
    """Two joints at 500 Hz; outputs have limits."""
    bundle = random_bundle(
        np.random.default_rng(1), name="policy", inputs=4, outputs=2, width=12, pool="none", period_s=0.002
    )
    inputs = [
        Signal(name=f"{joint}/{kind}", unit=unit)
        for kind, unit in (("position", "rad"), ("velocity", "rad/s"))
        for joint in ("shoulder", "elbow")
    ]
    outputs = [
        Signal(name=f"{joint}/effort", unit="N m", minimum=-1.0, maximum=1.0)
        for joint in ("shoulder", "elbow")
    ]
    return named(bundle, inputs, outputs)


def motor() -> Bundle:
    """Three voltages at 1 kHz to a torque."""
    bundle = random_bundle(
        np.random.default_rng(2), name="motor", outputs=1, width=8, orders=(6,), norm="affine", period_s=0.001
    )
    inputs = [Signal(name=f"phase_{letter}", unit="V") for letter in "abc"]
    return named(bundle, inputs, [Signal(name="torque", unit="N m")])


def calibrated(bundle: Bundle) -> Bundle:
    return calibrate(bundle, [models.frames(300, len(bundle.meta.inputs))])


def answers(bundle: Bundle, block: Float32) -> Float32:
    return run(bundle.meta.ops, bundle.tensors, block, precision="float32")[0]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> Path:
    root: Path = tmp_path_factory.mktemp("embedding")
    for bundle in (leveler(), policy(), calibrated(motor())):
        c99.lower(bundle, root / bundle.name)
    c99.lower(leveler(9), root / "other")
    return root


def built(artifacts: Path, program: str, *sources: Path, flags: Sequence[str] = ()) -> Path:
    """A program from C and C++ files, each in its language, warnings are errors."""
    work = artifacts / f"{program}.build"
    work.mkdir()
    folders = [f"-I{folder}" for folder in (EXAMPLES, DRIVERS, DRIVERS / "include")]
    folders += [f"-I{folder}" for folder in sorted(artifacts.iterdir()) if (folder / "ssm.h").exists()]
    objects = []
    for source in sources:
        objects.append(work / f"{source.name}.o")
        compiler, standard = ("gcc", C) if source.suffix == ".c" else ("g++", CXX)
        kind = ["-include", "Arduino.h", "-x", "c++"] if source.suffix == ".ino" else []
        command([compiler, *standard, *STRICT, *flags, *folders, *kind, "-c", source, "-o", objects[-1]])
    command(["g++", *flags, *objects, "-pthread", "-o", work / program])
    return work / program


def command(words: Sequence[str | Path], **options) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{done.stderr}{done.stdout}"
    return done.stdout


def floats(text: str) -> Float32:
    return np.array([float(word) for word in text.split()], np.float32)


def test_the_page_shows_every_file_as_it_is():
    shown = dict(
        re.findall(r"\[(examples/embedding/[^\]]+)\]\(\.\./\1\):\n\n```\w*\n(.*?)```\n", PAGE, re.DOTALL)
    )
    files = [path for path in EXAMPLES.rglob("*") if path.is_file()]
    assert set(shown) == {str(path.relative_to(ROOT)) for path in files}
    for name, text in shown.items():
        assert text == (ROOT / name).read_text(encoding="utf-8"), name


def test_every_example_is_free_for_any_use():
    for path in EXAMPLES.rglob("*"):
        if path.suffix in {".c", ".cpp", ".h", ".hpp", ".ino"} or path.name == "CMakeLists.txt":
            assert "SPDX-License-Identifier: 0BSD" in path.read_text(encoding="utf-8"), path


def test_loop(artifacts):
    bundle = policy()
    frames = models.frames(20, 4)
    program = built(artifacts, "loop", EXAMPLES / "loop.c", artifacts / "policy/policy.c")
    text = "\n".join(" ".join(f"{x:.9g}" for x in frame) for frame in frames)
    lines = [line.split(maxsplit=2) for line in command([program], input=text).splitlines()]
    assert [line[0] for line in lines[:2]] == ["shoulder/effort", "elbow/effort"]
    assert {line[2] for line in lines} == {"N m"}
    got = floats(" ".join(line[1] for line in lines)).reshape(20, 2)
    np.testing.assert_array_equal(got, answers(bundle, frames))


def test_stream(artifacts):
    program = built(artifacts, "stream", EXAMPLES / "stream.cpp", artifacts / "policy/policy.c")
    ramp = np.repeat(np.float32(0.01) * np.arange(100, dtype=np.float32)[:, None], 4, axis=1)
    np.testing.assert_array_equal(floats(command([program])), answers(policy(), ramp)[-1, [0, 0]])


def test_plugin(artifacts):
    sources = [EXAMPLES / "plugin.cpp", DRIVERS / "plugin_driver.cpp", artifacts / "leveler/leveler.c"]
    assert command([built(artifacts, "plugin", *sources)]) == "ok\n"


def test_controller(artifacts):
    sources = [EXAMPLES / "controller.cpp", DRIVERS / "controller_driver.cpp", artifacts / "policy/policy.c"]
    assert command([built(artifacts, "controller", *sources)]) == "ok\n"


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_swap(artifacts, sanitizer):
    sources = [EXAMPLES / "swap.cpp", DRIVERS / "swap_driver.cpp", artifacts / "leveler/ssm.c"]
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    program = built(artifacts, f"swap-{sanitizer}", *sources, flags=flags)
    files = [artifacts / folder / "leveler.ssmc" for folder in ("leveler", "other")]
    assert command([program, *files]) == "ok\n"


def on_target(name: str, artifacts: Path, work: Path, example: str, model: str, *flags: str) -> str:
    """What an example with its driver and a model prints on a processor that is emulated, or here."""
    chain = TOOLCHAINS[name]
    if chain.missing:
        pytest.skip(f"{chain.missing} is not installed: make deps")
    given = (*C, *STRICT, *flags, f"-I{EXAMPLES}", f"-I{artifacts / 'motor'}")
    sources = (EXAMPLES / f"{example}.c", DRIVERS / f"{example}_driver.c", artifacts / "motor" / f"{model}.c")
    objects = [compile_object(chain, source, work / f"{source.stem}.o", given) for source in sources]
    return emulate(chain, link(chain, objects, work / "program"))


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
def test_interrupt(artifacts, core, tmp_path):
    bits = int(on_target(core, artifacts, tmp_path, "interrupt", "motor"), 16)
    expected = answers(motor(), models.frames(50, 3))[-1]
    assert np.array([bits], np.uint32).view(np.float32) == expected


@pytest.mark.parametrize("target", ["x86-gcc", "cortex-m0plus", "cortex-m4"])
def test_codes(artifacts, target, tmp_path):
    printed = on_target(target, artifacts, tmp_path, "codes", "motor_int8", "-DMOTOR_INT8_NO_FLOAT")
    torque, too_much = (int(word, 16) for word in printed.split())
    model = lower_integer(calibrated(motor()))
    gain = np.float32(2 / 2048) / model.input_scale * np.float32(65536) + np.float32(0.5)
    counts = models.noise(150).reshape(50, 3) >> 12
    codes = np.clip((counts * gain.astype(np.int32) + 32768) >> 16, -32767, 32767)
    expected = run_integer(model, codes.astype(np.int16))[0][:, 0]
    limit = int(np.float32(0.25) / model.output_scale[0])
    assert torque == int(expected[-1]) % (1 << 32)
    assert 0 < too_much == (np.abs(expected) > limit).sum() < 50


def test_arduino(artifacts):
    sketch = EXAMPLES / "arduino/motor_loop/motor_loop.ino"
    program = built(artifacts, "arduino", sketch, DRIVERS / "arduino_driver.cpp", artifacts / "motor/motor.c")
    volts = (37 * np.arange(150) % 1024).astype(np.float32) * (np.float32(5) / np.float32(1023))
    np.testing.assert_array_equal(floats(command([program])), answers(motor(), volts.reshape(50, 3))[:, 0])


def test_zephyr_application(artifacts):
    sources = [EXAMPLES / "zephyr/app/src/main.c", DRIVERS / "zephyr_driver.c", artifacts / "motor/motor.c"]
    got = floats(command([built(artifacts, "zephyr", *sources)]))
    np.testing.assert_array_equal(got, answers(motor(), models.frames(50, 3))[:, 0])


def test_zephyr_module(artifacts, tmp_path):
    """The module's CMake, with Zephyr's commands stood in for."""
    shutil.copytree(EXAMPLES / "zephyr" / "motor", tmp_path / "motor")
    shutil.copytree(artifacts / "motor", tmp_path / "motor" / "artifacts")
    module = (tmp_path / "motor/zephyr/module.yml").read_text()
    assert f"name: {motor().name}" in module
    assert "kconfig: zephyr/Kconfig" in module
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(zephyr LANGUAGES C)\n"
        f"include({DRIVERS}/zephyr.cmake)\nset(CONFIG_MOTOR y)\nadd_subdirectory(motor)\n"
    )
    command(["cmake", *QUICK, "-S", tmp_path, "-B", tmp_path / "build"])
    command(["cmake", "--build", tmp_path / "build"])
    assert (tmp_path / "build/motor/libmotor.a").is_file()


def test_cmake(artifacts, tmp_path):
    """The project as the page shows it; FetchContent takes this checkout in place of a download."""
    for name in ("CMakeLists.txt", "stream.cpp", "loaded.c"):
        shutil.copy(EXAMPLES / name, tmp_path / name)
    shutil.copytree(artifacts / "policy", tmp_path / "policy")
    build = tmp_path / "build"
    command(["cmake", *QUICK, "-S", tmp_path, "-B", build, f"-DFETCHCONTENT_SOURCE_DIR_SSMITH={ROOT}"])
    command(["cmake", "--build", build])
    assert len(command([build / "stream"]).split()) == 2
    lines = [line.split(maxsplit=2) for line in command([build / "loaded"]).splitlines()]
    assert [line[0] for line in lines] == ["shoulder/effort", "elbow/effort"]
    got = floats(" ".join(line[1] for line in lines))
    np.testing.assert_array_equal(got, answers(policy(), np.full((1, 4), 0.5, np.float32))[0])
