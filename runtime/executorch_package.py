"""The executorch package: imported without its remarks, and its one pool of threads.

Importing executorch imports torch, so this happens in functions that run a program, nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

from ssmith.errors import InputError, MissingToolError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Import and use executorch without its remarks; the logging of the process stays as it was."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers


@contextlib.contextmanager
def no_log() -> Iterator[None]:
    """Drop what executorch's C++ code writes to stderr: it tells what processor it found."""
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nothing)
        os.close(kept)


def pybindings() -> Any:
    """The module of executorch that loads and runs programs.

    It is the compiled half of ``executorch.extension.pybindings.portable_lib``. The other half imports all
    that lowers programs, which takes three times as long as torch, for one class of warnings.

    Raises:
        MissingToolError: executorch, or torch which it needs, is not installed.
    """
    try:
        with quiet():
            import torch  # noqa: F401 (its libraries have to be there first)

            if sys.platform == "win32":  # where portable_lib says in which folders libraries lie
                from executorch.extension.pybindings import portable_lib as package
            else:
                from executorch.extension.pybindings import _C as package
    except ImportError as error:
        raise MissingToolError(
            "running ExecuTorch programs needs executorch and torch; run: pip install 'ssmith[executorch]'"
        ) from error
    return package


# Methods that hold a pointer to the pool of threads; a new pool would leave them with a dangling one.
_users: weakref.WeakSet[Any] = weakref.WeakSet()


def use_threads(package: Any, threads: int, user: Any) -> None:
    """Let XNNPACK use so many threads; by default it would take every core.

    Args:
        package: what ``pybindings`` returned.
        threads: for all programs of this process, as it has one pool.
        user: what runs a program; while it lives, the number stays.

    Raises:
        InputError: another program is open that runs on another number of threads.
    """
    with no_log():
        now = package._threadpool_get_thread_count()  # the first call makes the pool
    if now != threads:
        if len(_users):
            raise InputError(
                f"threads is {threads}, but an ExecuTorch session with {now} is open, and a process has one"
                f" pool of threads for all of them; close that session first, or write threads={now}"
            )
        with no_log():
            package._unsafe_reset_threadpool(threads)
    _users.add(user)
