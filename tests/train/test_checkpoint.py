import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.recipe import ModelSettings, TrainSettings
from ssmith.train.checkpoint import Checkpoint, cloned, optimizer_entries, restore_optimizer
from ssmith.train.model import build_network, parameter_groups


def trained(steps=2):
    network = build_network(ModelSettings(width=3, order=4, norm="batch"), 1, 2, pooling="none", seed=0)
    optimizer = torch.optim.AdamW(parameter_groups(network, TrainSettings()))
    for step in range(steps):
        optimizer.zero_grad()
        x = torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(step))
        network(x).square().sum().backward()
        optimizer.step()
    return network, optimizer


def written(path):
    network, optimizer = trained()
    facts = {"best": {"metric": 0.1 + 0.2, "step": 1}, "none": None}
    entries = optimizer_entries(network, optimizer)
    Checkpoint(7, (4,), "abc", network.state_dict(), entries, facts).write(path)
    return network, optimizer, facts


def test_what_is_written_comes_back_bit_for_bit(tmp_path):
    network, optimizer, facts = written(tmp_path / "a")
    read = Checkpoint.read(tmp_path / "a")
    assert (read.step, read.orders, read.digest, read.facts) == (7, (4,), "abc", facts)
    other, fresh = trained(0)
    other.load_state_dict(read.model)
    restore_optimizer(other, fresh, read.optimizer)
    for p, q in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert optimizer.state[p].keys() == fresh.state[q].keys()
        assert all(torch.equal(optimizer.state[p][k], fresh.state[q][k]) for k in fresh.state[q])


def test_equal_content_gives_equal_bytes(tmp_path):
    written(tmp_path / "a")
    written(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_clones_do_not_follow_training():
    network, _ = trained(0)
    kept = cloned(network.state_dict())
    before = network.head.weight.detach().clone()
    with torch.no_grad():
        network.head.weight.add_(1)
    assert torch.equal(kept["head.weight"], before)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    written(folder / "whole")
    data = (folder / "whole").read_bytes()
    (folder / "part").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="no checkpoint that can be continued"):
        Checkpoint.read(folder / "part")


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    for name, metadata in (("foreign", None), ("old", {"ssmith": '{"version": 0}'})):
        save_file({"x": torch.zeros(1)}, str(tmp_path / name), metadata=metadata)
        with pytest.raises(InputError, match="no checkpoint"):
            Checkpoint.read(tmp_path / name)
    with pytest.raises(InputError, match="no checkpoint"):
        Checkpoint.read(tmp_path / "missing")
