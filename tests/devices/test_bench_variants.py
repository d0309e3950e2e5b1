"""Variants at other orders are measured beside the model: natively, each named by its order."""

from __future__ import annotations

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.devices.everywhere import bench_everywhere, variant_folders
from ssmith.devices.fleet import Board
from ssmith.devices.gate import judge, parse
from ssmith.lowering import lower
from ssmith.recipe import ExportSettings
from tests.bundles import random_bundle
from tests.devices.conftest import SHORT

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants") / "artifacts"
    rng = np.random.default_rng(3)
    main, small = (random_bundle(rng, name="m", orders=orders) for orders in ((6, 6), (2, 2)))
    settings = ExportSettings(formats=("c99",), precisions=("float32",))
    lower(main.with_variants([small]), folder, settings)
    return folder


def test_orders_are_rows_of_the_first_target_only(exported):
    (exported / "order_notes").mkdir(exist_ok=True)
    assert [order for order, _ in variant_folders(exported)] == [2]
    boards = {"host": Board(target="host"), "again": Board(target="host")}
    seen = []
    rows = bench_everywhere(exported, boards, backends=["native"], plan=SHORT, on_row=seen.append)
    assert [(row.target, row.order) for row in rows] == [("host", None), ("host", 2), ("again", None)]
    assert {(row.target, row.label) for row in seen} == {(row.target, row.label) for row in rows}
    assert rows[1].label == "native order 2" and rows[1].timing is not None
    assert rows[1].flash_bytes < rows[0].flash_bytes


def test_the_gate_compares_an_order_with_itself(exported):
    rows = bench_everywhere(exported, {"host": Board(target="host")}, backends=["native"], plan=SHORT)
    assert judge(rows, rows, [parse("flash>+0")]).held == 2
    swapped = [row.model_copy(update={"order": None, "artifact": None}) for row in rows[1:]]
    assert len(judge(rows, swapped, [parse("flash>+0")]).lost) == 2
