"""What this machine has, what it lacks, and what to install."""

from __future__ import annotations

import importlib.util
import platform
import shlex
from dataclasses import dataclass
from importlib import metadata

from ssmith.compiler import INSTALL, find_compiler

# import name → (distribution, extra that brings it, what it is for)
PACKAGES = {
    "torch": ("torch", "train", "training, freezing"),
    "lightning_fabric": ("lightning-fabric", "train", "the training loop on any device"),
    "scipy": ("scipy", "reduce", "balanced truncation"),
    "sklearn": ("scikit-learn", "train", "the digits recipe"),
    "auraloss": ("auraloss", "train", "the loss stft"),
    "onnx": ("onnx", "export", "writing ONNX"),
    "onnxruntime": ("onnxruntime", "onnx", "running ONNX, and writing its int8-all"),
    "executorch": ("executorch", "executorch", "writing and running .pte files"),
    "torchao": ("torchao", "executorch", "int8 in .pte files"),
    "jinja2": ("jinja2", "report", "the HTML report"),
    "matplotlib": ("matplotlib", "report", "the report's plots"),
}


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
    compiler = find_compiler()
    found = None if compiler is None else shlex.join(compiler)
    findings.append(Finding("C compiler", found, "native backend, fast scans", INSTALL))
    return findings
