"""``devices.toml``: boards by name, so that a bench on all of them is one word.

[bench-pi]
target = "ssh:pi@192.168.1.20"
backends = ["native", "onnx"]      # optional: only these
note = "Raspberry Pi 4, 1.8 GHz, fan"      # optional: shown in the report
toolchain = "pi.cmake"             # optional: a CMake toolchain file, from the folder of this file
                                   # or cc_on_target = true: compile on the board
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ssmith.devices.board import with_toolchain
from ssmith.devices.registry import find_target
from ssmith.devices.target import Target
from ssmith.devices.toolchain import Toolchain
from ssmith.errors import InputError, first_problem
from ssmith.runtime.session import BackendName

FILE = "devices.toml"
ALL = "fleet"  # --on fleet: every board of the file


class Board(BaseModel):
    """One board of the fleet."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    target: str
    backends: Annotated[tuple[BackendName, ...], Field(min_length=1)] | None = None
    note: str = ""
    toolchain: Path | None = None
    cc_on_target: bool = False

    def opened(self, place: Target) -> Target:
        """The board's target with its toolchain, where it has one.

        Raises:
            InputError: both ways to compile, no such file, or a target that is not compiled for so.
        """
        if self.toolchain is None and not self.cc_on_target:
            return place
        return with_toolchain(place, Toolchain(self.toolchain, self.cc_on_target))


_FLEET = TypeAdapter(dict[str, Board])


def read_fleet(path: Path) -> dict[str, Board]:
    """The boards of a fleet file, in its order.

    Raises:
        InputError: no such file, no TOML, a field that is none, a target that does not exist, no board.
    """
    try:
        boards = _FLEET.validate_python(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InputError(
            f"cannot read the fleet {path}: {error.strerror}; write one with a table per board, for instance"
            ' [bench-pi] with target = "ssh:pi@192.168.1.20"'
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid TOML: {error}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error
    if not boards:
        raise InputError(f"{path} names no board; add a table such as [bench-pi] with a target")
    for name, board in boards.items():
        try:
            if board.toolchain is not None:
                boards[name] = board.model_copy(update={"toolchain": path.parent / board.toolchain})
            boards[name].opened(find_target(board.target))
        except InputError as error:
            raise InputError(f"{path}: board {name!r}: {error}") from error
    return boards


def boards_of(names: Sequence[str], path: Path) -> dict[str, Board]:
    """What ``--on`` names: targets as they are, boards of the fleet, or ``fleet`` for all of them.

    Args:
        names: as given; a target has the precedence over a board of the same name.
        path: the fleet file; only read if a name asks for it.

    Raises:
        InputError: a name is neither, or the fleet file is needed and cannot be read.
    """
    found: dict[str, Board] = {}
    for name in names:
        if name == ALL:
            found |= read_fleet(path)
            continue
        try:
            find_target(name)
            found[name] = Board(target=name)
        except InputError as error:
            fleet = read_fleet(path) if path.exists() else {}
            if name not in fleet:
                known = f", or a board of {path}: {', '.join(fleet)}" if fleet else ""
                raise InputError(f"{error}{known}") from None
            found[name] = fleet[name]
    return found
