"""The exceptions a user can meet. Each message says what is wrong, why it matters and what to write instead.

Exit codes: 0 done, 1 the work failed, 2 the user's input is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class SsmithError(Exception):
    """The work was sound to ask for, but failed (parity, an accuracy gate, a deadline)."""

    exit_code = 1


class InputError(SsmithError):
    """Something the user gave is wrong: a file, a value, a key, a shape."""

    exit_code = 2


class MissingToolError(InputError):
    """Something this step needs is not installed; the message says what to install."""


def first_problem(error: ValidationError) -> str:
    """What Pydantic found first, as "field.path: what is wrong"."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'the document'}: {first['msg']}"
