"""docs/ci.md: its commands run and gate, the workflow is the file beside it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssmith.cli import app
from ssmith.devices.registry import find_target

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "ci.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"^\$ ssmith (.*)$", TEXT, re.M)]
TARGET = "emulated:cortex-m4"


def test_the_workflow_is_the_file():
    (fence,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert fence == (ROOT / "examples" / "ci" / "ssmith-bench.yml").read_text()
    assert f"--on {TARGET}" in fence and '--fail-if "instructions>+2%"' in fence


def test_the_commands_gate(artifacts, tmp_path, monkeypatch):
    if (why := find_target(TARGET).probe().absent) is not None:
        pytest.skip(why)
    shutil.copytree(artifacts, tmp_path / "artifacts")
    monkeypatch.chdir(tmp_path)
    keep, compare = COMMANDS
    runner = CliRunner()
    assert runner.invoke(app, keep).exit_code == 0
    assert runner.invoke(app, compare).exit_code == 0
    document = json.loads(Path("baseline.json").read_text())
    rows = [row for row in document["measurements"] if row["instructions_per_step"]]
    assert rows
    for row in rows:
        row["instructions_per_step"] *= 0.97  # so that today's are 3 % dearer
        row["layers"] = []  # which add up to the whole
    Path("baseline.json").write_text(json.dumps(document))
    done = runner.invoke(app, compare)
    assert done.exit_code == 1 and "allows" in str(done.exception) + done.output
