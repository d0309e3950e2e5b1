"""Carried states: exact against whole sequences, constant memory, exact resume, states that follow a cut."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.recipe import ModelSettings
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import batch_indices
from ssmith.train.evaluate import batches_for_cuts, evaluate, streamed
from ssmith.train.loop import train
from ssmith.train.model import build_network
from ssmith.train.run import fresh_network
from ssmith.train.splits import Recording, Recordings, assemble
from ssmith.train.step_loss import StepLoss
from ssmith.train.tbptt import Lanes, check_recordings, pieces, resumed
from tests.train.tiny_training import recipe

CPU = torch.device("cpu")
CHUNK = 16
REGRESSION = {"task": "regression", "model": {"pooling": "none", "norm": "layer", "dropout": 0.0}}


def settings(**train_settings):
    return recipe(**REGRESSION, reduce={"order": None}, train={"batch": 3, "chunk": CHUNK} | train_settings)


def recordings(*lengths, held_out=40):
    """Noise, and the same through a slow filter."""
    rng = np.random.default_rng(1)
    items = []
    for index, steps in enumerate((*lengths, held_out, held_out)):
        u = rng.standard_normal((steps, 1)).astype(np.float32)
        y = np.zeros_like(u)
        for k in range(1, steps):
            y[k] = 0.95 * y[k - 1] + 0.2 * u[k]
        items.append(Recording(f"r{index}", u, y))
    everything = Recordings(tuple(items), (Signal(name="u"),), (Signal(name="y"),))
    return assemble(everything, [items[:-2], items[-2:-1], items[-1:]], "regression")


@pytest.mark.parametrize("layer", ["lru", "s4d", "s5"])
@pytest.mark.parametrize("pooling", ["none", "mean", "ema"])
def test_pieces_give_what_the_whole_gives_with_its_gradients(layer, pooling):
    """States are not detached here: outputs and every gradient are those of the whole sequence."""
    model = ModelSettings(layer=layer, width=4, order=8, blocks=2)
    network = build_network(model, 1, 2, pooling=pooling, seed=0).double()
    x = torch.randn(3, 50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradients(y):
        network.zero_grad()
        (y.square() * torch.linspace(0.5, 2, y.shape[1])[:, None]).mean().backward()
        return [p.grad.clone() for p in network.parameters()]

    whole = network(x)
    expected = gradients(whole)
    state, outputs = None, []
    for piece in x.split(16, 1):
        y, state = network.process(piece, state)
        outputs.append(y)
    found = torch.cat(outputs, 1)
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-7)
    for a, b in zip(gradients(found), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=1e-5 * float(b.abs().max() + 1e-12))
    torch.testing.assert_close(streamed(network.eval(), x, 7), whole.detach(), rtol=1e-6, atol=1e-7)


@given(
    chunks=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    batch=st.integers(1, 7),
    rest=st.integers(0, CHUNK - 1),
)
def test_a_lane_plays_every_recording_from_start_to_end(chunks, batch, rest):
    lengths = np.array([n * CHUNK + rest for n in chunks], np.int64)
    lanes = Lanes(lengths, seed=2, batch=batch, chunk=CHUNK)
    before = lanes.at(0)
    assert all(place.age == 0 for place in before)
    for step in range(1, 30):
        now = lanes.at(step)
        for a, b in zip(before, now, strict=True):
            over = a.first + CHUNK >= lengths[a.recording]
            if over:
                assert (b.first, b.age) == (0, 0)
            else:
                assert (b.recording, b.first, b.age) == (a.recording, a.first + CHUNK, a.age + CHUNK)
        before = now
    assert Lanes(lengths, seed=2, batch=batch, chunk=CHUNK).at(29) == before
    assert lanes.at(3) == Lanes(lengths, seed=2, batch=batch, chunk=CHUNK).at(3)  # back again


def test_lanes_of_one_recording_are_spread_over_it():
    lanes = Lanes(np.array([8 * CHUNK]), seed=0, batch=4, chunk=CHUNK)
    assert [place.first for place in lanes.at(0)] == [0, 2 * CHUNK, 4 * CHUNK, 6 * CHUNK]


def test_recordings_of_one_chunk_are_drawn_as_whole_sequences():
    lengths = np.full(5, CHUNK)
    for carry in (True, False):
        lanes = Lanes(lengths, seed=4, batch=3, chunk=CHUNK, carry=carry)
        for step in range(9):
            assert [p.recording for p in lanes.at(step)] == batch_indices(4, step, 5, 3).tolist()


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_one_chunk_a_recording_is_training_on_whole_sequences_to_the_last_bit(tmp_path, carry, norm):
    splits = recordings(*[CHUNK] * 6, held_out=CHUNK)
    model = {"pooling": "none", "norm": norm, "dropout": 0.1}
    steps = {"steps": 12, "batch": 4, "ignore_first": 3}
    whole = recipe(task="regression", model=model, reduce={"order": None}, train=steps)
    chunked = recipe(
        task="regression",
        model=model,
        reduce={"order": None},
        train=steps | {"chunk": CHUNK, "carry_state": carry},
    )
    for name, each in (("whole", whole), ("chunked", chunked)):
        train(each, splits, tmp_path / name, threads=1)
    a, b = (Checkpoint.read(tmp_path / name / "last.safetensors").model for name in ("whole", "chunked"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def step_losses(made, splits, steps, *, network=None):
    network = fresh_network(made, splits, 0) if network is None else network
    step_loss = StepLoss(made, splits.train, CPU, seed=0)
    return network, step_loss, [step_loss(network, network, step).item() for step in range(steps)]


def test_without_updates_the_chunks_losses_are_those_of_the_whole_recording():
    splits = recordings(5 * CHUNK + 3)
    made = settings(batch=1)
    network, step_loss, losses = step_losses(made, splits, 6)
    sizes = [CHUNK] * 5 + [3]
    whole = evaluate(recipe(**REGRESSION), network, splits.train, CPU).loss
    assert np.average(losses, weights=sizes) == pytest.approx(whole, rel=1e-5)
    again = step_loss(network, network, 6).item()  # the recording starts anew, from a zero state
    assert again == pytest.approx(losses[0], rel=1e-6)


def test_states_carry_no_gradient_and_reset_alone():
    state = {"state_0": torch.ones(3, 4, requires_grad=True)}
    state["state_0"].data[1] = float("nan")  # what padding may leave behind
    found = resumed(state, torch.tensor([CHUNK, 0, 2 * CHUNK]))
    assert not found["state_0"].requires_grad
    assert found["state_0"].tolist() == [[1] * 4, [0] * 4, [1] * 4]
    assert resumed(None, torch.zeros(3, dtype=torch.int64)) is None


def test_the_warm_up_counts_from_the_recordings_start():
    """ignore_first of one and a half chunks: nothing of the first, half of the second, all of the third."""
    splits = recordings(4 * CHUNK)
    made = settings(batch=1, ignore_first=CHUNK + CHUNK // 2)
    network, _, losses = step_losses(made, splits, 3)
    assert losses[0] == 0
    (x,), (y,) = splits.train.inputs, splits.train.targets
    error = (network(torch.tensor(x)[None])[0].detach().numpy() - y) / splits.output_std
    half = slice(CHUNK + CHUNK // 2, 2 * CHUNK)
    assert losses[1] == pytest.approx(np.square(error[half]).mean(), rel=1e-4)
    assert losses[2] == pytest.approx(np.square(error[2 * CHUNK : 3 * CHUNK]).mean(), rel=1e-4)


def saved_bytes(made, splits):
    """Most bytes that a step of training keeps for its backward pass, of the first four."""
    network, most = fresh_network(made, splits, 0), 0
    step_loss = StepLoss(made, splits.train, CPU, seed=0)
    for step in range(4):
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            step_loss(network, network, step)
        most = max(most, sum(kept.values()))
    return most


def largest_call(made, splits):
    """Most frames that reach the first layer at once during an evaluation."""
    network, seen = fresh_network(made, splits, 0), []
    hook = network.encoder.register_forward_hook(lambda m, args, y: seen.append(y.numel()))
    evaluate(made, network, splits.validation, CPU)
    hook.remove()
    return max(seen)


def test_memory_does_not_grow_with_the_recordings():
    short, long = (recordings(n * 8 * CHUNK, held_out=n * 8 * CHUNK) for n in (1, 8))
    assert saved_bytes(settings(), long) <= 1.02 * saved_bytes(settings(), short)
    assert largest_call(settings(), long) == largest_call(settings(), short)
    assert saved_bytes(settings(chunk=None), long) > 6 * saved_bytes(settings(chunk=None), short)
    assert largest_call(settings(chunk=None), long) == 8 * largest_call(settings(chunk=None), short)


def test_evaluation_in_chunks_is_that_of_the_whole():
    splits = recordings(3 * CHUNK, held_out=5 * CHUNK + 3)
    network = fresh_network(settings(), splits, 0)
    whole, parts = (
        evaluate(made, network, splits.validation, CPU) for made in (recipe(**REGRESSION), settings())
    )
    assert (parts.loss, parts.metric) == pytest.approx((whole.loss, whole.metric), rel=1e-5)


CUT = {"order": 6, "cuts": 2, "sequences": 6, "max_loss_increase": 10.0, "window": (0.3, 0.6)}


def cutting(layer="lru"):
    model = {**REGRESSION["model"], "layer": layer}
    steps = {"steps": 30, "batch": 3, "chunk": CHUNK, "checkpoint_every": 7, "evaluate_every": 10}
    return recipe(task="regression", model=model, reduce=CUT, train=steps)


@pytest.mark.parametrize("killed_at", [10, 17])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, killed_at):
    """Through cuts, in the middle of recordings."""
    splits = recordings(5 * CHUNK, 3 * CHUNK + 5, 7 * CHUNK)
    train(cutting(), splits, tmp_path / "a", threads=1)
    cuts = json.loads((tmp_path / "a" / "cuts.json").read_text())
    assert {cut["step"] for cut in cuts if cut["accepted"]} == {9, 18}

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == killed_at:
            raise Killed

    with pytest.raises(Killed):
        train(cutting(), splits, tmp_path / "b", threads=1, on_progress=kill)
    half = Checkpoint.read(tmp_path / "b" / "last.safetensors")
    assert half.step < killed_at and half.carried["state_0"].abs().sum() > 0
    train(cutting(), splits, tmp_path / "b", threads=1)
    for name in ("last.safetensors", "best.safetensors", "metrics.jsonl", "cuts.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("layer", ["lru", "s5"])
def test_states_follow_a_cut_that_loses_nothing(layer):
    """Half of the modes are never driven; after they are cut a recording goes on as if nothing had been."""
    from ssmith.reduce import balanced_truncation
    from ssmith.train.surgery import exchange

    splits = recordings(6 * CHUNK)
    made = settings(batch=1)
    made = made.model_copy(
        update={"model": made.model.model_copy(update={"layer": layer, "order": 8, "blocks": 1})}
    )
    network = fresh_network(made, splits, 0)
    (ssm,) = network.layers
    full = ssm.system()
    driven = full.B.copy()
    driven[4:] = 0
    ssm.load_system(replace(full, B=driven))
    _, _, expected = step_losses(made, splits, 4, network=network)
    _, step_loss, _ = step_losses(made, splits, 3, network=network)
    optimizer = torch.optim.AdamW(network.parameters())
    _, basis = exchange(ssm, balanced_truncation(ssm.system(), order=4), optimizer, "carry")
    step_loss.follow(0, basis.to_reduced)
    assert step_loss.carried["state_0"].shape == (1, 8)
    assert step_loss(network, network, 3).item() == pytest.approx(expected[3], rel=1e-3)
    step_loss.carried = {}
    assert step_loss(network, network, 3).item() != pytest.approx(expected[3], rel=1e-3)


def test_cuts_look_at_pieces_spread_over_all_recordings():
    splits = recordings(40 * CHUNK, 33 * CHUNK, 20 * CHUNK)
    found = pieces(splits.train, CHUNK, 4)
    assert len(found) == 4 and max(found.lengths) == 16 * CHUNK
    everything = pieces(splits.train, CHUNK, None)
    assert sum(everything.lengths) == sum(splits.train.lengths)
    assert [len(x) for x, _, _ in batches_for_cuts(settings(), splits.train, CPU, 4)] == [1] * 4


def test_a_recording_shorter_than_a_chunk_is_named():
    with pytest.raises(InputError, match=r"recording 1 has 9 steps.*train\.chunk = 9 or less"):
        check_recordings(np.array([40, 9, 30]), CHUNK)
    with pytest.raises(InputError, match="recording 0"):
        StepLoss(settings(), recordings(CHUNK - 1).train, CPU, seed=0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"chunk": 16}}, "a label belongs to a whole"),
        ({"train": {"loss": "esr"}}, "a classifier has 'auto'"),
        ({"task": "regression", "train": {"chunk": 16, "loss": "stft"}}, "stft_windows"),
        ({"task": "regression", "train": {"chunk": 16, "devices": 2}}, "devices = 1"),
        (
            {"task": "regression", "train": {"chunk": 16, "carry_state": False, "ignore_first": 16}},
            "leaves nothing",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(sections, message):
    with pytest.raises(InputError, match=message):
        recipe(**sections)
