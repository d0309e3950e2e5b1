"""Programs that a second process makes: the same bytes, shared out so that both end together."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ssmith.export.executorch import forms_of, to_program
from ssmith.export.executorch_beside import made_beside, shares
from tests.bundles import random_bundle

BOTH = [(form, p) for p in ("float32", "int8") for form in forms_of(p)]


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), width=3, orders=(2,), golden_frames=(4,))


def test_every_program_has_one_maker():
    here, beside = shares(BOTH)
    assert sorted(here + beside) == sorted(BOTH)
    assert beside and ("step", "float32") in here  # whose test cases are made from the open program


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_few_programs_are_made_sooner_here(precision):
    few = [(form, precision) for form in forms_of(precision)]
    assert shares(few) == (few, [])


def test_the_bytes_are_the_same(bundle):
    pytest.importorskip("executorch")
    piece = ("portable", "float32")
    with made_beside(bundle, [piece]) as found:
        here = to_program(bundle, *piece).data
        assert found() == {piece: here}


def test_a_process_that_fails_gives_nothing(bundle, monkeypatch):
    with made_beside(bundle, [("step", "int8")]) as found:  # a bundle without ranges
        assert found() == {}
    monkeypatch.setattr(sys, "executable", "false")
    with made_beside(bundle, [("step", "float32")]) as found:
        assert found() == {}
