"""A bundle comes back as it was written, and nothing else gets in."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from tests.bundles import random_bundle


def sample(seed: int = 0) -> Bundle:
    return random_bundle(np.random.default_rng(seed))


def reworked(bundle: Bundle, *, meta=None, tensors=None) -> bytes:
    """The bytes of a bundle whose metadata or tensors were edited by somebody else."""
    document = meta if meta is not None else bundle.meta.model_dump(mode="json")
    text = document if isinstance(document, str) else json.dumps(document)
    return save(dict(bundle.tensors) | (tensors or {}), {"ssmith": text})


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_round_trip_is_exact_and_deterministic(seed):
    bundle = sample(seed)
    again = Bundle.from_bytes(bundle.to_bytes())
    assert again.meta == bundle.meta
    assert list(again.tensors) == list(bundle.tensors)
    assert all(np.array_equal(again.tensors[k], bundle.tensors[k]) for k in bundle.tensors)
    assert again.to_bytes() == bundle.to_bytes()


def test_write_and_read(tmp_path):
    path = tmp_path / "model.ssm"
    sample().write(path)
    assert Bundle.read(path).sha256 == sample().sha256
    assert [p.name for p in tmp_path.iterdir()] == ["model.ssm"]


def test_tensors_are_read_only_copies():
    rng = np.random.default_rng(0)
    bundle = random_bundle(rng)
    with pytest.raises(ValueError, match="read-only"):
        next(iter(bundle.tensors.values()))[...] = 0


def test_every_truncation_of_the_header_is_refused():
    data = sample().to_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for length in range(header + 1):
        with pytest.raises(InputError):
            Bundle.from_bytes(data[:length])


@given(st.integers(0, 300), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_is_refused_or_harmless(position, value):
    """No exception but InputError may leave the reader, whatever the bytes."""
    data = bytearray(sample().to_bytes())
    data[position] = value
    with contextlib.suppress(InputError):
        Bundle.from_bytes(bytes(data))


def ssm_op(bundle: Bundle) -> dict[str, str]:
    return next(op for op in bundle.meta.model_dump(mode="json")["ops"] if op["op"] == "ssm")


@pytest.mark.parametrize("radius", [1.0, 1.5, np.nan, np.inf])
def test_an_unstable_pole_is_refused(radius):
    bundle = sample()
    name = ssm_op(bundle)["lam"]
    lam = np.array(bundle.tensors[name])
    lam[:, 0] = (radius, 0.0)
    with pytest.raises(InputError, match=r"\|λ\||NaN or infinity"):
        Bundle.from_bytes(reworked(bundle, tensors={name: lam}))


def test_nan_missing_extra_and_misshapen_tensors_are_refused():
    bundle = sample()
    name = ssm_op(bundle)["B"]
    good = bundle.tensors[name]
    for bad in (np.full_like(good, np.nan), good[:-1], good.astype(np.float64), good[:0]):
        with pytest.raises(InputError):
            Bundle.from_bytes(reworked(bundle, tensors={name: bad}))
    with pytest.raises(InputError, match="belongs to no op"):
        Bundle.from_bytes(reworked(bundle, tensors={"stowaway": good}))
    tensors = load(bundle.to_bytes())
    del tensors[name]
    with pytest.raises(InputError, match="does not hold"):
        Bundle.from_bytes(save(tensors, {"ssmith": json.dumps(bundle.meta.model_dump(mode="json"))}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"name": "Not A C name"}, "name"),
        ({"ops": []}, "ops"),
        ({"ops": [{"op": "pickle", "name": "x"}]}, "ops"),
        ({"period_s": -1.0}, "period_s"),
        ({"surprise": 1}, "surprise"),
        ({"period_s": math.inf}, "not JSON compliant"),
        ({"reduction": [{"loss_before": math.nan}]}, "not JSON compliant"),
    ],
)
def test_metadata_is_validated(change, message):
    bundle = sample()
    with pytest.raises(InputError, match=message):
        Bundle.from_bytes(reworked(bundle, meta=bundle.meta.model_dump(mode="json") | change))


@pytest.mark.parametrize("text", ["", "[]", "null", "{" * 5000, '{"version": 1}', "\x00"])
def test_metadata_that_is_no_document_is_refused(text):
    with pytest.raises(InputError):
        Bundle.from_bytes(reworked(sample(), meta=text))


def test_a_missing_or_foreign_file_gets_one_message(tmp_path: Path):
    with pytest.raises(InputError, match="cannot read bundle"):
        Bundle.read(tmp_path / "absent.ssm")
    foreign = tmp_path / "foreign.ssm"
    foreign.write_bytes(save({"weight": np.ones(3, np.float32)}))
    with pytest.raises(InputError, match="no ssmith bundle"):
        Bundle.read(foreign)


def test_systems_evaluate_to_the_planar_layer():
    bundle = sample(3)
    op = ssm_op(bundle)
    system = bundle.systems()[0]
    lam, b, c = (bundle.tensors[op[key]].astype(np.float64) for key in ("lam", "B", "C"))
    n, u = lam.shape[1], np.random.default_rng(0).standard_normal(b.shape[1])
    planar = c @ (b @ u)
    direct = (system.C @ (system.B @ u)).real
    np.testing.assert_allclose(direct, planar, rtol=1e-12)
    assert system.order == n
