"""The serial protocol: whole reports come through any cutting of the bytes, nothing else does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.devices.protocol import LONGEST_LINE, Listener, ProtocolError, line_of

SHA = "ab" * 32
WORD = st.integers(0, 2**32 - 1)


def report(outputs, counts, *, hz=180_000_000, reading=2, sha256=SHA):
    """The lines of a report; outputs (T, Y) as float32."""
    outputs = np.asarray(outputs, np.float32)
    bits = [f"{v:08x}" for v in outputs.reshape(-1).view(np.uint32).tolist()]
    steps = [f"{c:08x}" for c in counts]
    frames, width = outputs.shape
    numbers = (1, width, frames, len(steps), hz, reading, 4096, 512)
    lines = [line_of("begin", ["kws", "float32", sha256, *map(str, numbers)])]
    lines.append(line_of("text", ["board", "a", "board"]))
    for kind, values in (("out", bits), ("count", steps)):
        lines += [line_of(kind, [str(i), *values[i : i + 12]]) for i in range(0, len(values), 12)]
    return [*lines, line_of("end", [str(len(lines))])]


GOOD = report([[1.5, -2.0], [float("inf"), 0.0]], range(30))


def heard(data, cut=7):
    listener = Listener()
    for start in range(0, len(data), cut):
        listener.feed(data[start : start + cut])
    return listener


@given(
    outputs=st.lists(st.lists(WORD, min_size=2, max_size=2), min_size=1, max_size=9),
    counts=st.lists(WORD, min_size=1, max_size=40),
    cut=st.integers(1, 200),
    before=st.binary(max_size=80).filter(lambda data: b"@ssm" not in data),
)
def test_a_report_comes_through_in_any_pieces(outputs, counts, cut, before):
    values = np.array(outputs, np.uint32).view(np.float32)
    listener = heard(before + b"\n" + b"".join(report(values, counts)), cut)
    assert listener.state == "done"
    assert listener.report.outputs.tobytes() == values.tobytes()  # NaN and all
    assert listener.report.counts.tolist() == counts
    assert listener.report.texts == {"board": "a board"}
    assert (listener.report.header.hz, listener.report.header.sha256) == (180_000_000, SHA)


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(GOOD)), max_size=12))
def test_hostile_bytes_raise_nothing_else(pieces):
    listener = Listener()
    try:
        for piece in pieces:
            listener.feed(piece)
    except ProtocolError:
        return
    assert len(listener.noise) <= 200 and len(listener._rest) <= LONGEST_LINE


@given(at=st.integers(0, len(b"".join(GOOD)) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_another_report(at, bit):
    data = bytearray(b"".join(GOOD))
    data[at] ^= 1 << bit
    try:
        listener = heard(bytes(data))
    except ProtocolError:
        return
    if listener.report is not None:  # in a line's end
        assert listener.report.counts.tolist() == [*range(30)]
        assert listener.report.outputs[0].tolist() == [1.5, -2.0]
        assert listener.report.texts == {"board": "a board"}


@pytest.mark.parametrize("skipped", range(1, len(GOOD) - 1))
def test_a_lost_line_is_told(skipped):
    with pytest.raises(ProtocolError, match="missing"):
        heard(b"".join(line for k, line in enumerate(GOOD) if k != skipped))


@pytest.mark.parametrize("at", range(1, len(GOOD)))
def test_listening_may_begin_in_the_middle(at):
    listener = heard(b"".join(GOOD)[len(GOOD[0]) + at :] + b"".join(GOOD))
    assert listener.state == "done"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*GOOD[:4], b"boot v1.2\r\n", *GOOD], "started again after 12 of 30 steps"),
        ([GOOD[0], line_of("fail", ["5"])], "error -5 on the board"),
        ([GOOD[0], line_of("dance")], "unknown kind 'dance'"),
        ([line_of("begin", ["kws"])], "does not begin as version 1"),
        ([line_of("begin", ["kws", "float32", SHA, *["99999999"] * 8])], "announces 99999999 frames"),
        ([line_of("begin", ["kws", "float32", SHA, *["0"] * 8])], "announces 0 frames"),
        ([line_of("begin", ["kws", "float32", SHA, *["-1"] * 8])], "'-1' where a number"),
        ([GOOD[0], line_of("count", ["0", *["0" * 8] * 31])], "more than the 30"),
        ([GOOD[0], line_of("count", ["0", "xyz"])], "no hex"),
        ([GOOD[0], line_of("text", ["a" * LONGEST_LINE])], "damaged"),
        ([GOOD[0], b"@ssm1 out 0 00000000 0000\n"], "damaged"),
    ],
)
def test_what_is_wrong_is_said(lines, message):
    with pytest.raises(ProtocolError, match=message):
        heard(b"".join(lines))


def test_noise_is_kept_short_and_printable():
    listener = heard(b"\x1b[2Jrst:0x1 (POWERON)\xff\n" * 1000 + b"x" * 100_000, cut=999)
    assert listener.state == "waiting" and listener.heard.isascii() and len(listener.noise) == 200
