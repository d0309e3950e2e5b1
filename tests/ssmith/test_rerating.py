"""A bundle at another rate: the same function of held signals, refusals of what would alias."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ssmith import cli
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import SSM, Pool
from ssmith.rerating import rerated
from ssmith.runtime import Session
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.calibrated import calibrated

CHANNELS = ((2, 0, 3, 1, 2), (1, 1, 1, 1, 1))


def slow(seed: int = 0, fastest: float = 0.4, **options) -> Bundle:
    """A random bundle at 100 Hz whose poles lie at angles up to ``fastest`` times π."""
    bundle = random_bundle(np.random.default_rng(seed), **options)
    tensors = dict(bundle.tensors)
    for op in bundle.meta.ops:
        if isinstance(op, SSM):
            lam = tensors[op.lam][0] + 1j * tensors[op.lam][1].astype(np.float64)
            lam = np.abs(lam) * np.exp(1j * fastest * np.angle(lam))
            tensors[op.lam] = np.stack([lam.real, lam.imag]).astype(np.float32)
    return dataclasses.replace(bundle, tensors=tensors)


@pytest.mark.parametrize("channels", [None, CHANNELS])
@pytest.mark.parametrize("pool", ["ema", "mean", "none"])
def test_every_layer_and_pool_is_re_rated(channels, pool: str) -> None:
    bundle = slow(channels=channels, pool=pool)
    model, layers = rerated(bundle, 300.0)
    assert model.meta.period_s == pytest.approx(1 / 300)
    assert [layer["dropped"] for layer in layers] == [0, 0]
    assert [system.channels for system in model.systems()] == [system.channels for system in bundle.systems()]
    for old, new in zip(bundle.systems(), model.systems(), strict=True):
        np.testing.assert_allclose(new.lam**3, old.lam, rtol=1e-5, atol=1e-7)
    for before, after in zip(bundle.meta.ops, model.meta.ops, strict=True):
        if isinstance(before, Pool) and isinstance(after, Pool):
            assert after.decay == pytest.approx(before.decay ** (1 / 3), rel=1e-6)


def test_one_layer_is_exact_on_held_frames() -> None:
    bundle = slow(orders=(4,), pool="none")
    model, _ = rerated(bundle, 300.0)
    u = np.random.default_rng(1).standard_normal((40, 3))
    exact, _ = run(bundle.meta.ops, bundle.tensors, u)
    faster, _ = run(model.meta.ops, model.tensors, np.repeat(u, 3, axis=0))
    np.testing.assert_allclose(faster[2::3], exact, rtol=1e-4, atol=1e-4)


def test_golden_vectors_are_those_of_the_new_model(tmp_path) -> None:
    model, _ = rerated(slow(), 44_100.0)
    model.write(tmp_path / "m.ssm")
    for case in model.golden():
        output = Session.open(tmp_path / "m.ssm").process(case.input)
        np.testing.assert_allclose(output, case.output, atol=case.relative_tolerance * case.scale)
    assert model.meta.provenance["golden_from"] == "reference"
    assert model.meta.provenance["rerated_from_hz"] == "100"


def test_there_and_back_is_the_model() -> None:
    bundle = slow()
    back, _ = rerated(rerated(bundle, 250.0)[0], 100.0)
    for before, after in zip(bundle.systems(), back.systems(), strict=True):
        np.testing.assert_allclose(after.lam, before.lam, rtol=1e-5)
        np.testing.assert_allclose(after.B, before.B, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("channels", [None, CHANNELS])
def test_modes_above_the_new_nyquist(channels) -> None:
    bundle = slow(fastest=0.9, channels=channels)
    with pytest.raises(
        InputError, match=r"block0\.ssm.*swings at .* Hz, and half the new rate is 25 Hz.*--drop"
    ):
        rerated(bundle, 50.0)
    model, layers = rerated(bundle, 50.0, aliasing="drop")
    for layer, before, after in zip(layers, bundle.systems(), model.systems(), strict=True):
        kept = np.abs(np.angle(before.lam)) < np.pi / 2
        assert layer["dropped"] == (~kept).sum()
        np.testing.assert_allclose(after.lam, before.lam[kept] ** 2, rtol=1e-5, atol=1e-7)
        assert 0 < layer["dropped_gain"]


def test_a_negative_real_pole_is_named() -> None:
    bundle = slow()
    tensors = dict(bundle.tensors)
    lam = tensors["block1.ssm.lam"].copy()
    lam[:, 1] = -0.5, 0.0
    tensors["block1.ssm.lam"] = lam
    negative = dataclasses.replace(bundle, tensors=tensors)
    with pytest.raises(InputError, match=r"block1\.ssm.*mode 1 .*real and negative"):
        rerated(negative, 200.0)
    model, layers = rerated(negative, 200.0, aliasing="drop")
    assert [layer["dropped"] for layer in layers] == [0, 1]
    assert model.systems()[1].order == 2


def test_ranges_stay_where_all_modes_do() -> None:
    bundle = calibrated(slow())
    assert rerated(bundle, 120.0)[0].calibrated
    fast = calibrated(slow(fastest=0.9))
    assert not rerated(fast, 50.0, aliasing="drop")[0].calibrated


@pytest.mark.parametrize(
    ("rate", "options", "message"),
    [
        (0.0, {}, "above zero"),
        (float("nan"), {}, "above zero"),
        (50.0, {"from_hz": 99.0}, "the bundle says 100 Hz"),
        (50.0, {"from_hz": -1.0}, "above zero"),
    ],
)
def test_wrong_rates_are_refused(rate: float, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rerated(slow(), rate, **options)


def test_a_model_without_a_rate_asks_for_it() -> None:
    bundle = slow(period_s=None)
    with pytest.raises(InputError, match="--from-rate"):
        rerated(bundle, 50.0)
    assert rerated(bundle, 50.0, from_hz=40.0)[0].meta.period_s == 1 / 50


def test_the_verb(tmp_path) -> None:
    slow().write(tmp_path / "net.ssm")
    done = CliRunner().invoke(cli.app, ["rerate", str(tmp_path / "net.ssm"), "--rate", "48000", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.output)
    assert facts["from_hz"] == 100
    assert Bundle.read(facts["written"]).meta.period_s == 1 / 48_000
    assert [layer["dropped"] for layer in facts["layers"]] == [0, 0]
