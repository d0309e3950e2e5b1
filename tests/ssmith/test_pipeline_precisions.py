"""A run with all that rounding offers: trained with rounding, a plan, every precision, sensitivity, proof."""

from __future__ import annotations

import json

import pytest

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.pipeline import STAGES, measure_sensitivity, run_stage, start
from ssmith.quant import product_weights
from ssmith.recipe import WRITES
from ssmith.report_data import ReportData
from ssmith.runtime import oracle
from ssmith.runtime.artifacts import read_manifest
from ssmith.standalone import export_bundle, quantize_bundle
from tests.train import finished

PRECISIONS = list(WRITES["onnx"])
CHANGES = (
    "model.width=4",
    "model.order=6",
    "train.steps=40",
    "reduce.order=4",
    "reduce.max_loss_increase=99",
    "compare.full=false",
    "compare.scratch=false",
    "quantize.qat_steps=8",
    "quantize.qat_above=-1",
    "quantize.sensitivity=true",
    'export.formats=["onnx", "c99"]',
    f"export.precisions={json.dumps(PRECISIONS)}",
    "export.activation_bits=8",
    "bench.steps=200",
    "bench.seconds=0.2",
    'bench.backends=["native", "onnx"]',
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler"),
    pytest.mark.usefixtures("library_cache"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Every stage of it, the proof with short streams."""
    made = start(
        str(finished.recipe_path()), list(CHANGES), seed=0, runs=tmp_path_factory.mktemp("runs"), name=None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "FULL", oracle.QUICK)
        for stage in STAGES:
            run_stage(made, stage.name, quiet=True)
    return made


def test_every_precision_is_written_measured_and_told(run):
    files = read_manifest(run.artifacts).files
    assert {file.precision for file in files if file.kind == "onnx-step"} == set(PRECISIONS)
    data = ReportData.model_validate_json((run.folder / "report.json").read_bytes())
    assert data.problems == {}
    costs = {(cost.format, cost.precision): cost for cost in data.precisions}
    assert set(costs) == {("onnx", p) for p in PRECISIONS} | {("c99", "float32"), ("c99", "int8")}
    for name, cost in costs.items():
        assert cost.step_p50_us and cost.file_ratio and cost.weight_bytes, name
        assert cost.known_from is not None, name
        assert cost.precision == "float32" or cost.snr_db is None or cost.snr_db > 0, name
    rounded = [cost for cost in data.precisions if cost.precision != "float32"]
    assert sum(cost.metric is not None for cost in rounded) >= len(rounded) - 1  # all but int8-all at least
    assert data.summary.parity_passed == data.summary.parity_run > 50


def test_sensitivity_plan_and_training_are_of_the_bundle_that_ships(run):
    bundle = Bundle.read(run.bundle_path)
    data = ReportData.model_validate_json((run.folder / "report.json").read_bytes())
    keys = set(product_weights(bundle.meta.ops))
    assert data.sensitivity is not None and data.sensitivity.bundle_sha256 == bundle.sha256
    assert {row.tensor for row in data.sensitivity.rows if row.part == "weights"} == keys
    assert set(data.precision_plan) == keys and data.precision_plan == bundle.meta.plan
    assert data.qat is not None and data.qat.steps == 8
    assert (bundle.meta.rounding is not None) == data.qat.helped


def test_sensitivity_can_be_measured_later_and_comes_out_the_same(run):
    path = run.folder / "sensitivity.json"
    before = path.read_bytes()
    path.unlink()
    facts = measure_sensitivity(run, quiet=True)
    assert path.read_bytes() == before
    assert facts["sensitivity"] == json.loads(before)["rows"]


def test_a_lone_bundle_goes_the_same_way(run, tmp_path):
    target = tmp_path / "planned.ssm"
    facts = quantize_bundle(
        run.bundle_path,
        target,
        data=str(run.folder),
        activation_bits=8,
        qat_steps=8,
        sensitivity=True,
        loss_budget=0.03,
    )
    assert Bundle.read(target).meta.plan == facts["plan"]
    assert facts["steps"] in (0, 8) and facts["sensitivity"]
    export_bundle(target, tmp_path / "artifacts", precisions=["mixed"], formats=["onnx"])
    written = {file.precision for file in read_manifest(tmp_path / "artifacts").files}
    assert written == {"mixed"}
