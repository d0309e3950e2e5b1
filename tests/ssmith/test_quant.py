"""What a bundle knows of its integers: the version it makes, read back, refused when it cannot be."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import PREFIX, SCALES, product_weights
from ssmith.runtime.calibrate import calibrate
from tests.bundles import kept_modes, random_bundle
from tests.calibrated import with_scales

NAME = f"{PREFIX}block0.ssm.input"
STEP = f"{SCALES}block0.ssm.B.step"


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


def planned(bundle: Bundle) -> Bundle:
    plan = dict.fromkeys(product_weights(bundle.meta.ops), "int8-a16")
    return Bundle(bundle.meta.model_copy(update={"plan": plan}), bundle.tensors, bundle.variants)


def test_scales_and_a_plan_make_version_4_and_nothing_else_does():
    base = calibrated(plain())
    several = base.with_variants([with_scales(calibrated(kept_modes(plain(), 2)))])
    for bundle in (with_scales(base), planned(base), several):
        again = Bundle.from_bytes(bundle.to_bytes())
        assert document(bundle.to_bytes())["version"] == 4
        assert again.to_bytes() == bundle.to_bytes()
        assert (again.meta.plan, again.meta.rounding) == (bundle.meta.plan, bundle.meta.rounding)
    assert several.variant(2).meta.rounding is not None and several.variant(4).meta.rounding is None
    assert not {"plan", "rounding"} & set(document(base.to_bytes()))


def test_scales_are_written_and_read_bit_for_bit():
    bundle = with_scales(calibrated(plain()), bits=16, steps=300)
    again = Bundle.from_bytes(bundle.to_bytes())
    assert again.meta.rounding.activation_bits == 16 and again.meta.rounding.steps == 300
    names = [name for name in bundle.tensors if name.startswith(SCALES)]
    assert len(names) == 3 * len(product_weights(bundle.meta.ops))
    assert all(np.array_equal(again.tensors[name], bundle.tensors[name]) for name in names)


def test_without_ranges_there_is_no_plan_and_no_scale_either():
    bundle = planned(with_scales(calibrated(plain())))
    assert bundle.without_calibration().to_bytes() == plain().to_bytes()


def test_new_ranges_leave_plan_and_scales_alone():
    bundle = planned(with_scales(calibrated(plain())))
    again = calibrate(bundle, [np.ones((9, 3), np.float32)])
    assert (again.meta.plan, again.meta.rounding) == (bundle.meta.plan, bundle.meta.rounding)
    assert np.array_equal(again.tensors[STEP], bundle.tensors[STEP])
    assert not np.array_equal(again.tensors[NAME], bundle.tensors[NAME])


def edited(change, bundle=None) -> bytes:
    bundle = calibrated(plain()) if bundle is None else bundle
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


def renamed(tensors, meta):
    meta["plan"]["block9.ssm.B"] = meta["plan"].pop("block0.ssm.B")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, _: tensors.pop(STEP), "is named but not in the file"),
        (changed(STEP, np.ones(4)), r"shape \(4,\), expected \(5,\)"),
        (changed(f"{SCALES}block0.ssm.B.row", np.ones(5)), r"shape \(5,\), expected \(8,\)"),
        (changed(f"{SCALES}head.offset", np.ones((5, 1))), r"shape \(5, 1\), expected \(5,\)"),
        (changed(STEP, [1, 1, 0, 1, 1]), "scale 2 is 0.0; codes are divided by it"),
        (changed(STEP, [1, 1, 1, 1, -1]), "scale 4 is -1.0"),
        (changed(STEP, [1, 1, 1, 1, np.nan]), "NaN or infinity"),
        (changed(f"{SCALES}block0.ssm.D.step", np.ones(5)), "belongs to no op"),
        (lambda _, meta: meta.pop("rounding"), "belongs to no op"),
        (lambda _, meta: meta["rounding"].update(activation_bits=12), r"rounding\.activation_bits"),
        (lambda _, meta: meta["rounding"].update(steps=0), r"rounding\.steps"),
        (lambda _, meta: meta["rounding"].update(mood=1), r"rounding\.mood"),
        (lambda _, meta: meta.update(version=3), "it has a plan, which format version 3 does not know"),
        (lambda _, meta: meta["plan"].update(head="int4"), r"plan\.head"),
        (lambda _, meta: meta["plan"].pop("head"), "the plan says nothing of the product 'head'"),
        (renamed, "the plan names the product 'block9.ssm.B', which there is not"),
    ],
)
def test_scales_and_plans_that_cannot_be_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        Bundle.from_bytes(edited(change, planned(with_scales(calibrated(plain())))))


def test_scales_need_ranges():
    def bare(tensors, meta):
        meta.pop("calibration")
        for name in [name for name in tensors if name.startswith(PREFIX)]:
            tensors.pop(name)

    with pytest.raises(InputError, match="scales or a plan for int8 but no calibration"):
        Bundle.from_bytes(edited(bare, with_scales(calibrated(plain()))))
