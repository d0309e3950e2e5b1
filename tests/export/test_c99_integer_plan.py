"""The list of kernel calls: weights packed as the kernels say, buffers that hold what is written to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.export import c99_integer_plan
from ssmith.export.c99_integer_plan import CODES, VECTORS, integer_plan, pack, padded
from ssmith.runtime.integer_lower import lower_integer
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import any_bundle


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_every_weight_lies_where_the_kernels_look(rows, columns, seed):
    """The address is that of ``ssm_dot_a16`` in ssm_integer.h."""
    weight = np.random.default_rng(seed).integers(-127, 128, (rows, columns)).astype(np.int8)
    packed, wide = pack(weight), padded(columns)
    assert packed.size == rows * wide
    o, k = np.indices((rows, wide))
    group = np.minimum(16, wide - k // 16 * 16)
    found = packed[16 * rows * (k // 16) + o * group + k % 16]
    assert np.array_equal(found[:, :columns], weight)
    assert not found[:, columns:].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((16, 8)))
def test_buffers_hold_what_is_read_and_written(seed, bits):
    bundle = any_bundle(seed, count=12)
    model = lower_integer(calibrated(bundle), bits)
    plan = integer_plan(model)
    room = plan.vectors | plan.codes
    width, states = {"in": len(bundle.meta.inputs)}, 0
    for k, call in enumerate(plan.calls):
        assert (call.source == "in") == (k == 0)  # later, q may stand where the input codes were
        assert width[call.source] == (1 if call.kernel == "embedding" else call.width_in)
        if call.kernel in ("add", "feedthrough"):
            assert width[call.target] == call.width_out  # they add to what is there
        width[call.target] = call.width_out
        assert call.width_out <= room[call.target]
        assert call.state_at == states or not call.state_words
        states += call.state_words
        assert len(call.numbers) <= 4
        assert len(call.arrays) <= 2
    assert states == plan.state_words == sum(s.length * s.bits // 32 for s in model.states)
    assert width[plan.result] == len(bundle.meta.outputs)
    assert plan.result in VECTORS
    for name in CODES:
        assert plan.code_bytes[name] >= plan.codes.get(name, 0) * bits // 8
        assert plan.code_bytes[name] % 4 == 0
    assert plan.code_bytes["q"] >= 2 * len(bundle.meta.inputs)


def test_sizes_beyond_the_engine_are_refused(monkeypatch):
    model = lower_integer(calibrated(random_bundle(np.random.default_rng(0))))
    monkeypatch.setattr(c99_integer_plan, "MAX_DIM", 4)
    with pytest.raises(InputError, match="'encoder' has a dimension of 5; the C engine takes up to 4"):
        integer_plan(model)
    table = lower_integer(calibrated(random_bundle(np.random.default_rng(0), vocabulary=30)))
    monkeypatch.setattr(c99_integer_plan, "MAX_DIM", 1 << 20)
    monkeypatch.setattr(c99_integer_plan, "MAX_ROWS", 29)
    with pytest.raises(InputError, match=r"'encoder' has a table of 30 rows.*reaches 29"):
        integer_plan(table)
