"""Several orders of one model in one bundle: found again as they were, equal tensors once, all checked."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.variants import pack, unpack
from tests.bundles import kept_modes, random_bundle

ORDERS = (6, 3, 2)


def several(seed: int = 0, orders=(6, 5)) -> Bundle:
    """A model of order 6 with variants of order 3 and 2."""
    main = random_bundle(np.random.default_rng(seed), orders=orders, golden_frames=(20, 7))
    return main.with_variants([kept_modes(main, order) for order in (2, 3)])


def document(data: bytes) -> dict:
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["ssmith"])


def rewritten(bundle: Bundle, change=lambda document, tensors: None) -> bytes:
    """The bundle's bytes after somebody else edited its document or tensors in place."""
    data = bundle.to_bytes()
    raw, tensors = document(data), load(data)
    change(raw, tensors)
    return save(tensors, {"ssmith": json.dumps(raw)})


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_every_order_comes_back_as_it_was(seed):
    bundle = several(seed)
    again = Bundle.from_bytes(bundle.to_bytes())
    assert again.orders == bundle.orders == ORDERS
    assert again.to_bytes() == bundle.to_bytes()
    main = random_bundle(np.random.default_rng(seed), orders=(6, 5), golden_frames=(20, 7))
    assert again.variant(6).to_bytes() == main.to_bytes()
    for order in (3, 2):
        alone, wanted = again.variant(order), kept_modes(main, order)
        assert alone.name == f"net_order{order}" and alone.orders == (order,)
        assert alone.meta == wanted.meta.model_copy(update={"name": alone.name})
        assert all(np.array_equal(alone.tensors[k], wanted.tensors[k]) for k in wanted.tensors)
        assert Bundle.from_bytes(alone.to_bytes()).sha256 == alone.sha256


def test_a_bundle_of_one_order_is_written_as_before():
    main = random_bundle(np.random.default_rng(0))
    raw = document(main.to_bytes())
    assert raw["version"] == 1 and "variants" not in raw
    assert several().with_variants([]).to_bytes() == several().variant(6).to_bytes()


def test_an_order_that_is_not_there_lists_those_that_are():
    with pytest.raises(InputError, match=r"no model of order 4; it holds order 6 and 3 and 2"):
        several().variant(4)


@pytest.mark.parametrize("order", ["6", True, 6.0, [6], None])
def test_an_order_that_is_no_whole_number(order):
    with pytest.raises(InputError, match="is no whole number"):
        several().variant(order)


def test_more_variants_than_a_file_may_hold():
    """What could be written but not be read again."""
    main = random_bundle(np.random.default_rng(3), orders=(70,), width=2, golden_frames=())
    smaller = [kept_modes(main, order) for order in range(1, 66)]
    assert len(Bundle.from_bytes(main.with_variants(smaller[:64]).to_bytes()).variants) == 64
    with pytest.raises(InputError, match=r"65 variants .*up to 64"):
        main.with_variants(smaller)


def test_what_a_variant_shares_is_stored_and_held_once():
    bundle = several()
    data = bundle.to_bytes()
    stored = load(data)
    added = [(a.shape, a.tobytes()) for name, a in stored.items() if name not in bundle.tensors]
    assert len(set(added)) == len(added)
    assert not set(added) & {(a.shape, a.tobytes()) for a in bundle.tensors.values()}
    wanted = {f"{b}.ssm.{t}" for b in ("block0", "block1") for t in ("lam", "b", "c")}
    wanted |= {f"golden.noise_{i}.output" for i in range(2)}  # streamed is equal to it
    assert set(stored) - set(bundle.tensors) == {f"order{o}.{name}" for o in (3, 2) for name in wanted}
    again = Bundle.from_bytes(data)
    assert again.variant(3).tensors["head.weight"] is again.tensors["head.weight"]


def test_a_layer_that_two_variants_share_is_stored_once():
    main = random_bundle(np.random.default_rng(1), orders=(6, 4))
    small = kept_modes(main, 3)
    mixed = dict(kept_modes(main, 5).tensors)
    mixed |= {name: small.tensors[name] for name in mixed if name.startswith("block1.")}
    bundle = main.with_variants([small, Bundle(main.meta, mixed)])
    stored = load(bundle.to_bytes())
    assert "order5.block1.ssm.b" in stored and "order3.block1.ssm.b" not in stored
    again = Bundle.from_bytes(bundle.to_bytes()).variant(3)
    np.testing.assert_array_equal(again.tensors["block1.ssm.b"], small.tensors["block1.ssm.b"])


def test_other_models_are_no_variants():
    main = several().variant(6)
    three = kept_modes(main, 3)
    other = random_bundle(np.random.default_rng(3), orders=(2, 2), name="other")
    wide = random_bundle(np.random.default_rng(3), orders=(2, 2), inputs=4)
    slow = random_bundle(np.random.default_rng(3), orders=(2, 2), period_s=0.5)
    stateless = random_bundle(np.random.default_rng(3), orders=())
    long = random_bundle(np.random.default_rng(3), name="n" * 40)
    for model, variants, message in (
        (main, [other], "is named 'other'"),
        (main, [wide], "another inputs"),
        (main, [slow], "another period_s"),
        (main, [three, three], "two models of order 3"),
        (main, [kept_modes(main, 6)], "two models of order 6"),
        (main, [three.with_variants([kept_modes(main, 2)])], "cannot hold variants"),
        (stateless, [stateless], "no SSM layer"),
        (long, [kept_modes(long, 2)], "more than 40 letters"),
    ):
        with pytest.raises(InputError, match=message):
            model.with_variants(variants)


def drop_tensor(raw, tensors):
    del tensors["order3.block0.ssm.b"]


def stowaway(raw, tensors):
    tensors["order9.block0.ssm.b"] = np.ones(3, np.float32)


def unstable(raw, tensors):
    lam = tensors["order3.block0.ssm.lam"]
    tensors["order3.block0.ssm.lam"] = np.full_like(lam, 1.0)


def not_finite(raw, tensors):
    tensors["order2.block1.ssm.c"] = np.full_like(tensors["order2.block1.ssm.c"], np.nan)


def double(raw, tensors):
    tensors["order2.block1.ssm.c"] = tensors["order2.block1.ssm.c"].astype(np.float64)


def misshapen(raw, tensors):
    raw["variants"][0]["tensors"]["head.bias"] = "block0.norm.scale"


def nowhere(raw, tensors):
    raw["variants"][0]["tensors"]["head.bias"] = "absent"


def unread(raw, tensors):
    raw["variants"][0]["tensors"]["surprise"] = "head.bias"


def wrong_golden(raw, tensors):
    raw["variants"][0]["tensors"]["golden.noise_0.output"] = "golden.noise_0.input"


def no_variants(raw, tensors):
    raw["variants"] = []


def missing_variants(raw, tensors):
    del raw["variants"]


def version_one(raw, tensors):
    raw["version"] = 1


def extra_key(raw, tensors):
    raw["variants"][0]["surprise"] = 1


def no_ops(raw, tensors):
    raw["variants"][1]["ops"] = []


def twice(raw, tensors):
    raw["variants"].append(raw["variants"][0])


def many(raw, tensors):
    raw["variants"] *= 40


def no_list(raw, tensors):
    raw["variants"] = {"3": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_tensor, "not in the file"),
        (stowaway, "belongs to no op"),
        (unstable, "pole with"),
        (not_finite, "NaN or infinity"),
        (double, "float64"),
        (misshapen, "bias has shape"),
        (nowhere, "'absent' is named but not in the file"),
        (unread, "none of its ops reads it"),
        (wrong_golden, "golden case 'noise_0' has shapes"),
        (no_variants, "variants"),
        (missing_variants, "variants"),
        (version_one, "variants"),
        (extra_key, "surprise"),
        (no_ops, "variants.1.ops"),
        (twice, "two models of order 3"),
        (many, "variants"),
        (no_list, "variants"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hostile_variant_is_refused(change, message):
    bundle = several()
    assert Bundle.from_bytes(rewritten(bundle)).to_bytes() == bundle.to_bytes()
    with pytest.raises(InputError, match=message):
        Bundle.from_bytes(rewritten(bundle, change))


@given(st.integers(0, 20_000), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_flipped_byte_is_refused_or_harmless(position, value):
    data = bytearray(SEVERAL_BYTES)
    data[position % len(data)] = value
    with contextlib.suppress(InputError):
        Bundle.from_bytes(bytes(data))


SEVERAL_BYTES = several().to_bytes()


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_packing_loses_nothing_and_repeats_nothing_new(models):
    """Whatever the names and contents: every model gets its own tensors back, new ones stand once."""
    arrays = [{k: np.full(2, v, np.float32) for k, v in model.items()} for model in models]
    main, variants = arrays[0], arrays[1:]
    stored, renamed = pack(main, {f"order{i}": v for i, v in enumerate(variants)})
    added = [stored[name].tobytes() for name in stored if name not in main]
    assert len(set(added)) == len(added)
    assert not set(added) & {a.tobytes() for a in main.values()}
    first, others = unpack(stored, main, [(set(v), r) for v, r in zip(variants, renamed, strict=True)])
    for wanted, got in zip([main, *variants], [first, *others], strict=True):
        assert set(got) == set(wanted)
        assert all(np.array_equal(got[k], wanted[k]) for k in wanted)
