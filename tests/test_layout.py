"""The package map, the links beside it and the folders tell the same story."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"ssmith", "tests"}
LINKS = {p.name: p.readlink() for p in (ROOT / "ssmith").iterdir() if p.is_symlink()}


def test_every_room_is_a_package():
    assert SETUPTOOLS["package-dir"] == {f"ssmith.{name}": name for name in ROOMS}
    assert set(SETUPTOOLS["packages"]) == {"ssmith", *SETUPTOOLS["package-dir"]}


@pytest.mark.skipif(not LINKS, reason="an sdist, or a checkout without symlinks")
def test_every_room_is_linked():
    assert LINKS == {name: Path("..", name) for name in ROOMS}


def test_packages_are_one_level_deep():
    nested = {str(p.relative_to(ROOT)) for name in ROOMS for p in (ROOT / name).glob("*/**/*.py")}
    assert not nested


def test_every_data_file_is_packaged():
    """A kernel, template or recipe that the wheel forgets would only be missed by users."""
    folders = {"ssmith": ROOT / "ssmith"} | {f"ssmith.{name}": ROOT / name for name in ROOMS}
    for package, folder in folders.items():
        patterns = SETUPTOOLS["package-data"].get(package, [])
        packaged = {path for pattern in patterns for path in folder.glob(pattern)}
        present = {
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in {".py", ".pyc"} and not path.name.startswith(".")
        }
        assert present <= packaged, f"{package}: not in package-data: {present - packaged}"


def test_only_the_given_rooms_stand_at_the_top():
    assert ROOMS == {"train", "reduce", "export", "runtime", "devices"}
