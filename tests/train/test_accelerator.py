import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmith.errors import InputError, SsmithError
from ssmith.recipe import TrainSettings
from ssmith.train.accelerator import open_fabric, reproducible, seed_step, shared_by

CPU = torch.device("cpu")


def draw(*arguments):
    seed_step(*arguments, CPU)
    return torch.rand(4).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**7), st.integers(0, 64))
def test_a_steps_random_numbers_depend_on_seed_step_and_rank(seed, step, rank):
    with reproducible(1, CPU):
        base = draw(seed, step, rank)
        assert draw(seed, step, rank) == base
        others = [draw(seed + 1, step, rank), draw(seed, step + 1, rank), draw(seed, step, rank + 1)]
    assert base not in others


def test_what_was_set_comes_back():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    with reproducible(threads + 1, CPU):
        assert torch.get_num_threads() == threads + 1
        torch.rand(1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_must_be_shared_evenly():
    with pytest.raises(InputError, match="write a multiple"):
        open_fabric(TrainSettings(batch=5, devices=2))


@pytest.mark.parametrize("changes", [{"strategy": "magic"}, {"accelerator": "mps"}])
def test_what_this_machine_cannot_do_is_named(changes):
    if changes.get("accelerator") == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    with pytest.raises(InputError, match="run anywhere"):
        open_fabric(TrainSettings(**changes))


class TwoRanks:
    """Fabric's part in sharing, as rank 1 of 2 sees it: it computes nothing and gets what rank 0 sent."""

    world_size, is_global_zero = 2, False

    def __init__(self, sent):
        self.sent = sent

    def broadcast(self, result, src):
        assert result is None and src == 0
        return self.sent


def test_the_other_rank_gets_the_result_or_the_same_error():
    assert shared_by(TwoRanks(7))(pytest.fail) == 7
    with pytest.raises(SsmithError, match="diverged"):
        shared_by(TwoRanks(SsmithError("diverged")))(pytest.fail)
