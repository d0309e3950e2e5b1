"""Files as a user has them: folders, formats, WAV encodings; and what is refused."""

import numpy as np
import pytest
from scipy.io import wavfile

from ssmith.errors import InputError
from ssmith.recipe import DataSettings
from ssmith.train.data_files import find_files, read_files
from ssmith.train.data_wav import read_wav

CSV = "u,y\n1,2\n3,4\n"
TONE = np.sin(np.arange(200) / 5)


def settings(path, **options):
    return DataSettings(path=path, **options)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    else:
        wavfile.write(path, 8000, content)
    return path


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        ((TONE * 32767).astype(np.int16), 1e-4),
        ((TONE * 2147483647).astype(np.int32), 1e-6),
        ((TONE * 127 + 128).astype(np.uint8), 2e-2),
        (TONE.astype(np.float32), 1e-7),
        (TONE.astype(np.float64), 1e-7),
    ],
)
def test_every_wav_encoding_gives_the_same_signal(tmp_path, samples, tolerance):
    found = read_wav(write(tmp_path / "a.wav", samples), "tone")
    (item,) = found.items
    assert item.input.shape == (200, 1) and item.input.dtype == np.float32
    np.testing.assert_allclose(item.input[:, 0], TONE, atol=tolerance)
    assert found.period_s == 1 / 8000 and item.target == "tone"


def test_24_bit_wav(tmp_path):
    import wave

    values = (TONE * 8388607).astype(np.int32)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(16000)
        file.writeframes(b"".join(int(v).to_bytes(3, "little", signed=True) for v in values))
    (item,) = read_wav(tmp_path / "a.wav", "tone").items
    np.testing.assert_allclose(item.input[:, 0], TONE, atol=1e-6)


def test_full_scale_stays_within_one(tmp_path):
    (item,) = read_wav(write(tmp_path / "a.wav", np.array([-32768, 32767], np.int16)), "x").items
    assert item.input[0, 0] == -1 and 0.9999 < item.input[1, 0] < 1


def test_stereo_is_averaged_and_said(tmp_path):
    stereo = np.stack([TONE, -TONE / 2], axis=1).astype(np.float32)
    found = read_wav(write(tmp_path / "a.wav", stereo), "x")
    np.testing.assert_allclose(found.items[0].input[:, 0], TONE / 4, atol=1e-6)
    assert found.notes == ("WAV files with several channels were averaged to one",)


def test_a_folder_of_wav_files_has_its_classes_in_sub_folders(tmp_path):
    for name in ("yes/a.wav", "yes/b.WAV", "no/deep.wav", ".trash/c.wav"):
        write(tmp_path / name, TONE.astype(np.float32))
    found = read_files(settings(tmp_path), "classification")
    assert [item.target for item in found.items] == ["no", "yes", "yes"]
    assert found.inputs[0].minimum == -1 and found.outputs == ()


def test_a_folder_of_csv_files_is_a_sequence_each(tmp_path):
    write(tmp_path / "b.csv", "u,y\n5,6\n")
    write(tmp_path / "a.csv", CSV)
    found = read_files(settings(tmp_path, inputs=("u",), targets=("y",)), "regression")
    assert [item.input[:, 0].tolist() for item in found.items] == [[1, 3], [5]]
    assert [item.target[:, 0].tolist() for item in found.items] == [[2, 4], [6]]


def test_csv_classes_may_be_sub_folders(tmp_path):
    write(tmp_path / "up/a.csv", CSV)
    write(tmp_path / "down/a.csv", CSV)
    found = read_files(settings(tmp_path, inputs=("u", "y")), "classification")
    assert [item.target for item in found.items] == ["down", "up"]


def test_the_rate_comes_from_the_recipe_or_the_time(tmp_path):
    path = write(tmp_path / "a.csv", "t,u,y\n0,1,2\n0.5,1,3\n1,4,5\n")
    with_time = {"inputs": ("u",), "targets": ("y",), "time": "t"}
    assert read_files(settings(path, **with_time), "regression").period_s == 0.5
    assert read_files(settings(path, **with_time, rate_hz=2.001), "regression").period_s == 1 / 2.001
    without = settings(path, inputs=("u",), targets=("y",), rate_hz=100)
    assert read_files(without, "regression").period_s == 0.01
    with pytest.raises(InputError, match=r"data.rate_hz is 100, but the data come at 2 Hz"):
        read_files(settings(path, **with_time, rate_hz=100), "regression")


def test_find_files_tells_the_format_or_asks(tmp_path):
    assert find_files(write(tmp_path / "x" / "a.csv", CSV), "auto")[0] == "csv"
    odd = write(tmp_path / "x" / "log.txt", CSV)
    assert find_files(odd, "csv") == ("csv", [odd])
    with pytest.raises(InputError, match=r"suffix '.txt'; write data.format"):
        find_files(odd, "auto")
    write(tmp_path / "x" / "a.wav", TONE.astype(np.float32))
    with pytest.raises(InputError, match=r"several formats \(1 csv, 1 wav\)"):
        find_files(tmp_path / "x", "auto")
    assert find_files(tmp_path / "x", "wav")[0] == "wav"
    with pytest.raises(InputError, match="no NPZ file"):
        find_files(tmp_path / "x", "npz")
    with pytest.raises(InputError, match="does not exist"):
        find_files(tmp_path / "missing", "auto")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no CSV, NPZ or WAV file"):
        find_files(tmp_path / "empty", "auto")


def test_wav_files_that_cannot_be_used_are_refused(tmp_path):
    write(tmp_path / "a" / "1.wav", TONE.astype(np.float32))
    with pytest.raises(InputError, match="has no targets"):
        read_files(settings(tmp_path), "regression")
    with pytest.raises(InputError, match=r"data.inputs names columns, and WAV files have none"):
        read_files(settings(tmp_path, inputs=("u",)), "classification")
    wavfile.write(tmp_path / "a" / "2.wav", 16000, TONE.astype(np.float32))
    with pytest.raises(InputError, match=r"at 8000 Hz and at 16000 Hz.*resample"):
        read_files(settings(tmp_path), "classification")
    for content in (b"", b"RIFF", b"no wave at all, just text"):
        (tmp_path / "a" / "2.wav").write_bytes(content)
        with pytest.raises(InputError, match=r"cannot read .*2\.wav"):
            read_files(settings(tmp_path), "classification")
    wavfile.write(tmp_path / "a" / "2.wav", 8000, np.zeros(0, np.int16))
    with pytest.raises(InputError, match="no samples"):
        read_files(settings(tmp_path), "classification")


@pytest.mark.parametrize(
    ("options", "task", "message"),
    [
        ({}, "regression", "data.inputs is empty"),
        ({"inputs": ("u",)}, "regression", "data.targets is empty"),
        ({"inputs": ("u",), "targets": ("y", "u")}, "classification", "lists 2 columns"),
        ({"inputs": ("u",), "targets": ("u",)}, "regression", "'u' is in data.inputs and in data.targets"),
        ({"inputs": ("u", "u"), "targets": ("y",)}, "regression", "'u' is in data.inputs and in data.inputs"),
        (
            {"inputs": ("u",), "targets": ("y",), "time": "y"},
            "regression",
            "in data.targets and in data.time",
        ),
    ],
)
def test_names_that_make_no_sense_are_refused(tmp_path, options, task, message):
    path = write(tmp_path / "a.csv", CSV)
    with pytest.raises(InputError, match=message):
        read_files(settings(path, **options), task)


def test_files_that_disagree_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 5, 2)), y=np.zeros((3, 5)))
    np.savez(tmp_path / "b.npz", x=np.zeros((3, 5, 4)), y=np.zeros((3, 5)))
    with pytest.raises(InputError, match=r"b\.npz has 4 inputs and 1 outputs, but .*a\.npz has 2 and 1"):
        read_files(settings(tmp_path, inputs=("x",), targets=("y",)), "regression")
