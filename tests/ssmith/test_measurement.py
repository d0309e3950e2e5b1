import numpy as np
import pytest
from pydantic import ValidationError

from ssmith.devices.timing import summarise
from ssmith.errors import InputError
from ssmith.measurement import Golden, Measurement, Timing, read_measurements, write_measurements

TIMING = summarise(np.arange(1_000, 3_000), overhead_ns=0)
BASE = {"target": "qemu", "backend": "native", "precision": "float32"}


def test_an_emulator_may_not_hold_a_latency():
    with pytest.raises(ValidationError, match="emulated"):
        Measurement(**BASE, metric_kind="latency", emulated=True, timing=TIMING)


@pytest.mark.parametrize("kind", ["instructions", "static_estimate", "correctness"])
@pytest.mark.parametrize("value", [{"timing": TIMING}, {"first_step_us": 0.0}, {"load_us": 3.0}])
def test_only_a_latency_holds_times(kind, value):
    needed = {"instructions": "instructions_per_step", "static_estimate": "cycles_estimated"}
    extra = {needed[kind]: 5.0} if kind in needed else {}
    Measurement(**BASE, metric_kind=kind, emulated=True, **extra)
    with pytest.raises(ValidationError, match="holds no times"):
        Measurement(**BASE, metric_kind=kind, emulated=True, **extra, **value)


def test_instructions_need_a_count():
    with pytest.raises(ValidationError, match="instructions_per_step"):
        Measurement(**BASE, metric_kind="instructions")


def test_a_static_estimate_needs_cycles():
    with pytest.raises(ValidationError, match="cycles_estimated"):
        Measurement(**BASE, metric_kind="static_estimate")


def test_percentiles_may_not_decrease():
    with pytest.raises(ValidationError, match="decrease"):
        Timing.model_validate(TIMING.model_dump() | {"p50_us": TIMING.max_us + 1})
    with pytest.raises(ValidationError, match="one value a point"):
        Timing.model_validate(TIMING.model_dump() | {"ecdf_us": [1.0]})


@pytest.mark.parametrize("content", ["", "{}x", '{"version": 2}', '{"version": 1, "measurements": [{}]}'])
def test_a_damaged_file_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "measurements.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"measurements\.json is not a measurements file"):
        read_measurements(path)


def test_a_missing_file_names_the_verb_that_writes_it(tmp_path):
    with pytest.raises(InputError, match="ssmith bench"):
        read_measurements(tmp_path / "measurements.json")


def test_what_is_written_is_read_back(tmp_path):
    row = Measurement(**BASE | {"target": "host"}, metric_kind="latency", timing=TIMING)
    write_measurements(tmp_path / "m.json", [row])
    assert read_measurements(tmp_path / "m.json") == [row]


def test_a_row_is_told_by_what_it_knows():
    row = {"target": "wasm", "backend": "native", "precision": "int8", "emulated": True}
    counted = Measurement(
        **row, metric_kind="instructions", instructions_per_step=32_804.0, count_unit="fuel"
    )
    assert counted.told == "32,804 fuel a step"
    assert Measurement(**row, metric_kind="static_estimate", cycles_estimated=9.0).told.endswith(
        "not measured"
    )
    assert Measurement(**row, metric_kind="correctness", error="no zig").told == "no zig"
    wrong = Golden(frames=4, max_abs=0.5, tolerance=0.0, against="integer reference", passed=False)
    assert Measurement(**row, metric_kind="correctness", golden=wrong).told.startswith(
        "computes something else: 0.5"
    )
