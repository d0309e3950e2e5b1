import numpy as np
import pytest

from ssmith.ops import SSM, Affine, Gelu, Linear
from ssmith.train.convert import Draft
from ssmith.train.fold import fold
from tests.bundles import plain_run

WIDTH = 4


class Sketch:
    """A draft filled with random numbers, op by op."""

    def __init__(self, seed):
        self.rng, self.draft = np.random.default_rng(seed), Draft()

    def put(self, *shape):
        return self.draft.put(f"t{len(self.draft.tensors)}", self.rng.standard_normal(shape))

    def affine(self, shift=True):
        scale, offset = self.put(WIDTH), self.put(WIDTH)
        if not shift:
            self.draft.tensors[offset][:] = 0
        self.add(Affine, scale=scale, shift=offset)

    def linear(self, bias=True):
        self.add(Linear, weight=self.put(WIDTH, WIDTH), bias=self.put(WIDTH) if bias else None)

    def ssm(self, feedthrough=True):
        lam = self.draft.put(f"t{len(self.draft.tensors)}", self.rng.uniform(-0.6, 0.6, (2, 3)))
        names = {"B": self.put(6, WIDTH), "C": self.put(WIDTH, 6)}
        names["D"] = self.put(WIDTH) if feedthrough else None
        self.add(SSM, lam=lam, **names, state="state_0")

    def gelu(self):
        self.add(Gelu)

    def add(self, kind, **fields):
        self.draft.ops.append(kind(name=f"op{len(self.draft.ops)}", **fields))


CASES = {
    "affine linear": ["linear"],
    "affine linear(bias=False)": ["linear"],
    "linear affine": ["linear"],
    "linear(bias=False) affine": ["linear"],
    "linear(bias=False) affine(shift=False)": ["linear"],
    "affine affine affine": ["affine"],
    "affine affine linear affine affine": ["linear"],
    "affine(shift=False) ssm": ["ssm"],
    "affine(shift=False) ssm(feedthrough=False)": ["ssm"],
    "affine ssm": ["affine", "ssm"],
    "linear affine ssm affine linear": ["linear", "ssm", "linear"],
    "affine gelu affine": ["affine", "gelu", "affine"],
    "linear linear": ["linear", "linear"],
}


@pytest.mark.parametrize("text,expected", CASES.items(), ids=list(CASES))
def test_fewer_ops_and_the_same_function(text, expected):
    sketch = Sketch(len(text))
    for word in text.split():
        name, _, arguments = word.partition("(")
        pairs = (pair.split("=") for pair in arguments.removesuffix(")").split(",") if pair)
        getattr(sketch, name)(**{key: value == "True" for key, value in pairs})
    before = {name: array.copy() for name, array in sketch.draft.tensors.items()}
    folded = fold(sketch.draft)
    assert [op.op for op in folded.ops] == expected
    block = sketch.rng.standard_normal((20, WIDTH))
    wanted = plain_run(sketch.draft.ops, sketch.draft.tensors, block)
    np.testing.assert_allclose(plain_run(folded.ops, folded.tensors, block), wanted, rtol=1e-10, atol=1e-10)
    for name, array in sketch.draft.tensors.items():
        np.testing.assert_array_equal(array, before[name])


def test_an_identity_disappears_with_its_tensors():
    draft = Draft()
    draft.affine("first", np.ones(3), np.zeros(3))
    draft.affine("second", np.full(3, 2.0), np.zeros(3))
    folded = fold(draft)
    assert [op.name for op in folded.ops] == ["second"]
    assert set(folded.tensors) == {"second.scale", "second.shift"}
