"""What this machine has, what it lacks, and what to install."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata

# import name → (distribution, extra that brings it, what it is for)
PACKAGES = {
    "torch": ("torch", "train", "training, freezing"),
    "lightning_fabric": ("lightning-fabric", "train", "the training loop on any device"),
    "scipy": ("scipy", "reduce", "balanced truncation"),
    "sklearn": ("scikit-learn", "train", "the digits recipe"),
    "onnx": ("onnx", "export", "writing ONNX"),
    "onnxruntime": ("onnxruntime", "onnx", "running ONNX"),
    "psutil": ("psutil", "devices", "memory and frequency in measurements"),
    "jinja2": ("jinja2", "report", "the HTML report"),
    "matplotlib": ("matplotlib", "report", "the report's plots"),
}
COMPILERS = ("cc", "gcc", "clang")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    found: str | None  # version or path
    purpose: str
    install: str

    @property
    def ok(self) -> bool:
        """Whether it is there."""
        return self.found is not None


def examine() -> list[Finding]:
    """Look for every optional part without importing any."""
    findings = [Finding("python", platform.python_version(), "everything", "")]
    for module, (distribution, extra, purpose) in PACKAGES.items():
        present = importlib.util.find_spec(module) is not None
        version = metadata.version(distribution) if present else None
        findings.append(Finding(distribution, version, purpose, f"pip install 'ssmith[{extra}]'"))
    compiler = os.environ.get("CC") or next((c for c in COMPILERS if shutil.which(c)), None)
    findings.append(
        Finding(
            "C compiler",
            shutil.which(compiler) if compiler else None,
            "native backend, fast scans",
            _compiler_hint(),
        )
    )
    return findings


def _compiler_hint() -> str:
    if sys.platform == "darwin":
        return "xcode-select --install"
    if sys.platform == "win32":
        return "install LLVM's clang and put it on PATH"
    return "apt-get install gcc libc6-dev (Debian, Ubuntu) or dnf install gcc (Fedora)"
