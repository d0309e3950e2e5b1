"""``ssmith devices``: a table that a terminal of 100 columns holds, and what to install."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from ssmith.cli import app
from ssmith.devices import freestanding
from ssmith.devices.registry import names

RUNNER = CliRunner(env={"COLUMNS": "100"})


def without(monkeypatch, package):
    """This machine, but one package is not installed."""
    real = freestanding.importlib.util.find_spec
    monkeypatch.setattr(
        freestanding.importlib.util, "find_spec", lambda name: None if name == package else real(name)
    )


def test_every_target_has_a_row_and_no_line_is_wider():
    text = RUNNER.invoke(app, ["devices"]).stdout
    firsts = {line.split()[0] for line in text.splitlines() if line and not line.startswith(" ")}
    assert set(names()) <= firsts
    assert max(map(len, text.splitlines())) <= 100


def test_what_is_missing_is_said_with_what_to_install(monkeypatch):
    without(monkeypatch, "unicorn")
    text = RUNNER.invoke(app, ["devices"]).stdout
    row = next(line for line in text.splitlines() if line.startswith("emulated:cortex-m4"))
    assert "unicorn is not" in row  # the rest may be on the next line
    assert "pip install 'ssmith[devices]'" in " ".join(text.split())


def test_json_has_all_that_a_probe_says(monkeypatch):
    without(monkeypatch, "wasmtime")
    rows = json.loads(RUNNER.invoke(app, ["devices", "--json"]).stdout)["targets"]
    (wasm,) = [row for row in rows if row["target"] == "wasm"]
    assert wasm["absent"] == "wasmtime is not installed; run pip install 'ssmith[devices]'"
    assert wasm["emulated"] and wasm["measures"] == ["instructions", "correctness"]
