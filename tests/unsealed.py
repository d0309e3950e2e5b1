"""Exported ONNX models changed by a test, without their seal: what comes after it is what is tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx


def save_unsealed(model: Any, path: Path) -> None:
    """Write a model without its ``seal``."""
    kept = [prop for prop in model.metadata_props if prop.key != "seal"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)
