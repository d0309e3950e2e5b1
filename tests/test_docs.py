"""The documents say what the code does: commands run, snippets run, every option and field is there."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from typer.main import get_command

from ssmith.cli import app
from ssmith.recipe import WRITES, Recipe
from ssmith.runtime.calibrate import calibrate
from tests.bundles import random_bundle

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = {p: p.read_text() for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def console_commands() -> list[str]:
    lines = [
        line for text in DOCUMENTS.values() for block in fences(text, "console") for line in block.split("\n")
    ]
    return [line[2:].partition("  #")[0].strip() for line in lines if line.startswith("$ ssmith")]


def test_every_command_in_the_documents_parses():
    """Verbs and options exist; what the commands do is tested where the verbs are."""
    commands = console_commands()
    assert len(commands) > 5
    for line in commands:
        verb, *arguments = shlex.split(line)[1:]
        known = {option for parameter in VERBS[verb].params for option in parameter.opts}
        used = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert used <= known | {"--help"}, line


def test_every_verb_and_option_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text()
    for name, command in VERBS.items():
        assert f"## ssmith {name}\n" in text
        section = text.split(f"## ssmith {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}`" in section, f"{name}: {option}"


def test_the_architecture_knows_the_verbs():
    table = (ROOT / "docs" / "ARCHITECTURE.md").read_text().split("| verb |")[1].split("\n\n")[0]
    named = {
        verb for line in table.split("\n")[2:] for verb in re.findall(r"`([a-z ]+)`", line.split("|")[1])
    }
    assert {verb for words in named for verb in words.split()} == set(VERBS)


def test_every_recipe_field_is_documented_with_its_default():
    text = (ROOT / "docs" / "recipe.md").read_text()

    def check(model: type[BaseModel], section: str) -> None:
        part = text.split(f"## {section}\n")[1].split("\n## ")[0]
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                check(field.annotation, f"[{name}]")
                continue
            default = "required" if field.is_required() else json.dumps(field.get_default(), default=str)
            row = next((line for line in part.split("\n") if line.startswith(f"| `{name}` |")), "")
            assert f"| `{default}` |" in row, f"{section} {name} = {default}: {row}"
            assert len(row.split("|")[3].strip()) > 8, f"{section} {name} has no meaning"

    check(Recipe, "The run")


def test_every_precision_is_explained_and_which_format_has_it():
    text = (ROOT / "docs" / "recipe.md").read_text().split("## [export]")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in text.split("\n") if line.startswith("| `")]
    told = {
        (format, precision)
        for names, _, *columns in (row for row in rows if len(row) == 5)
        for precision in re.findall(r"`([a-z0-9-]+)`", names)
        for format, cell in zip(("onnx", "executorch", "c99"), columns, strict=True)
        if cell.strip() != "–"
    }
    assert told == {(format, precision) for format, known in WRITES.items() for precision in known}
    meanings = (ROOT / "docs" / "precisions.md").read_text().split("## What each one means")[1]
    for precision in {precision for _, precision in told}:
        assert f"\n| `{precision}`" in meanings, precision


def test_the_recipe_in_the_readme_is_valid(tmp_path):
    (tmp_path / "robot.toml").write_text(fences(README, "toml")[0])
    assert Recipe.load(tmp_path / "robot.toml").name == "robot"


def test_the_python_in_the_readme_runs(tmp_path):
    """All snippets in one process, in a folder where the files they name exist."""
    plain = random_bundle(np.random.default_rng(0), name="digits")
    bundle = calibrate(plain, [case.input for case in plain.golden()])
    folder = tmp_path / "artifacts"
    export = (
        "from ssmith.standalone import export_bundle; import sys; from pathlib import Path; "
        "export_bundle(Path(sys.argv[1]), Path(sys.argv[2]), formats=['onnx', 'c99'])"
    )
    bundle.write(tmp_path / "digits.ssm")
    subprocess.run([sys.executable, "-c", export, tmp_path / "digits.ssm", folder], check=True)
    (tmp_path / "digits.step.onnx").write_bytes((folder / "digits.step.onnx").read_bytes())
    program = (
        "from ssmith import Bundle; from ssmith.export.executorch import to_program; "
        "from ssmith.files import seal; "
        "open('digits.step.pte', 'wb').write(seal(to_program(Bundle.read('digits.ssm'), 'step').data))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    code = "import numpy as np\nframes = np.ones((3, 3), np.float32)\n" + "\n".join(fences(README, "python"))
    ast.parse(code)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    order, bound = done.stdout.split("\n")[-2].split()
    assert int(order) == 8
    assert float(bound) > 0


def test_the_truncator_snippet_is_the_example():
    example = (ROOT / "examples" / "truncator_plain_pytorch.py").read_text().strip()
    assert example in README


@pytest.mark.parametrize(("name", "printed"), [("new-layer.md", "6 6\n"), ("rates.md", "")])
def test_the_python_in_a_document_runs(tmp_path, name, printed):
    """All snippets of the document in one process, in an empty folder."""
    code = "\n".join(fences((ROOT / "docs" / name).read_text(), "python"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


def test_new_and_run_on_a_csv_as_the_readme_does(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["episode,t,torque,velocity"]
    for episode in range(12):
        velocity = 0.0
        for step in range(60):
            torque = rng.standard_normal()
            velocity = 0.95 * velocity + 0.1 * torque
            rows.append(f"{episode},{step * 0.01:.2f},{torque:.6f},{velocity:.6f}")
    (tmp_path / "robot.csv").write_text("\n".join(rows) + "\n")
    recipe = fences(README, "toml")[0].replace('velocity"]', 'velocity"]\nvalidation = 0.2\ntest = 0.2')
    (tmp_path / "mine.toml").write_text(recipe)
    short = ["--set", "train.steps=12", "--set", "train.evaluate_every=6", "--set", "bench.seconds=0.2",
             "--set", "bench.paced_seconds=0.2", "--set", "reduce.max_loss_increase=99",
             "--set", 'export.formats=["onnx", "c99"]',
             "--set", 'bench.targets=["host"]']  # fmt: skip
    commands = (["new", "--data", "robot.csv", "--out", "robot.toml"], ["run", "robot.toml", *short],
                ["run", "mine.toml", *short])  # fmt: skip
    for arguments in commands:
        done = subprocess.run(
            [sys.executable, "-m", "ssmith.cli", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/*/report.html"))) == 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", DOCUMENTS[path]):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_citation_has_an_entry():
    keys = set(re.findall(r"@\w+\{(\w+),", (ROOT / "docs" / "references.bib").read_text()))
    cited: set[str] = set()
    for room in ("train", "reduce", "export", "runtime", "devices", "ssmith"):
        for file in (ROOT / room).glob("*.py"):
            cited |= set(re.findall(r"\[([A-Z][A-Za-z]+(?:19|20)\d\d)\]", file.read_text()))
    assert cited <= keys, cited - keys
    assert keys <= cited, f"never cited: {keys - cited}"


def test_every_macro_and_error_of_the_c_interface_is_documented():
    """Macros and errors of generated models, errors of the engine, definitions that leave something out."""
    text = (ROOT / "docs" / "embedding.md").read_text()
    model = (ROOT / "export" / "templates" / "model.h.in").read_text().replace("${upper}", "NAME")
    engine = (ROOT / "runtime" / "c" / "ssm.h").read_text()
    names = set(re.findall(r"#define (NAME_[A-Z0-9_]+) ", model)) - {"NAME_NONBLOCKING"}
    names |= set(re.findall(r"NAME_E_[A-Z]+", model)) | {"NAME_NO_FLOAT", "SSM_FMA", "SSM_PLAIN"}
    shared = {f"SSM_{name.removeprefix('NAME_')}" for name in names}
    names |= set(re.findall(r"SSM_E_[A-Z]+", engine)) - shared
    for source in (ROOT / "runtime" / "c").iterdir():
        names |= set(re.findall(r"SSM_NO_(?:DISPATCH|FLOAT32|INT8)", source.read_text()))
    assert len(names) > 25
    assert {name for name in names if not re.search(rf"`{name}(=n)?`", text)} == set()
