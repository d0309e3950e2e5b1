import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.evaluate import evaluate
from ssmith.train.loop import load_network, train
from ssmith.train.run import read_rows
from ssmith.train.truncate import OrderNotReachedError
from tests.train.tiny_training import data, recipe

PROGRAM = Path(__file__).with_name("tiny_training.py")
FILES = ("last.safetensors", "best.safetensors", "metrics.jsonl", "metrics.csv", "cuts.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    seen = []
    result = train(recipe(), data(), folder, threads=1, on_progress=seen.append)
    return folder, result, seen


def same(a, b):
    return [name for name in FILES if (a / name).read_bytes() != (b / name).read_bytes()]


def test_a_run_learns_cuts_and_writes_what_it_says(finished):
    folder, result, seen = finished
    rows = read_rows(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [*range(7, 60, 7), 60]
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert rows[0]["orders"] == [16, 16] and rows[-1]["orders"] == list(result.orders)
    assert max(result.orders) <= 6
    cuts = json.loads((folder / "cuts.json").read_text())
    assert {cut["step"] for cut in cuts} == {18, 27, 36}
    assert [(p.step, p.steps) for p in seen] == [(k, 60) for k in range(1, 61)]
    assert result.metric == "accuracy" and result.test_metric > 0.34  # three classes


def test_the_best_is_at_the_final_order_and_evaluates_to_its_figures(finished):
    folder, result, _ = finished
    best = Checkpoint.read(folder / "best.safetensors")
    rows = [row for row in read_rows(folder / "metrics.jsonl") if row["step"] > 36]
    assert best.orders == result.orders and best.step == result.best_step > 36
    assert result.validation_metric == max(row["validation_metric"] for row in rows)
    splits = data()
    network = load_network(recipe(), splits, best)
    assert (
        evaluate(recipe(), network, splits.validation, torch.device("cpu")).metric == result.validation_metric
    )
    assert evaluate(recipe(), network, splits.test, torch.device("cpu")).metric == result.test_metric


def test_a_finished_run_is_not_trained_again(finished):
    folder, result, _ = finished
    assert train(recipe(), data(), folder, threads=1, on_progress=pytest.fail) == result


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(finished, tmp_path):
    folder = finished[0]
    train(recipe(), data(), tmp_path / "a", threads=1)
    assert same(folder, tmp_path / "a") == []
    train(recipe(), data(), tmp_path / "b", threads=1, seed=5)
    assert "last.safetensors" in same(folder, tmp_path / "b")


def test_the_callers_random_state_and_threads_stay(tmp_path):
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(recipe(train={"steps": 2}, reduce={"order": None}), data(), tmp_path, threads=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_an_order_out_of_reach_is_an_error_and_recorded(tmp_path):
    strict = {"order": 1, "max_loss_increase": 0.0, "cuts": 1, "window": (0.5, 0.5)}
    with pytest.raises(OrderNotReachedError, match="allow_larger"):
        train(recipe(reduce=strict), data(), tmp_path, threads=1)
    cuts = json.loads((tmp_path / "cuts.json").read_text())
    assert any(not cut["accepted"] and "above the limit" in cut["reason"] for cut in cuts)


def test_regression_with_a_tolerance(tmp_path):
    changed = recipe(
        task="regression",
        model={"pooling": "none", "norm": "layer", "dropout": 0.0, "blocks": 1},
        reduce={"order": None, "tolerance": 1e-3},
        train={"ignore_first": 5, "steps": 80},
    )
    result = train(changed, data("regression"), tmp_path, threads=1)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert result.metric == "nrmse" and result.orders[0] < 16
    assert result.validation_metric == min(
        row["validation_metric"] for row in rows if row["orders"] == list(result.orders)
    )
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]


def test_a_diverging_loss_is_an_error_that_says_what_to_do(tmp_path):
    wild = recipe(train={"learning_rate": 1e30, "gradient_clip": 1e30}, reduce={"order": None})
    with pytest.raises(SsmithError, match="learning_rate"):
        train(wild, data(), tmp_path, threads=1)


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path):
    """RLIMIT_FSIZE below a checkpoint's size: one message, exit by InputError."""
    train(recipe(train={"steps": 5}, reduce={"order": None}), data(), tmp_path / "a", threads=1)
    limit = (tmp_path / "a" / "last.safetensors").stat().st_size - 1
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "from pathlib import Path; from ssmith.errors import InputError;"
        f"sys.path.insert(0, {str(PROGRAM.parent)!r}); import tiny_training as t\n"
        "try: t.train(t.recipe(), t.data(), Path(sys.argv[1]), threads=1)\n"
        "except InputError as error: print(error); sys.exit(2)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True)
    assert done.returncode == 2 and "cannot write" in done.stdout
    assert not list((tmp_path / "b").glob(".last*"))


def test_a_logger_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingToolError, match="pip install wandb"):
        train(recipe(train={"loggers": ["wandb"]}), data(), tmp_path, threads=1)


def test_tensorboard_gets_the_rows(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )

    changed = recipe(train={"loggers": ["tensorboard"], "steps": 14}, reduce={"order": None})
    train(changed, data(), tmp_path, threads=1)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [e.value for e in events.Scalars("validation_loss")] == pytest.approx(
        [row["validation_loss"] for row in rows]
    )
    assert [e.value for e in events.Scalars("orders/1")] == [16, 16]


def test_a_machine_without_the_accelerator_says_so(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match=r"train\.accelerator = 'cuda'"):
        train(recipe(train={"accelerator": "cuda"}), data(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["reduce.schedule=plateau", "reduce.order=none", "reduce.max_states=12"],
        ["reduce.schedule=gradual", "reduce.order=none", "reduce.max_loss=2", "reduce.refit=1"],
    ],
    ids=["order", "plateau, states", "gradual, loss"],
)
def test_two_processes_end_with_cut_networks_that_agree(tmp_path, settings):
    """DDP on the CPU (gloo): rank 0 decides, both re-wrap; training goes on and learns.

    A rank with another order or other weights would hang in, or be refused by, the next all-reduce.
    """
    arguments = [sys.executable, str(PROGRAM), str(tmp_path), "train.devices=2", "train.strategy=ddp"]
    done = subprocess.run(
        [*arguments, "train.accelerator=cpu", *settings], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert sum(rows[-1]["orders"]) < 32 if "max_loss" in str(settings) else sum(rows[-1]["orders"]) <= 12
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    weights = Checkpoint.read(tmp_path / "last.safetensors").model
    assert all(np.isfinite(v.numpy()).all() for v in weights.values())
    assert all(math.isfinite(row["validation_loss"]) for row in rows)
