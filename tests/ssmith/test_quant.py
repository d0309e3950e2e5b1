"""A calibration in a bundle: written as version 3, read back, refused when it cannot be."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import PREFIX
from ssmith.runtime.calibrate import calibrate
from tests.bundles import kept_modes, random_bundle

NAME = f"{PREFIX}block0.ssm.input"


def plain() -> Bundle:
    return random_bundle(np.random.default_rng(0), orders=(4, 4))


def calibrated(bundle: Bundle) -> Bundle:
    return calibrate(bundle, [np.random.default_rng(1).standard_normal((50, 3)).astype(np.float32)])


def document(data: bytes) -> dict:
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["ssmith"])


def test_only_a_calibration_makes_version_3():
    several = plain().with_variants([kept_modes(plain(), 2)])
    versions = [document(b.to_bytes())["version"] for b in (plain(), several, calibrated(plain()))]
    assert versions == [1, 2, 3]
    assert "calibration" not in document(plain().to_bytes())
    assert document(calibrated(several).to_bytes())["version"] == 3


@pytest.mark.parametrize("several", [False, True])
def test_round_trip(several):
    bundle = plain().with_variants([kept_modes(plain(), 2)]) if several else plain()
    bundle = calibrated(bundle)
    again = Bundle.from_bytes(bundle.to_bytes())
    assert again.to_bytes() == bundle.to_bytes()
    assert again.meta.calibration == bundle.meta.calibration
    assert [v.calibrated for v in again.variants] == [True] * len(bundle.variants)
    assert not again.without_calibration().calibrated


def test_one_variant_alone_may_be_calibrated():
    variant = calibrated(kept_modes(plain(), 2))
    again = Bundle.from_bytes(plain().with_variants([variant]).to_bytes())
    assert not again.calibrated and again.variant(2).calibrated


def edited(change) -> bytes:
    bundle = calibrated(plain())
    tensors, meta = dict(bundle.tensors), document(bundle.to_bytes())
    change(tensors, meta)
    return save(tensors, {"ssmith": json.dumps(meta)})


def changed(name, array):
    return lambda tensors, _: tensors.update({name: np.asarray(array, np.float32)})


def upside_down(tensors, _):
    tensors[NAME] = tensors[NAME][[1, 0, 2]]


def lopsided(tensors, _):
    skewed = tensors[f"{NAME}.covariance"].copy()
    skewed[0, 1] += 1
    tensors[f"{NAME}.covariance"] = skewed


def negative(tensors, _):
    tensors[f"{NAME}.covariance"] = -tensors[f"{NAME}.covariance"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, _: tensors.pop(NAME), "is named but not in the file"),
        (lambda tensors, _: tensors.pop(f"{PREFIX}input"), "is named but not in the file"),
        (changed(NAME, np.zeros((3, 2))), r"shape \(3, 2\), expected \(3, 5\)"),
        (changed(f"{NAME}.covariance", np.zeros((5, 4))), r"shape \(5, 4\), expected \(5, 5\)"),
        (changed(f"{PREFIX}input", np.zeros((3, 1))), r"shape \(3, 1\), expected \(3, 3\)"),
        (upside_down, "which cannot be; calibrate the bundle again"),
        (lopsided, "is no covariance"),
        (negative, "is no covariance"),
        (changed(f"{PREFIX}block9.ssm.input", np.zeros((3, 5))), "belongs to no op"),
        (lambda _, meta: meta.update(version=1), "format version 1 does not know"),
        (lambda _, meta: meta.pop("calibration"), "belongs to no op"),
        (lambda _, meta: meta["calibration"].update(frames=0), r"calibration\.frames"),
    ],
)
def test_what_cannot_be_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        Bundle.from_bytes(edited(change))
