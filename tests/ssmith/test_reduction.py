"""`ssmith reduce`: options that contradict each other cost nothing; what is written is what was asked for."""

import json
import shutil

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.cost import model_cost
from ssmith.errors import InputError
from ssmith.reduction import Options, parse_orders, reduce_bundle
from ssmith.train import posthoc, sweep
from tests.bundles import random_bundle
from tests.killing import run_verb
from tests.train import finished


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.ssm"
    finished.bundle().write(path)
    return path


def data():
    return str(finished.recipe_path())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"no goal given; .*--order STATES.*--max-bytes.*--orders.*--sweep"),
        ({"order": 4, "tolerance": 0.1}, "--order and --tolerance given"),
        ({"bound": 0.1, "budgets": {"bytes": 9}}, "--bound and --max-bytes given"),
        ({"budgets": {"bytes": 9, "macs": 9}}, "--max-bytes and --max-macs given"),
        ({"orders": (4, 2), "order": 3}, "--orders and --order: each says how far"),
        ({"sweep": True, "order": 3}, "--sweep and --order"),
        ({"sweep": True, "fine_tune": 3}, "--sweep and --fine-tune: .* trains nothing"),
        ({"order": 3, "criterion": "best"}, "--criterion best: write one of task-aware, empirical"),
        ({"order": 3, "multiple": 0}, "--multiple 0"),
        ({"order": 3, "fine_tune": 0}, "--fine-tune 0"),
    ],
)
def test_options_that_contradict_each_other(options, words):
    with pytest.raises(InputError, match=words):
        Options(**options)


def test_orders_are_numbers_with_commas():
    assert parse_orders("32, 16,8") == (32, 16, 8)
    assert parse_orders(None) == ()
    for text in ("", "8,", "8;4", "0", "-3", "x", "²", "٣", "9" * 5000):
        with pytest.raises(InputError, match=r"--orders .*write whole numbers"):
            parse_orders(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_loss": 0.1}, "--max-loss needs sequences"),
        ({"order": 4, "fine_tune": 5}, "--fine-tune needs sequences"),
        ({"order": 4, "distill": True}, "--distill"),
        ({"order": 99}, "order 99: the layers have 16 and 12 states"),
        ({"budgets": {"bytes": 10}}, "a budget of 10 bytes is below"),
        ({"tolerance": 2.0}, "tolerance 2"),
    ],
)
def test_requests_that_cannot_be_met_write_nothing(model, options, words):
    before = sorted(model.parent.iterdir()), model.read_bytes()
    with pytest.raises(InputError, match=words):
        reduce_bundle(model, None, Options(**options), quiet=True)
    assert (sorted(model.parent.iterdir()), model.read_bytes()) == before


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("small", {"order": 4}, r"end it in \.ssm"),
        ("small.json", {"order": 4}, r"end it in \.ssm"),
        ("model.ssm/small.ssm", {"order": 4}, "cannot write"),
        ("folder.ssm", {"order": 4}, "cannot write"),
        ("model.ssm/curve.json", {"sweep": True}, "cannot write"),
        ("folder.json", {"sweep": True}, "cannot write"),
        ("curve.json", {"sweep": True}, r"cannot write .*curve\.svg"),
    ],
)
def test_a_file_that_cannot_be_written_costs_no_work(model, monkeypatch, name, options, words):
    for folder in ("folder.ssm", "folder.json", "curve.svg"):
        (model.parent / folder).mkdir()
    for module in (posthoc, sweep):  # where the work would start
        monkeypatch.setattr(module, "prepare", None)
    with pytest.raises(InputError, match=words):
        reduce_bundle(model, model.parent / name, Options(**options), quiet=True)


@pytest.mark.parametrize("options", [{"order": 1}, {"orders": (2, 1)}, {"tolerance": 0.1}, {"sweep": True}])
def test_a_model_without_states_is_refused(tmp_path, options):
    path = tmp_path / "stateless.ssm"
    random_bundle(np.random.default_rng(0), orders=()).write(path)
    with pytest.raises(InputError, match="no SSM layer"):
        reduce_bundle(path, None, Options(**options), quiet=True)
    assert list(tmp_path.iterdir()) == [path]


def test_a_bundle_may_be_replaced_by_its_reduction(model):
    before = model.stat().st_size
    facts = reduce_bundle(model, model, Options(orders=(4, 2)), quiet=True)
    assert facts["bytes"] == f"{before} -> {model.stat().st_size}" != f"{before} -> {before}"
    assert Bundle.read(model).orders == (4, 2)


def test_a_budget_from_the_options_to_the_file(model):
    facts = reduce_bundle(model, None, Options(budgets={"bytes": 2500}, data=data()), quiet=True)
    path = model.with_name("model-reduced.ssm")
    assert facts["bundle"] == str(path)
    written = Bundle.read(path)
    assert model_cost("bytes", written.meta.ops, written.tensors) == facts["weight_bytes"]["after"] <= 2500
    assert [cut["layer"] for cut in facts["cuts"]] == ["blocks.0.ssm", "blocks.1.ssm"]
    assert facts["loss"]["after"] > 0
    json.dumps(facts, allow_nan=False)


def test_several_orders_from_the_options_to_the_file(model, tmp_path):
    target = tmp_path / "several.ssm"
    facts = reduce_bundle(model, target, Options(orders=(8, 4), data=data()), quiet=True)
    assert Bundle.read(target).orders == (8, 4)
    assert [one["orders"]["after"] for one in facts["models"]] == [[8, 8], [4, 4]]


def test_a_sweep_writes_a_document_and_a_drawing(model, tmp_path):
    facts = reduce_bundle(model, None, Options(sweep=True, orders=(4, 1), data=data()), quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model-sweep.json",
        "model-sweep.svg",
        "model.ssm",
    ]
    assert [point["order"] for point in facts["points"]] == [16, 4, 1]
    assert "accuracy" in (tmp_path / "model-sweep.svg").read_text()
    with pytest.raises(InputError, match=r"end it in \.json"):
        reduce_bundle(model, tmp_path / "curve.svg", Options(sweep=True), quiet=True)


def test_a_killed_sweep_goes_on(model, tmp_path):
    """SIGKILL in the fifth cut, which is the third point's first; the rerun ends with the same bytes."""
    command = ["reduce", str(model), "--sweep", "--data", data(), "--orders", "8,4,2", "--json"]
    assert run_verb([*command, "--out", str(tmp_path / "whole.json")]).code == 0
    killed = [*command, "--out", str(tmp_path / "killed.json")]
    assert run_verb(killed, "inside a cut", 5).killed
    left = json.loads((tmp_path / "killed.json").read_text())
    assert [point["order"] for point in left["points"]] == [16, 8, 4]
    assert run_verb(killed).code == 0
    for suffix in (".json", ".svg"):
        ours, theirs = ((tmp_path / name).with_suffix(suffix) for name in ("killed", "whole"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_an_interrupt_while_fine_tuning_leaves_no_file(model, monkeypatch):
    from ssmith.train import finetune

    real = finetune.seed_step

    def interrupted(seed, step, *rest):
        if step == 3:
            raise KeyboardInterrupt
        return real(seed, step, *rest)

    monkeypatch.setattr(finetune, "seed_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reduce_bundle(model, None, Options(order=4, fine_tune=10, data=data()), quiet=True)
    assert [path.name for path in model.parent.iterdir()] == ["model.ssm"]


def test_progress_goes_to_stderr_and_quiet_is_silent(model, capsys):
    options = Options(order=4, fine_tune=2, data=data())
    reduce_bundle(model, None, options, quiet=True)
    assert capsys.readouterr() == ("", "")
    reduce_bundle(model, None, options)
    out, err = capsys.readouterr()
    assert out == ""
    assert "4 4 states: outputs change by" in err
    assert "fine-tuning: step 2/2" in err


def test_equal_calls_write_equal_bytes(model, tmp_path):
    written = []
    for name in ("a.ssm", "b.ssm"):
        shutil.copy(model, tmp_path / "m.ssm")
        options = Options(tolerance=0.01, fine_tune=5, distill=True, data=data())
        reduce_bundle(tmp_path / "m.ssm", tmp_path / name, options, quiet=True)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_a_damaged_bundle_is_refused(tmp_path):
    (tmp_path / "m.ssm").write_bytes(np.random.default_rng(0).bytes(100))
    with pytest.raises(InputError, match="not a usable bundle"):
        reduce_bundle(tmp_path / "m.ssm", None, Options(order=1))


def test_the_other_orders_of_a_bundle_are_left_out_aloud(tmp_path):
    several = tmp_path / "several.ssm"
    bundle = random_bundle(np.random.default_rng(2), orders=(6,))
    smaller = tmp_path / "smaller.ssm"
    bundle.write(several)
    reduce_bundle(several, smaller, Options(order=3), quiet=True)
    bundle.with_variants([Bundle.read(smaller)]).write(several)
    facts = reduce_bundle(several, smaller, Options(order=2), quiet=True)
    assert facts["left_out"].startswith("the models of order 3 ")
    assert Bundle.read(smaller).orders == (2,)
