"""Budgets in time and instructions: the search, and a real one on this machine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.errors import InputError, SsmithError
from ssmith.measured_budget import Budget, largest_within, states_within
from ssmith.reduction import Options, reduce_bundle
from tests.bundles import random_bundle


@given(low=st.integers(1, 5), span=st.integers(0, 300), limit=st.integers(-5, 400))
def test_the_search_finds_the_largest_with_few_measurements(low, span, limit):
    asked = []

    def cost(n):
        assert low <= n <= low + span
        asked.append(n)
        return float(n)

    found = largest_within(cost, low, low + span, limit)
    expected = None if limit < low else min(limit, low + span)
    assert found == expected
    assert len(asked) <= 2 + max(span, 1).bit_length()


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), orders=(9, 7), golden_frames=(20,))


def test_states_are_of_all_layers_and_nothing_is_measured_twice(bundle, monkeypatch):
    costs: list[Bundle] = []
    monkeypatch.setattr(Budget, "cost", lambda self, model: costs.append(model) or float(len(costs)))
    lines = []
    with pytest.raises(SsmithError, match="with one state a layer a step still costs"):
        states_within(Budget("latency", 0.5, "host"), bundle, lambda states: bundle, lines.append)
    assert len(costs) == len(lines) == 2


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_a_budget_in_time_on_this_machine(bundle, tmp_path):
    """Any machine computes this step in a second, and none in a picosecond."""
    bundle.write(tmp_path / "net.ssm")
    facts = reduce_bundle(tmp_path / "net.ssm", None, Options(max_latency_us=1e6, on="host"), quiet=True)
    assert Bundle.read(tmp_path / "net-reduced.ssm").states["state_0"] == (18,)
    assert facts["budget"] == "1e+06 µs a step on host"
    assert [row["states"] for row in facts["measured"]] == [16]
    with pytest.raises(SsmithError, match="one state a layer"):
        reduce_bundle(tmp_path / "net.ssm", tmp_path / "x.ssm", Options(max_latency_us=1e-6), quiet=True)
    assert not (tmp_path / "x.ssm").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_latency_us": 1.0, "order": 3}, "--order and --max-latency-us"),
        ({"on": "host", "order": 3}, "write --max-latency-us or --max-instructions too"),
    ],
)
def test_options_that_do_not_go_together(options, words):
    with pytest.raises(InputError, match=words):
        Options(**options)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (("latency", 0.0, "host"), "--max-latency-us 0: a step costs something"),
        (("instructions", 5.0, "host"), "it tells latency; write --max-latency-us or another --on"),
        (("latency", 5.0, "hots"), "no target 'hots'"),
    ],
)
def test_budgets_that_cannot_be_kept_are_refused(budget, words):
    with pytest.raises(InputError, match=words):
        Budget(*budget)
