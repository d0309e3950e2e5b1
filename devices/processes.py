"""Programs that others wrote: compilers, linkers, emulators, package tools."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ssmith.errors import SsmithError


class ToolError(SsmithError):
    """A program that we started failed; the message is its command, exit code and last words.

    Args:
        message: all of that.
        code: the exit code; negative for a signal; 127 where it could not be started.
        said: what it printed to stderr.
    """

    def __init__(self, message: str, code: int, said: str) -> None:
        super().__init__(message)
        self.code, self.said = code, said


class TimeLimitError(SsmithError):
    """A program that we started did not end in time and was ended."""


def run_tool(
    arguments: Sequence[str | Path],
    *,
    timeout_s: float | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    given: str | None = None,
) -> str:
    """Run a command, return what it printed.

    Args:
        arguments: the command.
        timeout_s: end it after this time; None waits.
        env: its whole environment; None is ours.
        cwd: its folder; None is ours.
        given: its standard input; None gives it nothing.

    Raises:
        ToolError: it failed, or cannot be started.
        TimeLimitError: it took longer.
    """
    words = [*map(str, arguments)]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            env=env,
            cwd=cwd,
            **({"stdin": subprocess.DEVNULL} if given is None else {"input": given}),
        )
    except subprocess.TimeoutExpired as error:
        raise TimeLimitError(f"{' '.join(words)}\ndid not end within {timeout_s:g} s") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ToolError(f"{words[0]} cannot be started: {reason}", 127, reason) from error
    if done.returncode != 0:
        said = str(done.stderr)
        raise ToolError(
            f"{' '.join(words)}\nexit code {done.returncode}\n{said[-4000:]}", done.returncode, said
        )
    return str(done.stdout)


@functools.cache
def first_line(*arguments: str) -> str:
    """The first line that a command prints, as ``--version`` does; empty where it cannot be run."""
    try:
        return run_tool(arguments, timeout_s=60).partition("\n")[0].strip()
    except SsmithError:
        return ""
