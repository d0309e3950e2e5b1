"""The matrix of devices: each number in a column of its own type, failures as rows, commands and prints."""

import pytest
from pydantic import ValidationError

from ssmith.measurement import Block, Golden, LayerCost, Measurement, read_measurements, write_measurements
from ssmith.report import build_report, render_html
from ssmith.report_devices import (
    FILTERS,
    Count,
    Estimate,
    Latency,
    amount_text,
    devices,
    estimate_text,
    latency_of,
    latency_text,
)
from tests.report_run import write_run
from tests.ssmith.test_report import Page

COUNTED = 4_321.0


def counted(**changes):
    known = {"target": "emulated:cortex-m4", "backend": "native", "precision": "float32", "emulated": True}
    known |= {"metric_kind": "instructions", "instructions_per_step": COUNTED}
    return Measurement(**known | changes)


OPS = ("encoder", "block0.ssm", "block0.glu", "head", "entry and copies")


def by_op(whole, shares=(0.1, 0.5, 0.25, 0.05, 0.1)):
    return [LayerCost(layer=op, instructions=share * whole) for op, share in zip(OPS, shares, strict=True)]


def blocks(*sizes):
    """At 48 kHz, the last too slow."""
    shares = [0.2] * (len(sizes) - 1) + [1.25]
    return [
        Block(
            frames=n,
            p50_us=0.8 * share * n / 0.048,
            p99_us=None,
            max_us=share * n / 0.048,
            duty_p50=0.8 * share,
            duty_max=share,
            rate_hz=48_000.0,
        )
        for n, share in zip(sizes, shares, strict=True)
    ]


def several(host):
    """Rows of a host, three other targets, a failure and a wrong result."""
    wrong = Golden(frames=64, max_abs=0.25, tolerance=1e-5, against="reference float32", passed=False)
    nothing = {"metric_kind": "correctness", "instructions_per_step": None}
    native, *_ = host
    return [
        *(
            m.model_copy(update={"command": f"ssmith bench runs/d --on host --backend {m.backend}"})
            for m in host
        ),
        native.model_copy(
            update={
                "target": "bench-pi",
                "noisy": True,
                "intervals": {"p50_us": (1.8, 2.1)},
                "notes": ["noisy: hot"],
                "blocks": blocks(32, 64, 1024),
            }
        ),
        counted(
            golden=wrong.model_copy(update={"max_abs": 0.0, "passed": True}),
            stack_bytes=320,
            layers=by_op(COUNTED),
        ),
        counted(
            precision="int8",
            instructions_per_step=2_100.0,
            fingerprint={"core": "Cortex-M4"},
            layers=by_op(2_100.0, (0.3, 0.2, 0.2, 0.1, 0.2)),
        ),
        counted(order=6, instructions_per_step=1_400.0, artifact="digits_order6.c"),
        counted(target="wasm", count_unit="fuel", instructions_per_step=9_876.0),
        counted(
            target="mca:cortex-a53",
            emulated=False,
            **nothing | {"metric_kind": "static_estimate"},
            cycles_estimated=777.0,
        ),
        counted(target="qemu:riscv64", **nothing, golden=wrong),
        counted(target="adb", **nothing, backend="-", precision="-", error="no device answers <adb>"),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("devices") / "run", period_s=0.002)
    rows = read_measurements(folder / "measurements.json")
    write_measurements(folder / "measurements.json", several(rows))
    return folder


@pytest.fixture(scope="module")
def html(run):
    return render_html(build_report(run))


def part(html):
    return html.split('<section id="devices"')[1].split("</section>")[0]


@pytest.mark.parametrize("text", [latency_text, amount_text, estimate_text])
def test_a_column_shows_one_type_of_number_only(text):
    own = {latency_text: Latency, amount_text: Count, estimate_text: Estimate}[text]
    for value in (Latency(1.0), Count(1.0, "instructions"), Estimate(1.0), 1.0):
        if isinstance(value, own):
            assert "1" in text(value)
        else:
            with pytest.raises(TypeError, match="cannot show"):
                text(value)
    assert text(None) == "–"


def test_a_number_of_an_emulator_has_no_way_to_a_time():
    row = counted()
    assert all(latency_of(row, name) is None for name in ("p50_us", "p99_9_us", "max_us"))
    (shown,) = devices([row]).rows
    assert shown.p50 is shown.p99_9 is shown.max is None and shown.count == Count(COUNTED, "instructions")
    assert {"latency", "interval", "amount", "estimate"} <= set(FILTERS)
    with pytest.raises(ValidationError, match="emulated"):
        counted(metric_kind="latency", instructions_per_step=None)


def test_every_row_of_an_emulator_stands_without_a_unit_of_time(html):
    for line in part(html).split("<tr")[2:]:
        if any(f'scope="row">{name}' in line for name in ("emulated", "wasm", "mca", "qemu")):
            cells = line.split("</tr>")[0]
            assert not any(unit in cells for unit in ("\u202fµs", " µs", " ns", " ms")), cells


def test_failures_are_rows_with_the_reason_and_without_numbers(html):
    table = part(html)
    assert "not measured: no device answers &lt;adb&gt;" in table
    wrong = next(line for line in table.split("<tr") if "qemu:riscv64" in line)
    assert 'class="failed"' in wrong and "FAILED" in wrong and "0.25 off the reference float32" in wrong
    assert "4\u202f321" in table and "9\u202f876 fuel" in table and "≈ 777" in table and "320 B" in table


def test_noise_intervals_commands_and_fingerprints_are_told(html):
    table = part(html)
    assert '<span class="tag noisy">noisy</span>' in table and "1.8 µs to 2.1 µs" in table
    assert "ssmith bench runs/d --on host --backend onnx" in table
    assert "Cortex-M4" in table and "Example CPU" in table and "noisy: hot" in table


def test_the_table_is_for_screen_readers_too(html):
    page = Page(html)
    assert not page.open
    inside = Page('<section id="devices"' + part(html) + "</section>")
    heads = [found for tag, found in inside.elements if tag == "th"]
    assert heads and all(found.get("scope") in ("row", "col") for found in heads)
    assert any(tag == "caption" for tag, _ in inside.elements)
    drawings = [found for tag, found in inside.elements if tag == "svg"]
    assert drawings and all(found["role"] == "img" and found["aria-label"] for found in drawings)
    assert len(page.ids) == len(set(page.ids))


def test_each_device_with_times_has_its_own_distribution(html):
    latency = html.split('<section id="latency"')[1].split("At the model")[0]
    assert (
        latency.count("<svg") == 2
        and "per backend on bench-pi" in latency
        and "per backend on host" in latency
    )
    assert "bench-pi native" in latency and "emulated:cortex-m4" not in latency


def test_headline_figures_do_not_mix_devices(run):
    rows = read_measurements(run / "measurements.json")
    native = next(m for m in rows if m.label == "native int8")
    timing = native.timing.model_copy(update={"p50_us": native.timing.min_us})
    write_measurements(
        run / "measurements.json", [*rows, native.model_copy(update={"target": "pc2", "timing": timing})]
    )
    try:
        data = build_report(run)
    finally:
        write_measurements(run / "measurements.json", rows)
    assert data.summary.step_p50_us == native.timing.p50_us > timing.p50_us
    (cost,) = [c for c in data.precisions if (c.format, c.precision) == ("c99", "int8")]
    assert cost.step_p50_us == native.timing.p50_us


def test_a_page_of_one_host_names_it_in_the_matrix_only(tmp_path):
    html = render_html(build_report(write_run(tmp_path / "run")))
    assert "host native" not in html and part(html).count('scope="row">host') == 4
