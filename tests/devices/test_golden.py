"""What a target has to compute, this machine too: the bits in C, half of the rounding noise elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.devices.bench import bench
from ssmith.devices.golden import case, compare
from ssmith.devices.host import Host
from ssmith.lowering import lower
from ssmith.recipe import ExportSettings
from ssmith.runtime.parity_rounded import TIES
from ssmith.runtime.session import Session
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.devices.conftest import SHORT

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
ROUNDED = ("int8", "int8-dynamic", "int8-weights", "int4-weights")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "artifacts"
    rng = np.random.default_rng(5)
    main, small = (calibrated(random_bundle(rng, name="m", orders=orders)) for orders in ((6, 6), (2, 2)))
    bundle = main.with_variants([small])
    lower(
        bundle, folder, ExportSettings(formats=("c99", "onnx"), precisions=("float32", *ROUNDED, "int8-all"))
    )
    bundle.write(folder.parent / "m.ssm")
    return folder


def test_rows_of_this_machine_are_compared(folder):
    rows = bench(folder, "host", precisions=["float32", "int8", "float64"], plan=SHORT)
    found = {(row.backend, row.precision): row.golden for row in rows}
    assert all(golden is not None and golden.passed for golden in found.values())
    for precision, against in (("float32", "reference float32"), ("int8", "integer reference")):
        golden = found["native", precision]
        assert (golden.max_abs, golden.tolerance, golden.against) == (0.0, 0.0, against)
    assert found["onnx", "int8"].against == "simulated int8" and found["onnx", "float32"].max_abs > 0
    assert set(found) == {("native", "float32"), ("native", "int8"), ("onnx", "float32"), ("onnx", "int8"),
                          ("reference", "float64")}  # fmt: skip


def test_a_variant_is_compared_with_its_own_order(folder):
    (row,) = bench(folder / "order2", "host", backends=["native"], precisions=["int8"], plan=SHORT)
    assert row.golden is not None and row.golden.passed and row.golden.max_abs == 0.0
    assert row.timing is not None


def test_what_computes_something_else_has_no_time(folder, monkeypatch):
    real = Host.read

    def wrong(self, job, output):
        raw = real(self, job, output)
        outputs = raw.golden_outputs.copy()
        outputs[-1, 0] = np.nextafter(outputs[-1, 0], np.float32(np.inf))
        return replace(raw, golden_outputs=outputs)

    monkeypatch.setattr(Host, "read", wrong)
    (row,) = bench(folder, "host", backends=["native"], precisions=["float32"], plan=SHORT)
    assert row.metric_kind == "correctness" and row.golden is not None and not row.golden.passed
    assert row.timing is None and row.cold_start_us is None and row.deadline is None


@pytest.mark.parametrize("precision", ROUNDED)
def test_a_rounded_file_is_held_to_its_simulation(folder, precision):
    """Half of what its rounding does: float64's outputs are not good enough, nor are another precision's."""
    wanted = case(folder, "onnx", precision)
    session = Session.open(folder, backend="onnx", precision=precision)
    outputs = np.array([session.step(frame) for frame in wanted.inputs], np.float32)
    golden = compare(folder, "onnx", precision, outputs)
    assert golden.passed and golden.against == f"simulated {precision}" and golden.max_abs > 0
    exact = Session.open(folder.parent / "m.ssm").process(wanted.inputs)
    assert golden.tolerance == pytest.approx(TIES * np.abs(exact - wanted.outputs).max(), rel=0.01)
    assert not compare(folder, "onnx", precision, exact.astype(np.float32)).passed
    assert golden.tolerance < 0.25 * np.abs(exact).max()


def test_rounding_without_a_simulation_is_held_to_float64(folder):
    wanted = case(folder, "onnx", "int8-all")
    assert wanted.against == "reference float64"
    assert wanted.tolerance == pytest.approx(0.25 * np.abs(wanted.outputs).max())


def test_nothing_to_compare_with_is_no_verdict(folder, tmp_path):
    lone = tmp_path / "artifacts"
    lone.mkdir()
    for path in folder.glob("*"):
        if path.is_file():
            (lone / path.name).write_bytes(path.read_bytes())
    (row,) = bench(lone, "host", backends=["native"], precisions=["float32"], plan=SHORT)
    assert row.golden is None and row.timing is not None
