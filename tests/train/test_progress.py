import pytest

from ssmith.train import progress as module
from ssmith.train.progress import Progress, show_progress


def at(step):
    return Progress(step, 10, (12, 7), 0.5, None)


def test_elsewhere_than_on_a_terminal_the_last_step_has_a_line(capsys):
    with show_progress("train") as show:
        for step in range(1, 11):
            show(at(step))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["train: step 10/10, order 12 7, loss 0.5, 0 s left"]


def test_lines_come_now_and_then_with_the_time_left(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with show_progress("train") as show:
        for step in range(1, 5):
            show(at(step))
    # Steps end at 10, 20, 30, 40 s; a line needs 15 s since the last one; 10 s a step.
    assert [line.rsplit(", ", 1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "80 s left",
        "60 s left",
    ]


@pytest.mark.parametrize("tty", [False, True])
def test_quiet_is_quiet(capsys, monkeypatch, tty):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: tty)
    with show_progress("train", quiet=True) as show:
        show(at(10))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("train") as show:
        show(at(10))
    out, err = capsys.readouterr()
    assert out == "" and "train" in err and "10/10" in err
