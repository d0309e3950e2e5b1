"""Export and verify of a bundle with several orders: every order is written, proved and opened."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess

import numpy as np
import pytest

from ssmith import lowering, stages
from ssmith.compiler import find_compiler
from ssmith.errors import InputError, MissingToolError
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.recipe import ExportSettings
from ssmith.runtime import Session
from ssmith.runtime.artifacts import read_manifest
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.reference import run
from tests.bundles import kept_modes, random_bundle

FLOAT = ExportSettings(formats=("onnx", "c99"), precisions=("float32",))
BOTH = FLOAT.model_copy(update={"precisions": ("float32", "int8")})
pytestmark = pytest.mark.usefixtures("library_cache")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def bundle():
    main = random_bundle(np.random.default_rng(0), orders=(6, 4), golden_frames=(30,))
    return main.with_variants([kept_modes(main, order) for order in (3, 2)])


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """A run's artifact folder, the bundle beside it."""
    place = tmp_path_factory.mktemp("run")
    bundle.write(place / "net.ssm")
    lowering.lower(bundle, place / "artifacts", FLOAT)
    return place / "artifacts"


def test_every_order_is_written_with_its_own_manifest_and_names(bundle, folder):
    main = read_manifest(folder)
    assert (main.name, main.order) == ("net", 6)
    assert [variant.order for variant in main.variants] == [3, 2]
    for variant in main.variants:
        own = read_manifest(folder / f"order{variant.order}")
        assert own.name == f"net_order{variant.order}"
        assert own.bundle_sha256 == variant.bundle_sha256 == bundle.variant(variant.order).sha256
        assert {f.path for f in own.files} >= {f"{own.name}.c", f"{own.name}.h", f"{own.name}.step.onnx"}


def test_what_is_returned_is_what_lies_there(bundle, tmp_path):
    files = lowering.lower(bundle, tmp_path, ExportSettings(formats=("c99",), precisions=("float32",)))
    assert sorted(files) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


@needs_compiler
@pytest.mark.parametrize("backend", ["native", "onnx", "reference", None])
@pytest.mark.parametrize("order", [6, 3, 2])
def test_a_session_opens_the_order_that_was_asked_for(bundle, folder, backend, order):
    case = bundle.variant(order).golden()[0]
    session = Session.open(folder, backend=backend, order=order)
    np.testing.assert_allclose(session.process(case.input), case.output, atol=1e-5 * case.scale)
    assert session.state_get()["state_0"].shape == (2 * order,)


def test_without_an_order_the_main_model_opens(bundle, folder):
    for path in (folder, folder.parent / "net.ssm"):
        session = Session.open(path)
        assert session.state_get()["state_0"].shape == (12,)
        assert session.meta["bundle_sha256"] == bundle.sha256
    assert Session.open(folder.parent / "net.ssm", order=3).meta["name"] == "net_order3"


def test_an_order_that_is_not_there_lists_those_that_are(bundle, folder, tmp_path):
    for path in (folder, folder.parent / "net.ssm"):
        with pytest.raises(InputError, match="no model of order 5; it holds order 6 and 3 and 2"):
            Session.open(path, order=5)
    with pytest.raises(InputError, match="holds one model"):
        Session.open(folder / "net.step.onnx", order=3)
    write_manifest(bundle.variant(6), tmp_path, c99.lower(bundle.variant(6), tmp_path))
    document = json.loads((tmp_path / "manifest.json").read_text())
    del document["order"], document["variants"]  # as written before there were several orders
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="no model of order 3"):
        Session.open(tmp_path, order=3)


def test_a_stale_variant_is_refused(bundle, folder, tmp_path):
    """Files that an earlier export left in ``order3/`` are another model's."""
    shutil.copytree(folder, tmp_path / "artifacts")
    other = random_bundle(np.random.default_rng(9), orders=(6, 4), golden_frames=(30,))
    other = other.with_variants([kept_modes(other, 3)])
    lowering.lower(
        other.variant(3), tmp_path / "artifacts" / "order3", FLOAT.model_copy(update={"formats": ("c99",)})
    )
    with pytest.raises(InputError, match="another model"):
        Session.open(tmp_path / "artifacts", order=3)
    with pytest.raises(InputError, match=r"order3/net_order3\.c was made from another model"):
        stages.prove(tmp_path / "artifacts", bundle, quick=True)


@needs_compiler
def test_all_orders_are_proved(bundle, folder):
    report = stages.prove(folder, bundle, quick=True)
    assert report.passed
    suffixes = (".ssm", ".c", ".ssmc", ".step.onnx", ".sequence.onnx")
    names = ("net", "net_order3", "net_order2")
    assert {row.artifact for row in report.rows} == {name + suffix for name in names for suffix in suffixes}
    alone = stages.prove(folder / "order2", bundle, quick=True)
    assert alone.passed
    assert {row.artifact for row in alone.rows} == {f"net_order2{suffix}" for suffix in suffixes}


MAIN = """
#include <stdio.h>
#include "net.h"
#include "net_order3.h"
static net_t large; static net_order3_t small;
int main(void) {
    float in[NET_INPUTS], out[NET_OUTPUTS];
    net_init(&large); net_order3_init(&small);
    while (fread(in, sizeof in, 1, stdin) == 1) {
        net_step(&large, in, out); fwrite(out, sizeof out, 1, stdout);
        net_order3_step(&small, in, out); fwrite(out, sizeof out, 1, stdout);
    }
    return 0;
}
"""


@needs_compiler
def test_two_orders_run_in_one_c_program(bundle, folder, tmp_path):
    (tmp_path / "main.c").write_text(MAIN)
    sources = [tmp_path / "main.c", folder / "net.c", folder / "order3" / "net_order3.c"]
    flags = ["-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    places = [f"-I{folder}", f"-I{folder / 'order3'}"]
    command = [*find_compiler(), *flags, *places, *map(str, sources), "-o", str(tmp_path / "both")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    block = bundle.golden()[0].input
    raw = subprocess.run([tmp_path / "both"], input=block.tobytes(), capture_output=True, check=True).stdout
    got = np.frombuffer(raw, np.float32).reshape(len(block), 2, 2)
    for i, order in enumerate((6, 3)):
        model = bundle.variant(order)
        expected, _ = run(model.meta.ops, model.tensors, block, precision="float32")
        np.testing.assert_array_equal(got[:, i], expected)


def without_onnx(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else real(name))


def test_without_onnx_the_c_files_are_written_and_the_user_is_told(bundle, monkeypatch):
    assert lowering.writable(bundle, FLOAT) == ([("onnx", "float32"), ("c99", "float32")], {})
    without_onnx(monkeypatch)
    pieces, note = lowering.writable(bundle, FLOAT)
    assert pieces == [("c99", "float32")]
    assert "ssmith[export]" in note["not written"][0]
    only_c = FLOAT.model_copy(update={"formats": ("c99",)})
    assert lowering.writable(bundle, only_c) == ([("c99", "float32")], {})
    with pytest.raises(MissingToolError, match=r"ssmith\[export\]"):
        lowering.writable(bundle, FLOAT.model_copy(update={"formats": ("onnx",)}))


def test_without_ranges_float32_is_written_and_the_user_is_told(bundle):
    pieces, note = lowering.writable(bundle, BOTH)
    assert pieces == [("onnx", "float32"), ("c99", "float32")]
    assert "int8" in note["not written"][0] and "ssmith quantize" in note["not written"][0]
    with pytest.raises(InputError, match="ssmith quantize"):
        lowering.writable(bundle, BOTH.model_copy(update={"precisions": ("int8",)}))


def test_nothing_at_all_to_write_is_refused(bundle, monkeypatch):
    without_onnx(monkeypatch)
    with pytest.raises(InputError):
        lowering.writable(bundle, ExportSettings(formats=("onnx",)))


@needs_compiler
def test_both_precisions_are_written_proved_and_opened(bundle, tmp_path):
    ready = calibrate(bundle, [case.input for case in bundle.golden()])
    assert lowering.writable(ready, BOTH) == (lowering.wanted_pieces(BOTH), {})
    files = lowering.lower(ready, tmp_path, BOTH)
    assert sorted(files) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    report = stages.prove(tmp_path, ready, quick=True)
    assert report.passed, [row for row in report.rows if not row.passed]
    exact = {"bits", "state", "steps", "pieces", "resumed", "reopened"}
    for name in ("net_int8", "net_order3_int8", "net_order2_int8"):
        for form in ("c", "ssmc"):
            rows = [row for row in report.rows if row.artifact == f"{name}.{form}"]
            assert {row.case.split("/")[1] for row in rows} == exact | {"noise"}
            for row in rows:
                noise = row.case.endswith("/noise")
                assert (row.tolerance > 0) == noise == (row.predicted_snr_db is not None)
                assert noise or row.max_abs == 0
    for order in (6, 3):
        case = ready.variant(order).golden()[0]
        session = Session.open(tmp_path, precision="int8", order=order)
        error = session.process(case.input) - case.output
        assert 0 < np.sqrt((error**2).mean()) < 0.02 * np.sqrt((case.output**2).mean())
