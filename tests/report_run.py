"""A run folder as the stages leave it, with numbers shaped like those of a real run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ssmith.bundle import Bundle
from ssmith.devices.deadlines import summarise_deadlines
from ssmith.devices.timing import summarise
from ssmith.export.manifest import precision_of
from ssmith.measurement import Measurement, write_measurements
from ssmith.quant import product_weights
from tests.bundles import random_bundle
from tests.calibrated import calibrated

LAYERS, WINDOW, FULL, SMALL = 2, (900, 1800), 64, 12


def write_run(folder: Path, *, period_s: float | None = None, seed: int = 0, attempts: int = 4) -> Path:
    """Fill ``folder`` with every file a report can read; a regression if there is a period."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    cuts = _cuts(rng, attempts)
    rows = _training(rng, cuts, classification=period_s is None)
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _write(folder / "train" / "cuts.json", cuts)
    _write(folder / "compare.json", _comparison(period_s is None))
    _write(folder / "quantization.json", _quantization(period_s is None))
    _write(folder / "sensitivity.json", _sensitivity(period_s is None))
    _write(folder / "qat" / "result.json", qat(period_s is None))
    _write(folder / "artifacts" / "manifest.json", _manifest())
    _write(folder / "parity.json", {"rows": _parity()})
    bundle = calibrated(random_bundle(rng, name="digits"))
    _with_plan(bundle).write(folder / "digits.ssm")
    _write(folder / "recipe.json", _recipe(attempts))
    write_measurements(folder / "measurements.json", measurements(rng, period_s))
    return folder


def _recipe(attempts: int) -> dict[str, Any]:
    schedule = "window" if attempts < 10 else "gradual"
    asked = {"order": SMALL, "tolerance": None, "criterion": "task-aware", "schedule": schedule}
    return {
        "name": "digits",
        "model": {"order": FULL, "layers": LAYERS},
        "reduce": {**asked, "cuts": attempts, "window": [0.225, 0.45]},
    }


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _spectrum(rng: np.random.Generator, order: int) -> list[float]:
    decay = np.exp(-(np.linspace(0, 13, 2 * order) ** 0.8))
    return sorted((2.3 * decay * rng.uniform(0.7, 1.3, 2 * order)).tolist(), reverse=True)


def _cuts(rng: np.random.Generator, attempts: int) -> list[dict[str, Any]]:
    orders, cuts = [FULL] * LAYERS, []
    for attempt, step in enumerate(np.linspace(*WINDOW, attempts).astype(int).tolist()):
        for layer in range(LAYERS):
            target = max(SMALL, round(FULL * (SMALL / FULL) ** ((attempt + 1) / attempts)))
            if target >= orders[layer]:
                continue
            accepted = (attempt, layer) != (1, 1)
            cuts.append(
                cut(rng, step, layer, (orders[layer], target), accepted=accepted, attempt=attempt + 1)
            )
            orders[layer] = target if accepted else orders[layer]
    return cuts


def cut(
    rng: np.random.Generator,
    step: int,
    layer: int,
    orders: tuple[int, int],
    *,
    accepted: bool = True,
    attempt: int = 1,
    criterion: str = "task-aware",
) -> dict[str, Any]:
    """A record of ``cuts.json``; the measured change follows the dropped energy, as in a real run."""
    before, target = orders
    sigma = _spectrum(rng, before)
    energy = sum(v**2 for v in sigma[2 * target :]) / sum(v**2 for v in sigma)
    loss = 0.62 * 0.9997**step
    rise = rng.uniform(-0.004, 0.02) if accepted else 0.31
    return {
        "step": step,
        "attempt": attempt,
        "layer": f"blocks.{layer}.ssm",
        "order_before": before,
        "order_after": target if accepted else before,
        "singular_values": sigma,
        "criterion": criterion,
        "tail": sum(sigma[2 * target :]),
        "error_bound": 2 * sum(sigma[2 * target :]) if criterion == "exact" else None,
        "h2_error": float(rng.uniform(0.01, 0.2)),
        "hinf_error": float(rng.uniform(0.2, 0.6)),
        "output_error": float(1.4 * energy**0.5 * rng.uniform(0.6, 1.6)),
        "stable": True,
        "clamped": 0,
        "loss_before": loss,
        "loss_after": loss * (1 + rise),
        "accepted": accepted,
        "reason": "accepted"
        if accepted
        else "undone: the held-out loss rose to 0.71, above the limit of 0.6",
        "notes": [],
    }


def _training(
    rng: np.random.Generator, cuts: list[dict[str, Any]], *, classification: bool
) -> list[dict[str, Any]]:
    rows = []
    for step in range(0, 4001, 100):
        orders = [FULL] * LAYERS
        for made in cuts:
            if made["accepted"] and made["step"] <= step:
                orders[int(made["layer"].split(".")[1])] = made["order_after"]
        loss = 0.08 + 2.2 * np.exp(-step / 700)
        score = 0.963 - 0.86 * np.exp(-step / 600) if classification else 0.42 + np.exp(-step / 500)
        rows.append(
            {
                "step": step,
                "train_loss": float(loss * rng.uniform(0.8, 1.2)),
                "validation_loss": float(loss * 1.15 + 0.03 * rng.uniform()),
                "validation_metric": float(score),
                "orders": orders,
                "learning_rate": float(4e-3 * np.cos(step / 4001 * np.pi / 2)),
            }
        )
    return rows


def _comparison(classification: bool) -> dict[str, Any]:
    scores = (0.9648, 0.9611, 0.8952) if classification else (0.421, 0.433, 0.512)
    sizes = ((64, 61.2, 33_930), (12, 38.4, 8_970), (12, 30.9, 8_970))
    names = ("full", "reduced", "scratch")
    rows = [
        {
            "name": name,
            "orders": [order] * LAYERS,
            "validation": score + 0.004,
            "test": score,
            "train_seconds": seconds,
            "parameters": parameters,
        }
        for name, score, (order, seconds, parameters) in zip(names, scores, sizes, strict=True)
    ]
    metric = "accuracy" if classification else "nrmse"
    return {"metric": metric, "higher_is_better": classification, "rows": rows}


def _quantization(classification: bool) -> dict[str, Any]:
    exact, integer = (0.9702, 0.9695) if classification else (0.437, 0.438)
    saturated = {"input": 0, "encoder": 0, "block0.ssm": 3, "block0.ssm.state": 11, "head": 0}
    return {
        "version": 2,
        "bundle_sha256": hashlib.sha256(b"bundle").hexdigest(),
        "activation_bits": 16,
        "measured_on": "validation sequences of digits",
        "sequences": 197,
        "frames": 25_216,
        "predicted_snr_db": 48.9,
        "measured_snr_db": 47.3,
        "metric": "accuracy" if classification else "nrmse",
        "metric_float": exact,
        "metric_int8": integer,
        "saturation": [
            {"vector": name, "codes": 403_456, "saturated": count} for name, count in saturated.items()
        ],
        "precisions": [
            {
                "precision": precision,
                "format": format,
                "activation_bits": bits,
                "weight_bytes": weights,
                "weight_bytes_float": 34_000,
                "simulated": snr is not None,
                "snr_db": snr,
                "metric": "accuracy" if classification else "nrmse",
                "metric_float": exact,
                "metric_rounded": None if snr is None else exact + (change if classification else -change),
            }
            for precision, format, bits, weights, snr, change in _PRECISIONS
        ],
    }


_PRECISIONS = (
    ("int8", "c99", 16, 9_300, 47.4, -0.0007),
    ("int8", "executorch", 8, 9_300, 32.1, -0.002),
    ("int8-all", "onnx", 8, 9_300, None, 0.0),
    ("int8-dynamic", "executorch", 8, 9_300, 31.2, -0.001),
    ("int8-dynamic", "onnx", 8, 9_300, 31.3, -0.001),
    ("int4-weights", "onnx", 32, 6_100, 17.9, -0.041),
    ("mixed", "executorch", 8, 9_900, 34.0, 0.0005),
    ("mixed", "onnx", 8, 9_300, 33.5, 0.0),
)


def _with_plan(bundle: Bundle) -> Bundle:
    """Every product in int8, the first with 16-bit activations."""
    keys = list(product_weights(bundle.meta.ops))
    plan = {key: "int8-a8" if i else "int8-a16" for i, key in enumerate(keys)}
    meta = bundle.meta.model_copy(update={"plan": plan})
    return Bundle(meta, bundle.tensors)


def _sensitivity(classification: bool) -> dict[str, Any]:
    """Six tensors, each in two numbers of bits; the last diverges."""
    parts = ("activations", "weights", "poles", "state", "activations", "weights")
    rows: list[dict[str, Any]] = [
        {
            "tensor": f"block{i // 2}.ssm" + ("" if part in ("poles", "state") else ".B"),
            "part": part,
            "bits": bits,
            "values": 16 * (i + 1),
            "snr_db": 60.0 - 3 * i - (16 - bits),
            "loss": 0.1,
            "rise": 0.02 / (i + 1) / bits,
            "metric": 0.9702 if classification else 0.437,
        }
        for i, part in enumerate(parts)
        for bits in (8, 16)
    ]
    rows[-1] |= {"snr_db": None, "loss": None, "rise": None, "metric": None}
    name = "197 validation sequences of digits"
    return {"version": 1, "bundle_sha256": "", "measured_on": name, "rows": rows}


def qat(classification: bool, *, helped: bool = True, steps: int = 120) -> dict[str, Any]:
    """``qat/result.json``; int8 lost a little and got it back."""
    scores = (0.9648, 0.9594, 0.9655, 0.9642) if classification else (0.421, 0.436, 0.424, 0.422)
    names = ("float_before", "rounded_before", "float_after", "rounded_after")
    return {
        "helped": helped,
        "activation_bits": 8,
        "steps": steps,
        "best_step": 90 if helped else 0,
        **{
            name: {"loss": 0.1 + 0.01 * i, "metric": m}
            for i, (name, m) in enumerate(zip(names, scores, strict=True))
        },
    }


def _manifest() -> dict[str, Any]:
    sizes = {
        "digits.step.onnx": ("onnx-step", 41_233),
        "digits.sequence.onnx": ("onnx-sequence", 42_871),
        "digits.c": ("c-source", 118_402),
        "digits.h": ("c-header", 5_120),
        "digits.ssmc": ("ssmc", 37_952),
        "digits_int8.c": ("c-source", 31_210),
        "digits_int8.ssmc": ("ssmc", 11_344),
        "digits_int8.step.onnx": ("onnx-step", 17_904),
        "digits_int8_all.step.onnx": ("onnx-step", 24_310),
        "digits_int8_dynamic.step.onnx": ("onnx-step", 16_500),
        "digits_int4_weights.step.onnx": ("onnx-step", 12_204),
        "digits_mixed.step.onnx": ("onnx-step", 17_102),
        "digits.step.pte": ("pte-step", 48_464),
        "digits_int8.step.pte": ("pte-step", 19_820),
        "digits_int8_dynamic.step.pte": ("pte-step", 18_604),
        "digits_mixed.step.pte": ("pte-step", 20_448),
    }
    files = [
        {
            "path": path,
            "kind": kind,
            "precision": precision_of(Path(path), "digits"),
            "activation_bits": {"digits_int8": 8 if ".pte" in path else 16}.get(path.split(".")[0]),
            "bytes": size,
            "sha256": hashlib.sha256(path.encode()).hexdigest(),
            "how": "built from the bundle's op list",
        }
        for path, (kind, size) in sizes.items()
    ]
    return {
        "version": 1,
        "name": "digits",
        "bundle_sha256": hashlib.sha256(b"bundle").hexdigest(),
        "files": files,
        "toolchain": {"onnx": "1.23.2"},
    }


def _parity() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for backend, artifact, error in (
        ("native", "digits.c", 0.0),
        ("native", "digits.ssmc", 0.0),
        ("onnx", "digits.step.onnx", 3.1e-6),
    ):
        for case in ("validation_0", "noise"):
            rows.append(
                {
                    "backend": backend,
                    "artifact": artifact,
                    "precision": "float32",
                    "check": "random" if case == "noise" else "golden",
                    "case": case,
                    "max_abs": error,
                    "relative": error / 7.3,
                    "snr_db": float("inf") if error == 0 else 118.4,
                    "worst_step": 91,
                    "tolerance": 0.0 if backend == "native" else 1e-5,
                    "passed": True,
                    "reason": "",
                }
            )
    integer = rows[0] | {"artifact": "digits_int8.c", "precision": "int8"}
    rows.append(integer | {"case": "noise/bits"})
    noise = {"max_abs": 0.09, "relative": 4.6e-3, "tolerance": 7.2e-3}
    rows.append(integer | noise | {"case": "noise/noise", "snr_db": 46.8, "predicted_snr_db": 48.9})
    rows.append(integer | noise | {"artifact": "digits_int8_all.step.onnx", "backend": "onnx"})
    rows[-1] |= {"case": "validation_0/noise", "snr_db": 21.7}
    held_out = {"check": "validation", "case": "validation/sequence_4", "reason": "197 validation sequences"}
    scores: dict[str, Any] = {"metric": "accuracy", "metric_value": 0.9695, "metric_delta": -0.0007}
    rows.append(integer | held_out | scores)
    rows.append(rows[5] | {"backend": "executorch", "passed": False, "reason": "not run: not installed"})
    return rows


def measurements(rng: np.random.Generator, period_s: float | None) -> list[Measurement]:
    """Three backends, one of them in two precisions, with a body and a heavy tail each."""
    found = []
    runs = (
        ("native", "float32", 1_900),
        ("native", "int8", 1_400),
        ("onnx", "float32", 21_000),
        ("reference", "float64", 240_000),
    )
    for backend, precision, centre_ns in runs:
        n = 20_000 if backend != "reference" else 8_000
        body = centre_ns * rng.lognormal(0, 0.05, n)
        spikes = rng.uniform(size=n) < 0.002
        samples = (body + spikes * rng.pareto(2.0, n) * 12_000).astype(np.int64)
        timing = summarise(samples, overhead_ns=25.0)
        paced = samples[:2_000]
        found.append(
            Measurement(
                target="host",
                backend=backend,
                precision=precision,
                metric_kind="latency",
                artifact={"native": "digits.c", "onnx": "digits.step.onnx"}.get(backend)
                if precision != "int8"
                else "digits_int8.c",
                clock="c" if backend == "native" else "python",
                timer_overhead_us=0.025,
                cold_start_us=1_100.0 if backend == "native" else 190_000.0,
                load_us=0.8 if backend == "native" else 81_000.0,
                first_step_us=9.1 * centre_ns / 1e3,
                warmup_steps=750,
                warmup_stable=True,
                timing=timing,
                deadline=period_s
                and summarise_deadlines(
                    paced, paced + 4_000, period_s=period_s, steady_mean_us=timing.mean_us
                ),
                python_step_p50_us=4.2 if backend == "native" else None,
                flash_bytes={"float32": 37_952, "int8": 11_344}.get(precision),
                ram_bytes=1_184 if backend == "native" else None,
                peak_rss_bytes=1_900_000 if backend == "native" else 92_000_000,
                pinned=True,
                notes=["timed in C, compiled with the flags below"] if backend == "native" else [],
                fingerprint={"cpu": "Example CPU", "compiler": "gcc 12.2", "python": "3.11"},
            )
        )
    return found
