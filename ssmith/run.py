"""A run folder: whose recipe it is, which stages are done, and nobody else working in it.

``runs/RECIPE-HASH6-sSEED/`` holds one file per result and ``stages/NAME.json`` beside them, which says
from what inputs a stage made which outputs. A stage is skipped while both still hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmith import __version__
from ssmith.errors import InputError
from ssmith.files import sha256, sweep, write_atomic
from ssmith.recipe import Recipe

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Run:
    """One recipe with one seed in one folder."""

    folder: Path
    recipe: Recipe

    @property
    def bundle_path(self) -> Path:
        """Where ``freeze`` puts the bundle."""
        return self.folder / f"{self.recipe.name}.ssm"

    @property
    def artifacts(self) -> Path:
        """Where ``export`` puts its files."""
        return self.folder / "artifacts"

    def read_json(self, name: str) -> Any:
        """A result that an earlier stage wrote.

        Raises:
            InputError: that stage has not run, or the file is damaged.
        """
        path = self.folder / name
        try:
            return json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise InputError(f"{path} is missing; run the stage that makes it first") from error
        except ValueError as error:
            raise InputError(f"{path} is no JSON; delete it and run again") from error

    def write_json(self, name: str, value: Any) -> Path:
        """Write a result, atomically and readably."""
        path = self.folder / name
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
        write_atomic(path, text.encode())
        return path


def open_run(recipe: Recipe, *, runs: Path, name: str | None = None) -> Run:
    """Create the folder of a recipe, or find it again to go on.

    Raises:
        InputError: the folder was made from another recipe or seed, or is no folder.
    """
    folder = runs / (name or f"{recipe.name}-{recipe.digest()[:6]}-s{recipe.seed}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, so no run can live there; move it or give --name")
    fresh = not folder.exists() or _untouched(folder)
    if not fresh and (folder / RECIPE_FILE).exists():
        old = find_run(folder).recipe
        if (old.digest(), old.seed) != (recipe.digest(), recipe.seed):
            raise InputError(f"{folder} was made from another recipe or seed; give another --name")
    elif not fresh:
        raise InputError(f"{folder} holds files but is no run of ssmith; give another --name")
    run = Run(folder, recipe)
    if fresh:
        run.write_json(RECIPE_FILE, recipe.model_dump(mode="json"))
    return run


def _untouched(folder: Path) -> bool:
    """Whether no run got further than its first message here, so that another may have the place."""
    return {p.name for p in folder.iterdir()} <= {RECIPE_FILE, ".lock"}


def find_run(folder: Path) -> Run:
    """Open the folder of an existing run.

    Raises:
        InputError: it is no run folder.
    """
    path = folder / RECIPE_FILE
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is no run folder ({RECIPE_FILE} is missing or damaged){_advice(folder)}"
        ) from error
    return Run(folder, Recipe.parse(raw, str(path)))


def _advice(folder: Path) -> str:
    """What to write instead, where the folder is one of artifacts."""
    from ssmith.runtime.artifacts import MANIFEST

    if not (folder / MANIFEST).is_file():
        return ""
    if (folder.parent / RECIPE_FILE).is_file():
        return f"; it holds artifacts, and {folder.parent} is their run: give that folder"
    return (
        f"; it holds artifacts: to prove them write `ssmith verify {folder} --bundle NAME.ssm` with the"
        " bundle they were made from; `bench` and `report` need a run folder, what `ssmith run RECIPE` makes"
    )


@contextlib.contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the folder: two processes in one run would overwrite each other's checkpoints.

    The lock dies with the process, so a killed run leaves nothing to clean up.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no advisory lock, and no protection
        yield
        return
    handle = os.open(run.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"another ssmith is working in {run.folder}; wait for it or give --name"
            ) from error
        sweep(run.folder)
        yield
    finally:
        os.close(handle)


def stage_key(run: Run, stage: str, settings: Any, inputs: list[Path]) -> str:
    """What a stage's result depends on, as one digest; a missing input has its own value."""
    found = {str(p.relative_to(run.folder)): sha256(p) if p.exists() else "missing" for p in inputs}
    document = {"ssmith": __version__, "stage": stage, "settings": settings, "inputs": found}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def is_fresh(run: Run, stage: str, key: str) -> bool:
    """Whether the stage ran from these inputs and its outputs are still what it wrote."""
    try:
        stamp = json.loads((run.folder / "stages" / f"{stage}.json").read_text("utf-8"))
        outputs: dict[str, str] = stamp["outputs"]
        return stamp["key"] == key and all(
            (run.folder / name).exists() and sha256(run.folder / name) == digest
            for name, digest in outputs.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def mark_done(run: Run, stage: str, key: str, outputs: list[Path], seconds: float) -> None:
    """Record what a stage made; written last, so a killed stage runs again."""
    found = {str(p.relative_to(run.folder)): sha256(p) for p in outputs}
    stamp = {"key": key, "outputs": found, "seconds": round(seconds, 3)}
    run.write_json(f"stages/{stage}.json", stamp)


def fingerprint_of(path: Path) -> str:
    """Digest of names, sizes and modification times below ``path``: cheap notice of changed data."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    facts = [(str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.exists()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
