"""Pairs of WAV files with knobs: what is read, what is pointed out, what is refused."""

import numpy as np
import pytest
from scipy.io import wavfile

from ssmith.errors import InputError
from ssmith.recipe import DataSettings, Recipe
from ssmith.train.data import load
from ssmith.train.data_files import read_files

NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, (400, 2)).astype(np.float32)


def write(path, samples=NOISE[:, 0], rate=44_100):
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, samples)


def pair(folder, prefix="", *, u=NOISE[:, 0], y=NOISE[:, 1], rate=44_100):
    """Write PREFIXinput.wav and PREFIXtarget.wav into a folder."""
    write(folder / f"{prefix}input.wav", u, rate)
    write(folder / f"{prefix}target.wav", y, rate)


def read(folder):
    return read_files(DataSettings(path=folder), "regression")


def test_pairs_by_folder_and_by_name(tmp_path):
    pair(tmp_path / "x", "a_")
    pair(tmp_path / "x", "b_")
    pair(tmp_path / "x" / "deep" / "er")
    pair(tmp_path / "y")
    found = read(tmp_path)
    assert len(found.items) == 4 and found.period_s == 1 / 44_100 and found.notes == ()
    assert [s.name for s in (*found.inputs, *found.outputs)] == ["input", "target"]
    for item in found.items:
        np.testing.assert_array_equal(item.input, NOISE[:, :1])
        np.testing.assert_array_equal(item.target, NOISE[:, 1:])


def test_channels_are_streams_and_knobs_are_constant_inputs(tmp_path):
    for i in range(4):
        pair(tmp_path, f"{i}_", u=NOISE, y=NOISE[:, ::-1])
    rows = "\n".join(f"{i}_input.wav,{-10 * i},{i / 2}" for i in (2, 0, 3, 1))
    (tmp_path / "knobs.csv").write_text(f"file,threshold [dB],mix\n{rows}\n")
    found = read(tmp_path)
    assert [s.name for s in found.inputs] == ["input_0", "input_1", "threshold", "mix"]
    assert [s.name for s in found.outputs] == ["target_0", "target_1"]
    assert found.inputs[2].unit == "dB"
    for i, item in enumerate(found.items):
        np.testing.assert_array_equal(item.input[:, :2], NOISE)
        np.testing.assert_array_equal(item.input[:, 2:], np.tile(np.float32([-10 * i, i / 2]), (400, 1)))


def test_a_recipe_reads_them(tmp_path):
    for i in range(4):
        pair(tmp_path, f"{i}_", u=NOISE[: 100 + i, 0], y=NOISE[: 100 + i, 1])
    data = {"path": str(tmp_path), "rate_hz": 44_100}
    splits = load(Recipe.parse({"name": "amp", "task": "regression", "data": data}, "test"))
    assert splits.period_s == pytest.approx(1 / 44_100)
    assert sorted(n for part in (splits.train, splits.validation, splits.test) for n in part.lengths) == [
        *range(100, 104)
    ]


def test_one_frame_more_is_cut_and_told(tmp_path):
    pair(tmp_path, "a_", y=NOISE[:399, 1])
    found = read(tmp_path)
    assert len(found.items[0].input) == len(found.items[0].target) == 399
    assert "a_input.wav is one frame longer" in found.notes[0]


def test_silence_and_clipping_are_told(tmp_path):
    loud = np.clip(2 * np.sin(np.arange(400) / 9), -1, 1).astype(np.float32)
    pair(tmp_path, "a_", u=loud, y=0 * loud)
    pair(tmp_path, "b_", u=(loud * 32767).astype(np.int16), y=loud / 2)
    touching = np.zeros(400, np.float32)
    touching[::2] = 1.0  # never twice in a row
    pair(tmp_path, "c_", u=touching)
    notes = read(tmp_path).notes
    assert [note.rsplit("/")[-1].split(":")[0] for note in notes] == [
        "a_input.wav is clipped",
        "a_target.wav is silent",
        "b_input.wav is clipped",
    ]


def test_what_is_no_set_of_pairs_is_refused(tmp_path):
    write(tmp_path / "one" / "take1.wav")
    with pytest.raises(InputError, match=r"none is called input\.wav"):
        read(tmp_path / "one")
    pair(tmp_path / "one", "a_")
    with pytest.raises(InputError, match=r"take1\.wav stands beside pairs"):
        read(tmp_path / "one")
    write(tmp_path / "two" / "a_input.wav")
    with pytest.raises(InputError, match=r"a_input\.wav has no target beside it; add .*a_target\.wav"):
        read(tmp_path / "two")
    write(tmp_path / "three" / "x" / "target.wav")
    with pytest.raises(InputError, match=r"has no input beside it; add .*x/input\.wav"):
        read(tmp_path / "three")


def test_rates_lengths_and_channels_have_to_agree(tmp_path):
    write(tmp_path / "a" / "input.wav")
    write(tmp_path / "a" / "target.wav", rate=48_000)
    with pytest.raises(InputError, match=r"input\.wav has 44100 Hz but .*target\.wav has 48000 Hz"):
        read(tmp_path)
    pair(tmp_path / "a")
    write(tmp_path / "a" / "target.wav", NOISE[:300, 1])
    with pytest.raises(InputError, match=r"400 frames but .*target\.wav has 300"):
        read(tmp_path)
    write(tmp_path / "a" / "target.wav", NOISE[:, 1])
    pair(tmp_path / "b", rate=48_000)
    with pytest.raises(InputError, match=r"a/input\.wav has 44100 Hz and .*b/input\.wav has 48000 Hz"):
        read(tmp_path)
    pair(tmp_path / "b", u=NOISE)
    with pytest.raises(InputError, match="2 and 1 channels, other than"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,drive\na_input.wav,1\n", "no rows for b_input.wav"),
        ("file,drive\na_input.wav,1\nb_input.wav,2\nb_input.wav,3\n", "2 rows for b_input.wav"),
        ("file,drive\na_input.wav,1\nb_input.wav,loud\n", "'loud', which is no number"),
        ("name,drive\na_input.wav,1\nb_input.wav,2\n", "no column 'file'"),
        ("file\na_input.wav\nb_input.wav\n", "no knob"),
    ],
)
def test_knobs_that_do_not_fit_are_refused(tmp_path, table, message):
    pair(tmp_path, "a_")
    pair(tmp_path, "b_")
    (tmp_path / "knobs.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        read(tmp_path)
