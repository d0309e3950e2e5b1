"""NPZ archives: both layouts, and no Python objects."""

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.recipe import DataSettings
from ssmith.train.data_npz import read_npz


def read(path, arrays, task="regression", inputs=("x",), targets=("y",), label=None, **options):
    np.savez(path / "d.npz", **arrays)
    settings = DataSettings(path=path, inputs=inputs, targets=targets, **options)
    return read_npz(path / "d.npz", settings, task, label)


def test_padded_arrays_are_cut_to_their_lengths(tmp_path):
    x = np.arange(24.0).reshape(2, 4, 3)
    found = read(tmp_path, {"x": x, "y": x[..., 0], "lengths": [4, 2]})
    assert [item.input.tolist() for item in found.items] == [x[0].tolist(), x[1, :2].tolist()]
    assert found.items[1].target.tolist() == x[1, :2, :1].tolist()
    assert found.items[0].input.dtype == np.float32
    assert [s.name for s in found.inputs] == ["x_0", "x_1", "x_2"]
    assert [s.name for s in found.outputs] == ["y"]


def test_several_arrays_stand_side_by_side(tmp_path):
    a, b = np.ones((2, 5)), 2 * np.ones((2, 5, 2), np.int16)
    found = read(tmp_path, {"a": a, "b": b, "y": [0, 1]}, "classification", inputs=("b", "a"))
    assert found.items[0].input[0].tolist() == [2, 2, 1]
    assert [s.name for s in found.inputs] == ["b_0", "b_1", "a"]


@pytest.mark.parametrize("labels", [np.array([1, 0, 1]), np.array([1.0, 0.0, 1.0])])
def test_labels_may_be_numbers(tmp_path, labels):
    found = read(tmp_path, {"x": np.zeros((3, 4)), "y": labels}, "classification")
    assert [item.target for item in found.items] == [1, 0, 1]


def test_labels_may_be_text_or_the_folder(tmp_path):
    found = read(tmp_path, {"x": np.zeros((2, 4)), "y": ["on", "off"]}, "classification")
    assert [item.target for item in found.items] == ["on", "off"]
    found = read(tmp_path, {"x": np.zeros((2, 4))}, "classification", targets=(), label="on")
    assert [item.target for item in found.items] == ["on", "on"]


def test_flat_arrays_are_a_table(tmp_path):
    flat = {"x": np.arange(6.0), "y": -np.arange(6.0), "id": [0, 0, 0, 1, 1, 1], "t": [0, 1, 2] * 2}
    found = read(tmp_path, flat, sequence_id="id", time="t")
    assert [item.input[:, 0].tolist() for item in found.items] == [[0, 1, 2], [3, 4, 5]]
    assert found.period_s == 1
    assert len(read(tmp_path, flat).items) == 1


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": np.array([[1], [2, 3]], object), "y": [0, 1]}, {}, "Python objects .pickle.*run their code"),
        ({"x1": np.zeros((2, 3)), "y": np.zeros((2, 3))}, {}, "no array 'x'; did you mean 'x1'"),
        ({"x": np.array([["a"]]), "y": np.zeros((1, 1))}, {}, "'x' has type <U1; numbers are needed"),
        ({"x": np.zeros((2, 3, 4, 5)), "y": np.zeros((2, 3))}, {}, r"'x' has shape \(2, 3, 4, 5\)"),
        ({"x": np.zeros((2, 3)), "y": np.zeros((2, 4))}, {}, r"\(2, 3, 1\) but targets \(2, 4, 1\)"),
        (
            {"x": np.zeros((2, 3)), "y": np.zeros(3)},
            {"task": "classification"},
            "one label for each of the 2",
        ),
        ({"x": np.zeros((2, 3)), "y": np.zeros((2, 3)), "lengths": [3, 4]}, {}, "one value from 1 to 3"),
        ({"x": np.zeros((2, 3)), "y": np.zeros((2, 3)), "lengths": [3]}, {}, "'lengths' has shape"),
        ({"x": np.zeros(4), "y": np.zeros(5)}, {}, "'y' has 5 rows but 'x' has 4"),
        ({"x": np.zeros(4), "y": np.array(["a"] * 4)}, {}, "column 'y' holds 'a'"),
        ({"x": np.array([0, np.nan]), "y": np.zeros(2)}, {}, "column 'x' is nan"),
    ],
)
def test_archives_that_cannot_be_used_are_refused(tmp_path, arrays, options, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, arrays, **options)


def test_damaged_files_are_refused_at_any_length(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), y=np.zeros((2, 3)))
    whole = (tmp_path / "d.npz").read_bytes()
    settings = DataSettings(path=tmp_path, inputs=("x",), targets=("y",))
    for size in range(0, len(whole), 7):
        (tmp_path / "d.npz").write_bytes(whole[:size])
        with pytest.raises(InputError, match="cannot read"):
            read_npz(tmp_path / "d.npz", settings, "regression")
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "d.npz")
    with pytest.raises(InputError, match="cannot read"):
        read_npz(tmp_path / "d.npz", settings, "regression")
    with pytest.raises(InputError, match="No such file"):
        read_npz(tmp_path / "missing.npz", settings, "regression")
