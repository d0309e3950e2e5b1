"""CSV tables: numbers arrive unchanged, and whatever is wrong is found with its line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.recipe import DataSettings
from ssmith.train.data_table import class_label, read_csv, recordings, signal


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode(encoding))
    return read_csv(path)


def regression(tmp_path, text, **options):
    options = {"inputs": ("u",), "targets": ("y",), **options}
    return recordings(table(tmp_path, text), DataSettings(path=tmp_path, **options), "regression")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_arrive_unchanged(tmp_path_factory, values):
    found = table(tmp_path_factory.mktemp("csv"), "u\n" + "".join(f"{v!r}\n" for v in values) + "0\n")
    assert found.numbers("u").tolist() == [*values, 0.0]


@pytest.mark.parametrize(
    "text",
    [
        "u,y\n1,2\n3,4\n",
        "u;y\r\n1;2\r\n3;4\r\n",
        "u\ty\n1\t2\n3\t4",
        "\ufeffu,y\n1,2\n\n3,4\n\n",
        ' u , "y" \n 1, 2\n"3" ,4\n',
        "u,y,note\n1,2,first\n3,4,\n",
    ],
)
def test_the_dialects_of_csv(tmp_path, text):
    found = table(tmp_path, text)
    assert found.numbers("u").tolist() == [1, 3] and found.numbers("y").tolist() == [2, 4]


def test_sequences_keep_the_order_of_first_appearance_and_of_their_rows(tmp_path):
    text = "id,u,y\nb,1,10\na,2,20\nb,3,30\na,4,40\nc,5,50\n"
    found = regression(tmp_path, text, sequence_id="id")
    assert [item.name.rsplit(" ", 1)[1] for item in found.items] == ["b", "a", "c"]
    assert [item.input[:, 0].tolist() for item in found.items] == [[1, 3], [2, 4], [5]]
    assert [item.target[:, 0].tolist() for item in found.items] == [[10, 30], [20, 40], [50]]


def test_time_gives_the_period_and_starts_anew_in_each_sequence(tmp_path):
    rows = [f"{i},{k * 0.004 + i:.4f},1,{k}" for i in (0, 1) for k in range(10)]
    found = regression(tmp_path, "id,t,u,y\n" + "\n".join(rows), sequence_id="id", time="t")
    assert found.period_s == pytest.approx(0.004)


def test_labels_are_whole_numbers_or_text(tmp_path):
    assert [class_label(v) for v in ("3", "3.0", np.float64(3), " go ", "0.5", "nan")] == [
        3, 3, 3, "go", "0.5", "nan",
    ]  # fmt: skip
    options = DataSettings(path=tmp_path, inputs=("u",), targets=("c",), sequence_id="id")
    found = recordings(table(tmp_path, "id,u,c\n1,0,on\n1,1,on\n2,0,off\n"), options, "classification")
    assert [item.target for item in found.items] == ["on", "off"]
    assert found.outputs == ()


def test_units_are_taken_from_the_column_names():
    assert (signal("torque [N m]").name, signal("torque [N m]").unit) == ("torque", "N m")
    assert (signal("speed(rad/s)").name, signal("speed(rad/s)").unit) == ("speed", "rad/s")
    assert (signal("u").name, signal("u").unit) == ("u", "")
    assert signal("[x]").name == "[x]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a header row"),
        ("u,y\n", "is empty; a header row"),
        ("1,2\n3,4\n", "begins with numbers"),
        ("u,u\n1,2\n", "two columns named 'u'"),
        ("u,y\n1,2\n3\n", "line 3 has 1 values but the header names 2 columns"),
        ("u,y\n1,2\n3,off\n", "line 3, column 'y' holds 'off', which is no number"),
        ("u,y\n1,2\n\n,3\n", "line 4, column 'u' is empty"),
        ('u,y\n1,"2,5"\n', "decimal point, not a comma"),
        ("u,y\n1,2\nnan,3\n", "line 3, column 'u' is nan, not a finite float32"),
        ("u,y\n1,inf\n", "line 2, column 'y' is inf"),
        ("u,y\n1e300,2\n", "line 2, column 'u' is 1e300, not a finite float32"),
        ("U,y\n1,2\n", "no column 'u'; did you mean 'U'"),
        ("torque,y\n1,2\n", "no column 'u'; there are: 'torque', 'y'"),
        ('u,y\n"1,2\n', "line 2 has 1 values"),
    ],
)
def test_damaged_tables_are_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        regression(tmp_path, text)


def test_a_mistyped_column_is_corrected(tmp_path):
    with pytest.raises(InputError, match="no column 'torqe'; did you mean 'torque'"):
        regression(tmp_path, "torque,speed,y\n1,2,3\n", inputs=("torqe",))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((0, 1, 1, 2), "line 4: time column 't' goes from 1 to 1, but it has to grow"),
        ((0, 1, 0.5, 2), "line 4: time column 't' goes from 1 to 0.5"),
        ((0, 1, 2, 4, 5), "line 5: time column 't' advances by 2 s, elsewhere by 1 s"),
        ((0, 1, 2, 2.5, 3.5), "line 5: time column 't' advances by 0.5 s"),
        ((0,), "has a single row"),
    ],
)
def test_time_that_does_not_advance_evenly_is_refused(tmp_path, times, message):
    text = "t,u,y\n" + "".join(f"{t},1,{i}\n" for i, t in enumerate(times))
    with pytest.raises(InputError, match=message):
        regression(tmp_path, text, time="t")


def test_a_small_jitter_of_the_clock_is_fine(tmp_path):
    rng = np.random.default_rng(0)
    times = np.arange(50) * 0.01 + rng.uniform(-4e-4, 4e-4, 50)
    found = regression(tmp_path, "t,u,y\n" + "".join(f"{t:.6f},1,{t:.6f}\n" for t in times), time="t")
    assert found.period_s == pytest.approx(0.01, rel=2e-3)


def test_sequences_of_two_rates_are_refused(tmp_path):
    rows = [f"{i},{k * dt},1,{k}" for i, dt in ((0, 0.01), (1, 0.02)) for k in range(9)]
    with pytest.raises(InputError, match=r"at 50 Hz and at 100 Hz.*resample"):
        regression(tmp_path, "id,t,u,y\n" + "\n".join(rows), sequence_id="id", time="t")


def test_a_label_that_changes_is_refused(tmp_path):
    options = DataSettings(path=tmp_path, inputs=("u",), targets=("c",))
    with pytest.raises(InputError, match="label column 'c' changes from on to off"):
        recordings(table(tmp_path, "u,c\n1,on\n2,off\n"), options, "classification")


def test_files_that_are_not_there_or_no_text_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*x\.csv: No such file"):
        read_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match="not UTF-8"):
        table(tmp_path, "ü,y\n1,2\n", encoding="latin-1")
