"""What a board with a shell says about itself."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from importlib import metadata

from ssmith.devices.link import Link
from ssmith.errors import SsmithError

# Lines of marked facts: a login script may print what it likes around them. Nothing here needs more
# than a POSIX shell and the smallest busybox; what is missing gives an empty fact.
_CPUFREQ = "/sys/devices/system/cpu/cpu$last/cpufreq"
_LINES = {
    "machine": "uname -m",
    "system": "uname -sr",
    "board": "tr -d '\\0' < /proc/device-tree/model || getprop ro.product.model",
    "cpu": "grep -m 1 -E '^(model name|Model|Hardware|uarch)' /proc/cpuinfo | cut -d : -f 2-",
    "cores": "grep -c '^processor' /proc/cpuinfo",
    "features": "grep -m 1 -E '^(flags|Features|isa)' /proc/cpuinfo | cut -d : -f 2-",
    "governor": f"cat {_CPUFREQ}/scaling_governor",
    "frequency_khz": f"cat {_CPUFREQ}/scaling_cur_freq",
    "temperature_millideg": "cat /sys/class/thermal/thermal_zone0/temp",
    "load_1min": "cut -d ' ' -f 1 /proc/loadavg",
    "virtual_machine": "grep -q -w hypervisor /proc/cpuinfo && echo yes",
    "compiler": "cc --version | head -n 1",
    "pin": "taskset -c $last true && echo $last",
}
PYTHON = "${SSMITH_PYTHON:-python3}"
_ASK_PYTHON = """
import importlib.util as u, json, platform
from importlib import metadata
found = {"python": platform.python_implementation() + " " + platform.python_version()}
for name in ("ssmith", "numpy", "onnxruntime", "executorch", "executorch_numpy_runtime"):
    if u.find_spec(name) is not None:
        try: found[name] = metadata.version(name)
        except metadata.PackageNotFoundError: found[name] = "unknown"
print("ssmith.packages=" + json.dumps(found))
"""


def ask(link: Link, timeout_s: float = 60.0) -> dict[str, str]:
    """Every fact the board tells, by name; what it does not tell is left out.

    Packages of its Python are there as ``python``, ``ssmith``, ``numpy`` and so on.

    Raises:
        LinkError: the board was not reached.
        SsmithError: it does not answer as a POSIX shell.
    """
    script = "last=$(( $(grep -c ^processor /proc/cpuinfo 2>/dev/null || echo 1) - 1 )); "
    script += "".join(f'echo "ssmith.{name}=$( ( {line} ) 2>/dev/null )"; ' for name, line in _LINES.items())
    script += f"{PYTHON} -c '{_ASK_PYTHON}' 2>/dev/null"
    done = link.run(script, timeout_s=timeout_s)
    found: dict[str, str] = {}
    for line in done.out.decode(errors="replace").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("ssmith.") and value.strip():
            found[name.removeprefix("ssmith.")] = value.strip()
    if "machine" not in found:
        words = done.complaint or done.out[-400:].decode(errors="replace").strip() or "nothing"
        raise SsmithError(f"{link.place} does not answer as a POSIX shell; it said: {words}")
    return found | _packages(found.pop("packages", "{}"))


def fingerprint(found: Mapping[str, str]) -> dict[str, str]:
    """The facts that a row of a report shows, under the names that the host's have."""
    told = (
        "cpu",
        "board",
        "cores",
        "machine",
        "system",
        "virtual_machine",
        "governor",
        "load_1min",
        "python",
    )
    row = {
        name: found[name] for name in (*told, "ssmith", "numpy", "onnxruntime", "executorch") if name in found
    }
    row.setdefault("virtual_machine", "not detected")
    if found.get("frequency_khz", "").isdigit():
        row["frequency_mhz"] = str(round(int(found["frequency_khz"]) / 1000))
    if found.get("temperature_millideg", "").isdigit():
        row["temperature_c"] = f"{int(found['temperature_millideg']) / 1000:.1f}"
    if found.get("pin", "").isdigit():
        row["pinned_core"] = found["pin"]
    try:
        float(row.get("load_1min", "0"))
        int(row.get("cores", "1"))
    except ValueError:  # arithmetic is done with these two
        row.pop("load_1min", None)
        row.pop("cores", None)
    row["date"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return row


def python_missing(found: Mapping[str, str], packages: Sequence[str]) -> str:
    """Why the board's Python cannot run a backend; empty where it can.

    Args:
        found: from ``ask``.
        packages: any of these has to be there besides ssmith; none where it is empty.
    """
    here = metadata.version("ssmith")
    if "python" not in found:
        return "the board has no python3 (another one: set SSMITH_PYTHON there)"
    if "ssmith" not in found:
        return f"the board's {found['python']} has no ssmith; run pip install 'ssmith=={here}' there"
    if found["ssmith"] != here:
        return f"the board has ssmith {found['ssmith']}, this machine {here}; install the same there"
    if packages and not any(package in found for package in packages):
        return f"the board's {found['python']} has no {packages[0]}; run pip install {packages[0]} there"
    return ""


def _packages(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
