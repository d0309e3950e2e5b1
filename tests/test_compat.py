"""Files that earlier releases wrote still load, and still compute what their bundle says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.files import sha256
from ssmith.runtime.parity import check_file

COMPAT = Path(__file__).parent / "data" / "compat"
BUNDLES = sorted(COMPAT.glob("*/*.ssm"))
ARTIFACTS = sorted(path for end in ("onnx", "pte", "ssmc") for path in COMPAT.glob(f"*/*.{end}"))
NEEDS = {".onnx": "onnxruntime", ".pte": "executorch"}


def named(path):
    return f"{path.parent.name}/{path.name}"


def test_there_is_one_of_each():
    """Also a new release's: a folder is added and none goes."""
    assert (COMPAT / "0.1.0").is_dir()
    assert {path.suffix for path in ARTIFACTS} >= {".onnx", ".pte", ".ssmc"}


@pytest.mark.parametrize("path", BUNDLES, ids=named)
def test_an_old_bundle_is_still_the_same_bytes(path):
    """Its digest is the model's identity in artifacts, so writing it again may not change it."""
    assert Bundle.read(path).sha256 == sha256(path)


@pytest.mark.parametrize("path", ARTIFACTS, ids=named)
def test_an_old_artifact_still_passes(path):
    if path.suffix == ".ssmc" and find_compiler() is None:
        pytest.skip("needs a C compiler")
    if path.suffix in NEEDS and importlib.util.find_spec(NEEDS[path.suffix]) is None:
        pytest.skip(f"needs {NEEDS[path.suffix]}")
    [bundle] = path.parent.glob("*.ssm")
    rows = check_file(Bundle.read(bundle), path)
    assert rows
    assert [row for row in rows if row.ran and not row.passed] == []
    assert any(row.ran for row in rows)
