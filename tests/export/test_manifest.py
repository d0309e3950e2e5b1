"""The manifest describes exactly the files that are there."""

import hashlib

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.export.manifest import kind_of, precision_of, write_manifest
from ssmith.runtime.artifacts import read_manifest, verified
from tests.bundles import random_bundle


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0))


def test_what_is_written_is_read_back_and_true(bundle, tmp_path):
    paths = c99.lower(bundle, tmp_path)
    manifest = write_manifest(bundle, tmp_path, paths)
    assert read_manifest(tmp_path) == manifest
    assert (manifest.name, manifest.bundle_sha256, manifest.period_s) == ("net", bundle.sha256, 0.01)
    assert [verified(tmp_path, file) for file in manifest.files] == paths
    for file, path in zip(manifest.files, paths, strict=True):
        assert file.bytes == len(path.read_bytes())
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.first("c-source").path == "net.c"
    assert "onnx" not in manifest.toolchain


def test_the_integer_form_is_told_by_its_name(bundle, tmp_path):
    names = ("net.c", "net.ssmc", "net_int8.c", "net_int8.ssmc", "net_int8.h", "net_int8_weights.h")
    for name in names:
        (tmp_path / name).write_text(name)
    manifest = write_manifest(bundle, tmp_path, [tmp_path / name for name in names], activation_bits=8)
    assert read_manifest(tmp_path) == manifest
    told = {file.path: (file.precision, file.activation_bits) for file in manifest.files}
    assert told == dict.fromkeys(names[:2], ("float32", None)) | dict.fromkeys(names[2:], ("int8", 8))
    assert manifest.first("ssmc", "c-source").path == "net.ssmc"
    assert manifest.first("ssmc", "c-source", precision="int8").path == "net_int8.ssmc"
    assert manifest.first("onnx-step", precision="int8") is None


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("net.step.onnx", "float32"),
        ("net_weights.h", "float32"),
        ("net_int8.step.onnx", "int8"),
        ("net_int8_weights.h", "int8"),  # the weights of the int8 form in C
        ("net_int8_weights.step.onnx", "int8-weights"),
        ("net_int4_weights.sequence.onnx", "int4-weights"),
        ("net_mixed.step.pte", "mixed"),
    ],
)
def test_a_file_tells_its_precision_by_its_name(name, precision, tmp_path):
    assert precision_of(tmp_path / name, "net") == precision


def test_equal_files_give_equal_bytes(bundle, tmp_path):
    for place in ("a", "b"):
        write_manifest(bundle, tmp_path / place, c99.lower(bundle, tmp_path / place))
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.c", "c-source"),
        ("net_weights.h", "c-header"),
        ("ssm_kernels.h", "c-header"),
        ("ssm.c", "c-engine"),
        ("ssm.h", "c-engine"),
        ("net.ssmc", "ssmc"),
        ("net.step.onnx", "onnx-step"),
        ("net.sequence.onnx", "onnx-sequence"),
    ],
)
def test_kinds(tmp_path, name, kind):
    assert kind_of(tmp_path / name) == kind


def test_what_does_not_belong_is_refused(bundle, tmp_path):
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (tmp_path / "net.c").write_text("")
    for path in (tmp_path / "net.c", folder / "gone.c"):
        with pytest.raises(InputError, match="is not a file in the artifact folder"):
            write_manifest(bundle, folder, [path])
    with pytest.raises(InputError, match="of no kind"):
        write_manifest(bundle, folder, [folder / "net.onnx"])
    assert not list(folder.iterdir())
