"""An artifact folder from elsewhere: nothing outside it, nothing that was changed."""

import hashlib
import json

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.runtime.artifacts import Artifact, Manifest, at_order, find_bundle, read_manifest, verified
from tests.bundles import random_bundle

SHA = "0" * 64


def artifact(path="net.c", kind="c-source", sha256=SHA):
    return {"path": path, "kind": kind, "bytes": 1, "sha256": sha256, "how": "by hand"}


def write(folder, **changes):
    document = {"name": "net", "bundle_sha256": SHA, "files": [artifact()]} | changes
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def test_reads_what_was_written(tmp_path):
    manifest = read_manifest(write(tmp_path, period_s=0.01, toolchain={"ssmith": "0.1.0"}))
    assert manifest == Manifest.model_validate_json(manifest.model_dump_json())
    assert manifest.period_s == 0.01


def test_first_follows_the_order_of_kinds(tmp_path):
    files = [artifact("net.ssmc", "ssmc"), artifact("net.c"), artifact("other.c")]
    manifest = read_manifest(write(tmp_path, files=files))
    assert manifest.first("c-source", "ssmc").path == "net.c"
    assert manifest.first("ssmc", "c-source").path == "net.ssmc"
    assert manifest.first("onnx-step") is None


@pytest.mark.parametrize("order", ["4", True, 4.0, [4]])
def test_an_order_that_is_no_whole_number_is_refused(tmp_path, order):
    variants = [{"order": 4, "bundle_sha256": SHA}, {"order": 1, "bundle_sha256": SHA}]
    manifest = read_manifest(write(tmp_path, order=6, variants=variants))
    with pytest.raises(InputError, match="is no whole number"):
        at_order(tmp_path, manifest, order)


@pytest.mark.parametrize("path", ["/etc/passwd", "../net.c", "a/../../net.c", "", "a\\..\\b.c"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, path):
    with pytest.raises(InputError, match="leaves the artifact folder"):
        read_manifest(write(tmp_path, files=[artifact(path)]))


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"name": "../x"}, {"files": [artifact(kind="exe")]}, {"surprise": 1}, {"period_s": 0}],
)
def test_an_impossible_manifest_is_refused(tmp_path, changes):
    with pytest.raises(InputError, match="not a usable manifest"):
        read_manifest(write(tmp_path, **changes))


def test_no_manifest_says_what_an_artifact_folder_is(tmp_path):
    with pytest.raises(InputError, match="ssmith export"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="not a usable manifest"):
        read_manifest(tmp_path)


def test_a_changed_or_missing_file_is_refused(tmp_path):
    (tmp_path / "net.c").write_text("int x;")
    good = Artifact(**artifact(sha256=hashlib.sha256(b"int x;").hexdigest()))
    assert verified(tmp_path, good) == tmp_path / "net.c"
    with pytest.raises(InputError, match="not the file that manifest"):
        verified(tmp_path, Artifact(**artifact()))
    with pytest.raises(InputError, match="cannot read"):
        verified(tmp_path, Artifact(**artifact("gone.c")))


def test_finds_only_the_right_bundle(tmp_path):
    bundle = random_bundle(np.random.default_rng(0))
    folder = tmp_path / "artifacts"
    folder.mkdir()
    manifest = read_manifest(write(folder, bundle_sha256=bundle.sha256))
    assert find_bundle(folder, manifest) is None
    random_bundle(np.random.default_rng(1)).write(folder / "net.ssm")
    assert find_bundle(folder, manifest) is None
    bundle.write(tmp_path / "net.ssm")
    assert find_bundle(folder, manifest).samefile(tmp_path / "net.ssm")
