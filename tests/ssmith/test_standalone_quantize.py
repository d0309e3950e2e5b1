"""`quantize` on a lone bundle: sensitivity, a plan, simulated precisions, and data it warns of."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.standalone import quantize_bundle
from tests.bundles import random_bundle


@pytest.fixture(scope="module")
def model() -> Bundle:
    return random_bundle(np.random.default_rng(0), golden_frames=(300,), radius=(0.6, 0.95))


def test_all_at_once_without_data(model, tmp_path, capsys):
    model.write(tmp_path / "net.ssm")
    facts = quantize_bundle(
        tmp_path / "net.ssm", None, sensitivity=True, loss_budget=0.03, precisions=["int8-weights", "int8"]
    )
    json.dumps(facts, allow_nan=False)
    made = Bundle.read(tmp_path / "net-quantized.ssm")
    assert made.calibrated and made.meta.plan == facts["plan"]
    assert [row["rise"] for row in facts["sensitivity"]] == sorted(
        (row["rise"] for row in facts["sensitivity"]), reverse=True
    )
    assert {"int8-weights (onnx)", "mixed (onnx)", "int8 (executorch, 8-bit activations)"} <= set(facts)
    assert "warnings" not in facts
    assert capsys.readouterr() == ("", "")


def test_training_needs_data_and_nothing_is_written(model, tmp_path):
    model.write(tmp_path / "net.ssm")
    with pytest.raises(InputError, match="--data RECIPE"):
        quantize_bundle(tmp_path / "net.ssm", None, qat_steps=10)
    with pytest.raises(InputError, match="write a share above zero"):
        quantize_bundle(tmp_path / "net.ssm", None, loss_budget=-0.1)
    assert not (tmp_path / "net-quantized.ssm").exists()


def test_a_wild_frame_is_named(model, tmp_path):
    case = model.meta.golden[0].name
    frames = model.tensors[f"golden.{case}.input"].copy()
    frames[123, 1] = 1e4
    wild = replace(model, tensors={**model.tensors, f"golden.{case}.input": frames})
    wild.write(tmp_path / "net.ssm")
    facts = quantize_bundle(tmp_path / "net.ssm", None)
    (warning,) = facts["warnings"]
    assert "frame 123 of calibration sequence 0 has 1e+04 in input 1" in warning
