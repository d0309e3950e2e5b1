"""The float kernels: the same bits at every level of vector unit, in both contracts, in any size."""

import platform

import numpy as np
import pytest

from ssmith import compiler
from ssmith.export import c99
from ssmith.runtime import native
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.op_lists import frames

pytestmark = [
    pytest.mark.usefixtures("library_cache"),
    pytest.mark.skipif(compiler.find_compiler() is None, reason="no C compiler"),
]
PLAIN = ("-std=c99", "-O3", "-ffp-contract=off")
X86 = platform.machine() in ("x86_64", "AMD64")
BASELINE = [(*PLAIN, f"-DSSM_LEVEL_LIMIT={level}") for level in range(3)]  # no -march: all three are in it
ALONE = [(*PLAIN, "-DSSM_NO_DISPATCH"), (*PLAIN, "-DSSM_PLAIN")]


@pytest.fixture(scope="module")
def model():
    """Odd sizes, so that every width of tile occurs and every loop has a rest."""
    return random_bundle(
        np.random.default_rng(0),
        inputs=7,
        outputs=3,
        width=67,
        orders=(33, 5),
        norm="layer",
        golden_frames=(),
    )


@pytest.mark.parametrize("precision", ["float32", "float32-fma"])
@pytest.mark.parametrize("flags", [*(BASELINE if X86 else []), *ALONE], ids=lambda flags: flags[-1])
def test_every_level_computes_the_reference_s_bits(model, tmp_path, monkeypatch, flags, precision):
    contract = ("-DSSM_FMA",) if precision == "float32-fma" else ()
    monkeypatch.setattr(native, "FLAGS", [(*flags, *contract)])
    c99.lower(model, tmp_path)
    backend = native.open_backend(tmp_path / "net.c")
    block = frames(model, 29)
    expected, _ = run(model.meta.ops, model.tensors, block, precision=precision)
    pieces = [backend.process(piece) for piece in np.split(block, [1, 4, 12, 27])]
    assert np.array_equal(np.concatenate(pieces), expected)


def test_the_contracts_differ(model):
    block = frames(model, 29)
    plain, fused = (
        run(model.meta.ops, model.tensors, block, precision=p)[0] for p in ("float32", "float32-fma")
    )
    exact, _ = run(model.meta.ops, model.tensors, block)
    assert not np.array_equal(plain, fused)
    assert np.abs(fused - exact).max() < 2 * np.abs(plain - exact).max()
