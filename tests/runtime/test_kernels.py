"""The float kernels: the same bits at every level of vector unit, in both contracts, in any size."""

import platform
import re
import subprocess

import numpy as np
import pytest

from ssmith import compiler
from ssmith.bundle import Bundle
from ssmith.export import c99
from ssmith.runtime import native
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.op_lists import any_bundle, frames

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


@pytest.mark.skipif(not X86, reason="reads x86 assembly")
@pytest.mark.parametrize("seed", [0, 1, 4294967292])
def test_nothing_is_fused_that_the_contract_does_not_fuse(tmp_path, seed):
    # gcc 12 fuses sums of both signs in spite of -ffp-contract=off once it knows the weights
    c99.lower(any_bundle(seed, count=14), tmp_path)
    command = compiler.compile_command([(*PLAIN, "-march=x86-64-v3")])
    subprocess.run([*command, "-S", "net.c", "-o", "net.s"], cwd=tmp_path, check=True)
    assembly = (tmp_path / "net.s").read_text()
    assert "vmulps" in assembly
    assert not re.findall(r"\svfn?m\w+", assembly)


def test_silence_leaves_nothing_subnormal(tmp_path):
    bundle = random_bundle(
        np.random.default_rng(0), norm="none", pool="ema", decay=0.7, radius=(0.3, 0.8), golden_frames=()
    )
    silent = {name: 0 * tensor for name, tensor in bundle.tensors.items() if name.endswith(".bias")}
    bundle = Bundle(bundle.meta, {**bundle.tensors, **silent})  # silence in is silence everywhere
    block = frames(bundle, 1200)
    block[20:] = 0
    smallest = np.finfo(np.float32).tiny
    for k in range(1, len(bundle.meta.ops) + 1):
        values, states = run(bundle.meta.ops[:k], bundle.tensors, block, precision="float32")
        for value in (values, *states.values()):
            assert not ((value != 0) & (np.abs(value) < smallest)).any()
    assert all((value == 0).all() for name, value in states.items() if name != "pool_count")
    assert (np.abs(values[-1]) == 0).all()
    c99.lower(bundle, tmp_path)
    assert np.array_equal(native.open_backend(tmp_path / "net.c").process(block), values)


def test_the_threshold_is_where_states_end():
    bundle = random_bundle(np.random.default_rng(0), norm="none", pool="none", golden_frames=())
    layer = next(op for op in bundle.meta.ops if op.op == "ssm")
    _, states = run(bundle.meta.ops, bundle.tensors, np.zeros((0, 3)), precision="float32")
    n = len(states[layer.state]) // 2
    halving = np.stack([np.full(n, 0.5, np.float32), np.zeros(n, np.float32)])
    tensors = {**bundle.tensors, layer.lam: halving, layer.B: 0 * bundle.tensors[layer.B]}
    before = states | {layer.state: np.full(2 * n, 2.0**-95, np.float32)}
    block = frames(bundle, 1)
    _, once = run(bundle.meta.ops, tensors, block, before, precision="float32")
    _, twice = run(bundle.meta.ops, tensors, block, once, precision="float32")
    assert (once[layer.state] == 2.0**-96).all()
    assert (twice[layer.state] == 0).all()
