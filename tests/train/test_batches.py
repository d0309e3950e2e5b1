from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ssmith.errors import InputError
from ssmith.train.batches import all_outputs, moved, parts, take


@dataclass(frozen=True)
class Named:
    x: torch.Tensor
    lengths: torch.Tensor | None = None
    name: str = "n"


X, Y, LENGTHS = torch.zeros(3, 5, 1), torch.zeros(3), torch.tensor([5, 2, 4])


@pytest.mark.parametrize(
    "batch,expected",
    [
        (X, (X, None, None)),
        ((X, Y), (X, Y, None)),
        ([X, Y, LENGTHS], (X, Y, LENGTHS)),
        (Named(X, LENGTHS), (X, None, LENGTHS)),
    ],
)
def test_a_batch_comes_in_several_forms(batch, expected):
    assert all(a is b for a, b in zip(parts(batch), expected, strict=True))


@pytest.mark.parametrize("batch", [{}, (), "x", (1, 2), (X, Y, LENGTHS, X)])
def test_others_are_refused(batch):
    with pytest.raises(InputError, match="yield x"):
        parts(batch)


def test_batches_are_taken_until_there_are_enough_sequences():
    class Endless:
        def __iter__(self):
            while True:
                yield X

    model = nn.Linear(1, 1)
    assert len(take(Endless(), 7, model)) == 3
    assert len(take([X, X], None, model)) == 2
    with pytest.raises(InputError, match="empty"):
        take([], 7, model)


def test_tensors_move_and_the_rest_stays():
    batch = (Named(X, LENGTHS), [Y, "text"], None)
    named, (y, text), nothing = moved(batch, torch.device("meta"))
    assert named.x.device.type == named.lengths.device.type == y.device.type == "meta"
    assert (named.name, text, nothing) == ("n", "text", None)


def test_outputs_behind_a_sequences_end_are_zero():
    class Echo(nn.Module):
        def forward(self, x, lengths=None):
            return x + 1

    y = all_outputs(Echo(), (X, None, LENGTHS))
    assert y.sum(1).flatten().tolist() == [5, 2, 4]
    assert bool((all_outputs(Echo(), X) == 1).all())
