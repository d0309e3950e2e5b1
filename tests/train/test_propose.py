"""`ssmith new`: for each kind of data a recipe that loads, and the right things said about it."""

import json
import tomllib

import numpy as np
import pytest
from scipy.io import wavfile

from ssmith.errors import InputError
from ssmith.recipe import Recipe, ReduceSettings
from ssmith.train.data import load
from ssmith.train.flexjoint import episodes
from ssmith.train.loop import train
from ssmith.train.propose import propose


def proposed(path, recipe_folder=None):
    """The recipe, loaded from where the user would put it, its data, and what was said."""
    text, said = propose(path, recipe_folder)
    target = (recipe_folder or path.parent) / "recipe.toml"
    target.write_text(text)
    recipe = Recipe.load(target)
    for sentence in said:
        assert f"# - {sentence}" in text
    return recipe, load(recipe), " | ".join(said)


def csv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return path


def test_episodes_in_a_csv_file(tmp_path):
    rows = [
        (i, k / 1000, f"{u:.6f}", f"{y:.6f}")
        for i, (us, ys) in enumerate(episodes(0, 8, steps=(60, 90)))
        for k, (u, y) in enumerate(zip(us[:, 0], ys[:, 0], strict=True))
    ]
    path = csv(tmp_path / "My Arm-2.csv", "episode,time [s],torque [N m],rate [rad/s]", rows)
    recipe, splits, said = proposed(path)
    assert recipe.name == "my_arm_2" and recipe.task == "regression"
    assert recipe.data.sequence_id == "episode" and recipe.data.time == "time [s]"
    assert recipe.data.inputs == ("torque [N m]",) and recipe.data.targets == ("rate [rad/s]",)
    assert recipe.data.split_by == "sequence" and recipe.data.window is None
    assert splits.period_s == pytest.approx(1e-3) and splits.outputs[0].unit == "rad/s"
    assert "frames come at 1000 Hz" in said and "the last one" in said


def test_one_long_recording_is_split_along_time_into_windows(tmp_path):
    u = np.random.default_rng(0).standard_normal(3000)
    y = np.convolve(u, np.ones(30) / 30)[:3000]
    recipe, splits, said = proposed(csv(tmp_path / "log.csv", "u,y", zip(u, y, strict=True)))
    assert recipe.data.split_by == "time" and recipe.data.window == 150 and recipe.data.stride == 75
    assert recipe.train.ignore_first == 18
    assert max(splits.train.lengths) == 150 and len(splits.train) > 20
    assert "rate_hz" in said and "'y' is what to predict, by its name" in said


@pytest.mark.parametrize("hertz", [5, 20])
def test_modes_start_where_the_targets_move(tmp_path, hertz):
    t = np.arange(2000) / 1000
    y = np.sin(2 * np.pi * hertz * t)
    path = csv(tmp_path / "sine.csv", "t,u,y", zip(t, np.cos(t), y, strict=True))
    recipe, *_ = proposed(path)
    assert recipe.model.maximum_phase == pytest.approx(4 * 2 * np.pi * hertz / 1000, rel=0.25)


def test_labels_in_a_csv_file(tmp_path):
    rows = [(f"s{i}", k, np.sin(k * (1 + i % 2)), i % 2) for i in range(12) for k in range(20)]
    recipe, splits, said = proposed(csv(tmp_path / "d.csv", "recording,t,x,label", rows))
    assert recipe.task == "classification" and recipe.data.inputs == ("x",)
    assert [signal.name for signal in splits.outputs] == ["0", "1"]
    assert "one label a sequence" in said


def test_the_only_text_column_is_the_label_and_other_text_is_left_out(tmp_path):
    rows = [(i, np.cos(k), "up" if i % 2 else "down") for i in range(12) for k in range(20)]
    recipe, _, said = proposed(csv(tmp_path / "d.csv", "episode,x,motion", rows))
    assert recipe.task == "classification" and recipe.data.targets == ("motion",)
    assert "the only text" in said
    rows = [(k, k**2, "fine") for k in range(200)]
    recipe, _, said = proposed(csv(tmp_path / "d.csv", "x,y,remark", rows))
    assert recipe.task == "regression" and recipe.data.targets == ("y",)
    assert "left out: remark" in said


def test_a_slow_counter_within_sequences_is_a_measurement(tmp_path):
    rows = [(i, k, k // 10) for i in range(8) for k in range(40)]
    recipe, *_ = proposed(csv(tmp_path / "d.csv", "episode,x,y", rows))
    assert recipe.task == "regression"


def test_a_folder_of_csv_files_and_classes_in_sub_folders(tmp_path):
    for i in range(12):
        csv(tmp_path / "data" / f"kind{i % 3}" / f"{i}.csv", "a,b", [(k, k * i) for k in range(10)])
    recipe, splits, _ = proposed(tmp_path / "data")
    assert recipe.task == "classification" and recipe.data.inputs == ("a", "b")
    assert [signal.name for signal in splits.outputs] == ["kind0", "kind1", "kind2"]


def test_wav_folders(tmp_path):
    for i in range(9):
        path = tmp_path / "speech" / ("yes" if i % 2 else "no") / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, 8000, np.sin(np.arange(5000) * (1 + i % 2)).astype(np.float32))
    recipe, splits, said = proposed(tmp_path / "speech")
    assert recipe.task == "classification" and recipe.name == "speech"
    assert splits.period_s == 1 / 8000 and recipe.data.window == 250
    assert "every sample is one step" in said
    with pytest.raises(InputError, match="put each class into a sub-folder"):
        propose(tmp_path / "speech" / "yes")


def test_archives(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 30, 2))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(12) % 3, lengths=np.full(12, 25))
    recipe, splits, _ = proposed(tmp_path / "a.npz")
    assert recipe.task == "classification" and len(splits.inputs) == 2
    assert set(splits.train.lengths) == {25}
    np.savez(tmp_path / "b.npz", u=x, response=x.cumsum(1))
    recipe, splits, _ = proposed(tmp_path / "b.npz")
    assert recipe.task == "regression" and recipe.data.targets == ("response",)
    np.savez(tmp_path / "c.npz", u=x[0, :, 0], y=x[0, :, 1], t=np.arange(30) / 10)
    recipe, splits, _ = proposed(tmp_path / "c.npz")
    assert recipe.data.time == "t" and splits.period_s == pytest.approx(0.1)


def test_names_survive_as_toml_and_the_path_may_be_relative(tmp_path):
    name = 'quote " back\\slash tab é 日本 😀'
    rows = [(k, (-1) ** k) for k in range(400)]
    path = tmp_path / "data" / "d.csv"
    csv(path, f'"{name.replace(chr(34), chr(34) * 2)}",y', rows)
    (tmp_path / "recipes").mkdir()
    recipe, *_ = proposed(path, tmp_path / "recipes")
    assert recipe.data.inputs == (name,)
    text, _ = propose(path, tmp_path / "recipes")
    assert tomllib.loads(text)["data"]["path"] == "../data/d.csv"


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("t", [(0,), (1,)], "no column to predict"),
        ("t,y", [(0, 1), (1, 2)], "no column of numbers is left for the inputs"),
        ("u,y", [(k, 5) for k in range(100)], "target 'y' is 5 in every training frame"),
        ("t,u,y", [(k % 50, k, k) for k in range(100)], "has to grow within a sequence"),
        ("u,y", [(1, 2), (2, 3)], "too few to split along time"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(tmp_path, header, rows, message):
    with pytest.raises(InputError, match=message):
        propose(csv(tmp_path / "d.csv", header, rows))


def test_empty_archives_and_archives_without_inputs_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz")
    with pytest.raises(InputError, match="holds no arrays"):
        propose(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", y=np.zeros((3, 4)))
    with pytest.raises(InputError, match="no array is left for the inputs beside 'y'"):
        propose(tmp_path / "b.npz")


def test_a_target_that_hardly_moves_still_gives_radii_below_one(tmp_path):
    rows = [(k % 7, 1 / (1 + np.exp(-(k - 2500) / 900))) for k in range(5000)]
    recipe, *_ = proposed(csv(tmp_path / "slow.csv", "u,y", rows))
    assert recipe.model.minimum_radius < recipe.model.maximum_radius < 1 - 1e-5
    assert recipe.model.maximum_phase == 0.05


def takes_of_a_device(folder, count):
    """Pairs of WAV files of a saturating low-pass with a knob, its drive."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        u = rng.uniform(-0.9, 0.9, 5000).astype(np.float32)
        y = np.tanh((1 + i) * np.convolve(u, np.ones(8) / 8)[:5000]).astype(np.float32)
        wavfile.write(folder / f"{i}_input.wav", 44_100, u)
        wavfile.write(folder / f"{i}_target.wav", 44_100, y)
    rows = "\n".join(f"{i}_input.wav,{1 + i}" for i in range(count))
    (folder / "knobs.csv").write_text(f"file,drive\n{rows}\n")


@pytest.mark.parametrize("count", [1, 8])
def test_pairs_of_wav_files(tmp_path, count):
    takes_of_a_device(tmp_path / "fuzz", count)
    recipe, splits, said = proposed(tmp_path / "fuzz")
    assert recipe.task == "regression" and recipe.model.layer == "s4d" and recipe.train.loss == "esr"
    assert [signal.name for signal in splits.inputs] == ["input", "drive"]
    assert min(splits.train.lengths) >= recipe.train.chunk == (4096 if count == 8 else 2048)
    assert splits.period_s == pytest.approx(1 / 44_100)
    assert "knob" in said and "frames come at 44100 Hz" in said and "input and target" in said
    assert (recipe.data.split_by == "time") == (count == 1)


def test_what_is_proposed_for_pairs_trains(tmp_path):
    takes_of_a_device(tmp_path / "fuzz", 3)
    recipe, splits, _ = proposed(tmp_path / "fuzz")
    small = {"width": 4, "order": 4, "blocks": 2}
    short = {"steps": 12, "chunk": 512, "evaluate_every": 1}
    recipe = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update=small),
            "train": recipe.train.model_copy(update=short),
            "reduce": ReduceSettings(),
        }
    )
    result = train(recipe, splits, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert result.metric == "esr" and result.validation_metric < 0.9 * rows[0]["validation_metric"]
