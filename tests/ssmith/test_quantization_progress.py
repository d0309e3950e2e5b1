"""Progress goes to stderr, with the time left, and not too often."""

from __future__ import annotations

from ssmith import quantization_progress
from ssmith.quantization_progress import show_progress


def test_lines_say_how_long_it_will_take(capsys, monkeypatch):
    now = iter([0.0, 5.0, 20.0, 21.0])
    monkeypatch.setattr(quantization_progress.time, "monotonic", lambda: next(now))
    with show_progress("search") as show:
        for done in (1, 2, 3):
            show(done, 10)
    out, err = capsys.readouterr()
    assert out == "" and err == "search: 2 of 10, 80 s left\n"


def test_quiet_is_quiet(capsys):
    with show_progress("search", quiet=True) as show:
        show(1, 2)
    assert capsys.readouterr() == ("", "")
