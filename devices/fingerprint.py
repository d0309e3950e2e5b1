"""What a number was measured on: without this it cannot be compared with another."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("ssmith", "numpy", "onnxruntime")
_CPU = Path("/sys/devices/system/cpu")


def host_fingerprint(core: int | None = None) -> dict[str, str]:
    """CPU, clock governor, frequency, kernel, load, Python and packages of this machine.

    Args:
        core: the core whose governor and frequency count; None where nothing is pinned.

    Returns:
        name → text; what the system does not tell is left out, never guessed.
    """
    governor = _CPU / f"cpu{core or 0}" / "cpufreq"
    found = {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count() or ""),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "virtual_machine": _virtual_machine(),
        "governor": _read(governor / "scaling_governor"),
        "frequency_mhz": _megahertz(governor),
        "turbo": _turbo(),
        "load_1min": _load(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    if core is not None:
        found["pinned_core"] = str(core)
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {name: text for name, text in found.items() if text}


def busy_note(fingerprint: dict[str, str]) -> str | None:
    """A warning where the machine was not idle before measuring; None where it was, or is unknown."""
    load, cores = float(fingerprint.get("load_1min", 0)), int(fingerprint.get("cores", 1))
    if load <= cores / 2:
        return None
    return f"the load was {load:g} on {cores} cores just before: other programs show in the tail"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _cpu_model() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor()


def _virtual_machine() -> str:
    info = _read(Path("/proc/cpuinfo"))
    if not info:
        return ""
    return "yes" if "hypervisor" in info else "not detected"


def _megahertz(governor: Path) -> str:
    kilohertz = _read(governor / "scaling_cur_freq")
    if kilohertz.isdigit():
        return str(round(int(kilohertz) / 1000))
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("cpu MHz"):
            return str(round(float(line.split(":", 1)[1])))
    return ""


def _turbo() -> str:
    if (flag := _read(_CPU / "intel_pstate" / "no_turbo")) in ("0", "1"):
        return "off" if flag == "1" else "on"
    return {"1": "on", "0": "off"}.get(_read(_CPU / "cpufreq" / "boost"), "")


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
