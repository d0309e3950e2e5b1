"""What the Python loop asks of the system, as ``firmware/host_system.h`` does for the one in C."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from ssmith.devices.loop import REFUSED

MCL_CURRENT, MCL_FUTURE = 1, 2  # Linux
_CPU, _THERMAL = Path("/sys/devices/system/cpu"), Path("/sys/class/thermal")


def schedule(priority: int) -> None:
    """SCHED_FIFO with locked memory; 0 is an ordinary process again.

    Raises:
        OSError: the system refuses, or has no such thing.
    """
    if not sys.platform.startswith("linux"):
        raise OSError("only Linux has it")
    if priority > 0 and ctypes.CDLL(None, use_errno=True).mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        raise OSError(os.strerror(ctypes.get_errno()))
    policy = os.SCHED_FIFO if priority > 0 else os.SCHED_OTHER
    os.sched_setscheduler(0, policy, os.sched_param(priority))


def take_rights(core: int | None, priority: int, *, fallback: bool) -> int:
    """Hold this process on a core and see whether it may have a priority.

    Returns:
        The priority, 0 where it was refused and ``fallback`` allows that. It is given back until it is
        needed: a loop that never sleeps would be throttled with it.

    Raises:
        SystemExit: code ``REFUSED``, the reason on stderr.
    """
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
    except (AttributeError, OSError) as error:
        _refuse(f"core {core} was refused: {error}")
    if priority < 1:
        return 0
    try:
        schedule(priority)
        schedule(0)
    except OSError as error:
        if not fallback:
            _refuse(f"SCHED_FIFO priority {priority} with locked memory was refused: {error}")
        return 0
    return priority


def own_record(name: str) -> int:
    """A number of ``/proc/self/status``, -1 where there is none."""
    try:
        return int(Path("/proc/self/status").read_text().split(f"\n{name}:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return -1


def conditions(core: int | None, moment: str) -> dict[str, int]:
    """Frequency of the core in kHz and temperature of the hottest zone in thousandths of a degree.

    Args:
        core: None takes core 0.
        moment: ``before`` or ``after``, the end of the names.
    """
    found = {}
    if (khz := _number(_CPU / f"cpu{core or 0}" / "cpufreq" / "scaling_cur_freq")) >= 0:
        found[f"frequency_khz_{moment}"] = khz
    if (heat := max((_number(zone / "temp") for zone in _THERMAL.glob("thermal_zone*")), default=-1)) >= 0:
        found[f"temperature_mc_{moment}"] = heat
    return found


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return -1


def _refuse(words: str) -> None:
    print(words, file=sys.stderr)
    raise SystemExit(REFUSED)
