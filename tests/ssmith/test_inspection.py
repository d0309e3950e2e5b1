"""What `inspect` tells of a bundle with several orders."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from ssmith.inspection import describe, show
from tests.bundles import kept_modes, random_bundle


def told(facts) -> str:
    text = io.StringIO()
    show(facts, Console(file=text, width=200))
    return text.getvalue()


def test_every_order_is_described(tmp_path):
    path = tmp_path / "net.ssm"
    main = random_bundle(np.random.default_rng(0), orders=(6, 4))
    main.with_variants([kept_modes(main, 5), kept_modes(main, 3)]).write(path)
    facts = describe(path)
    assert facts["orders"] == [6, 5, 3]
    assert facts["bytes"] == path.stat().st_size
    for variant, order in zip(facts["variants"], (5, 3), strict=True):
        (tmp_path / "alone").mkdir(exist_ok=True)
        kept_modes(main, order).write(tmp_path / "alone" / "net.ssm")
        alone = describe(tmp_path / "alone")
        for key in ("order", "weights", "ops", "states", "golden"):
            assert variant[key] == alone[key]
    text = told(facts)
    assert "also at order 5: layers of 5, 4 states" in text
    assert "also at order 3: layers of 3, 3 states" in text


def test_one_order_mentions_no_other(tmp_path):
    random_bundle(np.random.default_rng(0), orders=(6, 4)).write(tmp_path / "net.ssm")
    facts = describe(tmp_path)
    assert (facts["orders"], facts["variants"]) == ([6], [])
    assert "also at order" not in told(facts)


def test_channels_are_told_and_their_zeros_are_no_weights(tmp_path):
    random_bundle(np.random.default_rng(0), channels=[(2, 0, 1, 1, 3)]).write(tmp_path / "net.ssm")
    facts = describe(tmp_path / "net.ssm")
    row = next(row for row in facts["ops"] if row["op"] == "ssm")
    assert row["channels"] == [2, 0, 1, 1, 3]
    assert row["weights"] == 7 * 2 * 3 + 5
    assert "7 in 5 channels" in told(facts)
