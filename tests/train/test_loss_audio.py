"""ESR and STFT: their equations, padding, chunks, trainings that lower them."""

import math
import sys

import numpy as np
import pytest
import torch

from ssmith.errors import InputError, MissingToolError
from ssmith.recipe import TrainSettings
from ssmith.train import loss_audio
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.evaluate import evaluate, score
from ssmith.train.loop import load_network, train
from ssmith.train.loss_audio import Esr, audio_objective, check_windows, esr_loss, stft_loss
from ssmith.train.run import read_rows
from tests.train.tiny_training import data, recipe

LENGTHS = torch.tensor([60, 44])
WINDOWS = (16, 32)


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def signals():
    """Outputs and targets with NaN where padding is."""
    y, t = randn(2, 60, 2, seed=1), randn(2, 60, 2, seed=2)
    y[1, 44:] = t[1, 44:] = float("nan")
    return y, t


def filtered(x, a):
    return np.concatenate([x[:1], x[1:] - a * x[:-1]])


@pytest.mark.parametrize(("a", "skip"), [(0.95, 0), (0.0, 0), (0.95, 7)])
def test_esr_is_the_ratio_of_the_filtered_energies(a, skip):
    y, t = (x.double().numpy() for x in signals())
    errors, energies = np.zeros(2), np.zeros(2)
    for i, n in enumerate(LENGTHS.tolist()):
        errors += np.square(filtered((y - t)[i, :n], a)[skip:]).sum(0)
        energies += np.square(filtered(t[i, :n], a)[skip:]).sum(0)
    found = esr_loss(*signals(), LENGTHS, pre_emphasis=a, ignore_first=skip)
    assert float(found) == pytest.approx((errors / energies).mean(), rel=1e-5)


def test_esr_of_silence_is_one_and_of_a_perfect_output_zero():
    t = randn(2, 60, 1, seed=3)
    assert float(esr_loss(torch.zeros_like(t), t)) == pytest.approx(1, rel=1e-6)
    assert float(esr_loss(t, t)) == 0
    silent = esr_loss(0.1 + 0 * t, 0 * t, pre_emphasis=0.0)  # a silent target divides by SILENCE, not by zero
    assert float(silent) == pytest.approx(0.01 / loss_audio.SILENCE, rel=1e-5)


@pytest.mark.parametrize("name", ["esr", "stft", "esr+stft"])
def test_padding_changes_neither_loss_nor_gradient(name):
    loss = audio_objective(TrainSettings(loss=name, stft_windows=WINDOWS), 3)
    y, t = signals()
    y.requires_grad_()
    found = loss(y, t, LENGTHS)
    found.backward()
    assert math.isfinite(float(found.detach()))
    assert torch.isfinite(y.grad).all() and (y.grad[1, 44:] == 0).all()
    longer, more = (torch.nn.functional.pad(x.detach(), (0, 0, 0, 9), value=7.0) for x in (y, t))
    assert float(loss(longer, more, LENGTHS)) == pytest.approx(float(found.detach()), rel=1e-6)


def stft_by_hand(y, t):
    """Spectral convergence and log distance as published, Hann windows, centred; y, t (T,)."""
    total = 0.0
    for n in WINDOWS:
        window = np.hanning(n + 1)[:-1]
        magnitudes = []
        for x in (y, t):
            padded = np.pad(x, n // 2, mode="reflect")
            frames = [padded[k : k + n] * window for k in range(0, len(padded) - n + 1, n // 4)]
            magnitudes.append(np.sqrt(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-8)))
        a, b = magnitudes
        total += np.linalg.norm(b - a) / np.linalg.norm(b) + np.abs(np.log(a) - np.log(b)).mean()
    return total / len(WINDOWS)


def test_the_stft_loss_is_the_published_one_of_each_sequence():
    y, t = randn(2, 64, 1, seed=4), randn(2, 64, 1, seed=5)
    lengths = torch.tensor([64, 48])
    pairs = ((y[i, :n, 0].numpy(), t[i, :n, 0].numpy()) for i, n in enumerate(lengths.tolist()))
    expected = np.mean([stft_by_hand(*pair) for pair in pairs])
    assert float(stft_loss(y, t, lengths, windows=WINDOWS)) == pytest.approx(expected, rel=1e-4)


def test_what_is_shorter_than_a_window_does_not_count():
    y, t = randn(2, 64, 1, seed=4), randn(2, 64, 1, seed=5)
    alone = stft_loss(y[:1], t[:1], windows=WINDOWS)
    assert torch.equal(stft_loss(y, t, torch.tensor([64, 31]), windows=WINDOWS), alone)
    y.requires_grad_()
    nothing = stft_loss(y, t, torch.tensor([31, 31]), windows=WINDOWS)
    nothing.backward()
    assert float(nothing.detach()) == 0 and (y.grad == 0).all()
    with pytest.raises(InputError, match=r"31 steps.*stft_windows \(32\)"):
        check_windows(np.array([40, 20]), WINDOWS, 9)


def test_the_metric_gathers_batches_and_pieces():
    y, t = signals()
    whole, parts = Esr(ignore_first=2), Esr(ignore_first=2)
    whole.add(y, t, LENGTHS)
    for i, n in enumerate(LENGTHS.tolist()):
        parts.add(y[i : i + 1, :n], t[i : i + 1, :n])
    assert parts.value() == pytest.approx(whole.value(), rel=1e-12)
    assert math.isnan(Esr().value())
    silent = Esr()
    silent.add(torch.ones(1, 4, 1), torch.zeros(1, 4, 1))
    assert silent.value() == math.inf


@pytest.mark.parametrize("name", ["esr", "esr+stft"])
@pytest.mark.parametrize("chunk", [None, 20])
def test_a_training_lowers_it_and_reports_esr(tmp_path, name, chunk):
    made = recipe(
        task="regression",
        model={"pooling": "none", "norm": "layer", "dropout": 0.0, "blocks": 1},
        reduce={"order": 8},
        train={"loss": name, "stft_windows": (8, 16), "chunk": chunk, "steps": 60, "evaluate_every": 20},
    )
    splits = data("regression")
    result = train(made, splits, tmp_path, threads=1)
    assert result.metric == made.metric == "esr" and result.orders == (8,)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert rows[-1]["train_loss"] < 0.95 * rows[0]["train_loss"]
    network = load_network(made, splits, Checkpoint.read(tmp_path / "best.safetensors"))
    outputs = [network(torch.tensor(u)[None])[0].detach().numpy() for u in splits.test.inputs]
    assert score(made, outputs, splits.test) == pytest.approx(result.test_metric, rel=1e-4)
    assert evaluate(made, network, splits.test, torch.device("cpu")).metric == result.test_metric


def test_a_missing_library_is_named(monkeypatch):
    loss_audio._auraloss.cache_clear()
    monkeypatch.setitem(sys.modules, "auraloss.freq", None)
    with pytest.raises(MissingToolError, match="pip install auraloss"):
        stft_loss(torch.ones(1, 64, 1), torch.ones(1, 64, 1), windows=WINDOWS)
