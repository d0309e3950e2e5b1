"""Recipes as text: where they are read from, ``--set``, and what is wrong with one in words."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ssmith.errors import InputError


def shipped_recipes() -> dict[str, str]:
    """Name → TOML text of the recipes inside the package."""
    folder = resources.files("ssmith") / "recipes"
    found = [f for f in folder.iterdir() if f.name.endswith(".toml")]
    return {f.name.removesuffix(".toml"): f.read_text("utf-8") for f in sorted(found, key=lambda f: f.name)}


def read_text(source: Path | str) -> tuple[str, Path | None]:
    """The text of a recipe, and the folder that its paths are relative to; None for one that ships.

    Raises:
        InputError: there is no such file, or it is no text.
    """
    shipped = shipped_recipes()
    if str(source) in shipped:
        return shipped[str(source)], None
    path = Path(source)
    try:
        return path.read_text("utf-8"), path.resolve().parent
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise InputError(
            f"cannot read recipe {path}: {reason}. Give a TOML file or one of: {', '.join(shipped)}"
        ) from error


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one ``key.subkey=value`` in a parsed document; the value is TOML, a bare word a string.

    Raises:
        InputError: no such form, or a part of the key is a value.
    """
    key, equals, value = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise InputError(f"--set {override!r}: write key=value, for example --set train.steps=500")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    node = raw
    for part in parts[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {override!r}: {part!r} is a value, not a section")
    node[parts[-1]] = parsed


def explained(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem in a sentence: which key, what is known there, what was given."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        section = f"[{'.'.join(where[:-1])}]" if where[:-1] else "the recipe"
        return f"unknown key {where[-1]!r} in {section}; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r})"
    return f"{'.'.join(where) or 'recipe'}: {message}{given}"


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part.isdigit():  # the key of a mapping, whose values the model describes
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
