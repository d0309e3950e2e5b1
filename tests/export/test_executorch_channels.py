"""Layers of independent channels as ExecuTorch programs: they pass, in one piece, and store no zeros."""

import numpy as np
import pytest

from ssmith.runtime.oracle import Plan
from ssmith.runtime.parity import check_file
from tests.bundles import random_bundle
from tests.calibrated import calibrated, planned

pytest.importorskip("torch")
pytest.importorskip("executorch")

pytestmark = pytest.mark.slow  # a program takes seconds to lower

EQUAL = ((3,) * 8,)
RAGGED = ((2, 0, 3, 1, 2, 1, 1, 2),)


def small(channels):
    rng = np.random.default_rng(0)
    bundle = random_bundle(rng, channels=channels, width=8, norm="affine", golden_frames=(12, 6), pool="none")
    return planned(calibrated(bundle))


@pytest.mark.parametrize(
    ("channels", "form", "precision"),
    [
        (EQUAL, "step", "float32"),
        (EQUAL, "sequence", "int8"),
        (EQUAL, "step", "int8-dynamic"),
        (EQUAL, "step", "mixed"),
        (RAGGED, "step", "int8-dynamic"),
    ],
)
def test_a_program_passes(channels, form, precision, tmp_path):
    from ssmith.export.executorch import to_program
    from ssmith.files import seal

    program = to_program(small(channels), form, precision)
    if form == "step":
        assert (program.delegates, program.outside) == (1, {})
    path = tmp_path / f"net.{form}.pte"
    path.write_bytes(seal(program.data))
    rows = check_file(small(channels), path, Plan(drift=100, rounded_drift=100))
    assert [row for row in rows if not row.passed] == []


def test_a_program_is_smaller_than_one_matrix_with_zeros():
    from ssmith.export.executorch import to_program

    bundle = random_bundle(np.random.default_rng(0), channels=((4,) * 32,), width=32, golden_frames=())
    ssm = next(op for op in bundle.meta.ops if op.op == "ssm")
    assert len(to_program(bundle, "step").data) < bundle.tensors[ssm.B].nbytes
