"""Programs run by ExecuTorch's own runtime, against the op list and the simulation of int8."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.export.executorch import MAX_FRAMES, forms_of, lower, to_program
from ssmith.files import check_seal, seal
from ssmith.ops import Float32
from ssmith.runtime import simulate
from ssmith.runtime.reference import describe
from tests.bundles import plain_run, random_bundle
from tests.calibrated import calibrated

torch = pytest.importorskip("torch")
pytest.importorskip("executorch")

pytestmark = pytest.mark.slow  # a program takes seconds to lower


def small(seed=0, **options):
    defaults = {"orders": (3,), "golden_frames": (12,), "pool": "none", "norm": "affine"}
    return random_bundle(np.random.default_rng(seed), **(defaults | options))


@functools.cache
def whole():
    """Both norms' worth of ops in one model, with ranges."""
    return calibrated(small(norm="layer", pool="ema", orders=(3, 2)))


@functools.cache
def program(bundle, form, precision="float32"):
    return to_program(bundle, form, precision)


def opened(data):
    """The method ``forward``; the program lives as long as it does."""
    from ssmith.runtime.executorch_package import quiet

    with quiet():
        from executorch.runtime import Runtime
    loaded = Runtime.get().load_program(data)
    return loaded, loaded.load_method("forward")


def fresh(bundle):
    return [torch.zeros(1, *shape) for shape in bundle.states.values()]


def stepped(bundle, data, block) -> Float32:
    kept, method = opened(data)
    states, rows = fresh(bundle), []
    for frame in block:
        y, *states = method.execute((torch.tensor(frame)[None], *states))
        rows.append(y.numpy()[0].copy())
    del kept
    return np.array(rows)


def close(got, expected, relative=2e-6):
    return np.abs(got - expected).max() <= relative * np.abs(expected).max()


@pytest.mark.parametrize(
    ("norm", "pool", "vocabulary", "feedthrough"),
    [("layer", "mean", None, True), ("none", "ema", None, False), ("affine", "none", 6, True)],
)
def test_xnnpack_takes_a_step_in_one_piece(norm, pool, vocabulary, feedthrough):
    bundle = small(norm=norm, pool=pool, vocabulary=vocabulary, feedthrough=feedthrough)
    step = program(bundle, "step")
    lookup = {"aten::round", "aten::clamp.Tensor", "dim_order_ops::_to_dim_order_copy"}
    lookup |= {"aten::embedding", "aten::view_copy"}
    assert step.delegates == 1
    assert set(step.outside) <= (lookup if vocabulary else set())
    block = bundle.golden()[0].input
    assert close(stepped(bundle, step.data, block), plain_run(bundle.meta.ops, bundle.tensors, block))


@pytest.mark.parametrize(
    "options",
    [
        {"width": 1, "orders": (1,), "inputs": 1, "outputs": 1},
        {"orders": ()},
        {"orders": (2, 1, 2, 1), "width": 3, "norm": "none"},
    ],
)
def test_odd_sizes(options):
    bundle = small(**options)
    step = program(bundle, "step")
    assert step.delegates == 1
    assert not step.outside
    block = bundle.golden()[0].input
    assert close(stepped(bundle, step.data, block), plain_run(bundle.meta.ops, bundle.tensors, block))


def test_a_long_stream_stays_at_the_reference():
    bundle = whole()
    block = np.random.default_rng(1).standard_normal((1000, 3)).astype(np.float32)
    expected = plain_run(bundle.meta.ops, bundle.tensors, block)
    assert close(stepped(bundle, program(bundle, "step").data, block), expected)


def test_the_portable_program_needs_no_xnnpack_and_moves_no_weights():
    bundle = whole()
    portable = program(bundle, "portable")
    assert portable.delegates == 0
    assert not any("permute" in name or "transpose" in name for name in portable.outside)
    block = bundle.golden()[0].input
    assert close(stepped(bundle, portable.data, block), plain_run(bundle.meta.ops, bundle.tensors, block))


def test_a_stream_holds_its_states_by_name():
    bundle = whole()
    kept, forward = opened(program(bundle, "stream").data)
    block = bundle.golden()[0].input

    def run(frames):
        rows = [forward.execute((torch.tensor(frame)[None],))[0].numpy()[0].copy() for frame in frames]
        return np.array(rows)

    states = {name: forward._method.get_attribute(name) for name in bundle.states}
    assert all((state == 0).all() for state in states.values())
    first = run(block[:5])
    saved = {name: state.clone() for name, state in states.items()}
    rest = run(block[5:])
    assert close(np.concatenate([first, rest]), plain_run(bundle.meta.ops, bundle.tensors, block))
    for name, state in states.items():
        state.copy_(saved[name])
    np.testing.assert_array_equal(run(block[5:]), rest)
    for state in states.values():
        state.fill_(float("nan"))
        state.zero_()
    np.testing.assert_array_equal(run(block[:5]), first)
    del kept


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_sequence_is_the_steps_in_any_split(precision):
    bundle = whole()
    kept, forward = opened(program(bundle, "sequence", precision).data)
    block = bundle.golden()[0].input
    if precision == "float32":
        expected = plain_run(bundle.meta.ops, bundle.tensors, block)
    else:
        rounded = simulate.roundings(bundle, "int8", 8, "executorch")
        expected = simulate.run_simulated(bundle, rounded, block)[0]
    for cuts in ([], [1], [3, 4, 9]):
        states, rows = fresh(bundle), []
        for piece in np.split(block, cuts):
            y, *states = (t.clone() for t in forward.execute((torch.tensor(piece)[None], *states)))
            rows.append(y.numpy()[0])
        assert close(np.concatenate(rows), expected, 2e-5)
    del kept


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_int8_is_what_the_simulation_says_in_one_piece(precision):
    bundle = whole()
    step = program(bundle, "step", precision)
    assert step.delegates == 1
    assert not step.outside
    block = bundle.golden()[0].input
    rounded = simulate.roundings(bundle, precision, 8, "executorch")
    expected = simulate.run_simulated(bundle, rounded, block)[0]
    assert close(stepped(bundle, step.data, block), expected, 2e-5)


def test_mixed_is_float32_where_the_plan_asks_for_16_bits():
    bundle = calibrated(small())
    plan = {"encoder": "int8-a16", "block0.ssm.B": "int8-a8", "block0.ssm.C": "float32"}
    plan |= {"block0.glu": "int8-a8", "head": "float32"}
    bundle = Bundle(bundle.meta.model_copy(update={"plan": plan}), bundle.tensors)
    block = bundle.golden()[0].input
    rounded = simulate.roundings(bundle, "mixed", 8, "executorch")
    assert set(rounded) == {"block0.ssm.B", "block0.glu"}
    expected = simulate.run_simulated(bundle, rounded, block)[0]
    assert close(stepped(bundle, program(bundle, "step", "mixed").data, block), expected, 2e-5)


def test_files_say_what_they_are_and_equal_models_give_equal_bytes(tmp_path):
    bundle = small()
    paths = lower(bundle, tmp_path, ("float32", "float16"))
    endings = ["step.pte", "step.bpte", "stream.pte", "sequence.pte", "portable.pte"]
    assert [path.name for path in paths] == [f"net.{ending}" for ending in endings]
    for path in paths:
        data = path.read_bytes()
        check_seal(data, path)
        if path.suffix == ".pte":
            loaded, _ = opened(data)
            document = json.loads(loaded.load_method("ssmith").execute(())[0])
            assert describe(bundle).items() <= document.items()
            assert (document.get("max_frames") == MAX_FRAMES) == (document["form"] == "sequence")
    bundle.write(tmp_path / "net.ssm")
    again = to_program(Bundle.read(tmp_path / "net.ssm"), "stream")
    assert seal(again.data) == (tmp_path / "net.stream.pte").read_bytes()


def test_export_is_quiet(tmp_path):
    small().write(tmp_path / "net.ssm")
    code = (
        "from pathlib import Path; from ssmith.bundle import Bundle; from ssmith.export.executorch import"
        f" to_program; to_program(Bundle.read(Path({str(tmp_path)!r}) / 'net.ssm'), 'step')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_int8_without_ranges_is_refused(tmp_path):
    with pytest.raises(InputError, match="calibrat"):
        lower(small(), Path(tmp_path), ("int8",))
    assert not list(tmp_path.iterdir())


def test_a_dynamic_scale_is_only_for_single_frames():
    assert forms_of("int8-dynamic") == ("step",)


def test_the_runtime_checks_the_golden_frames_in_the_bundled_program(tmp_path):
    import executorch.extension.pybindings.portable_lib as runtime

    from ssmith.export.executorch_program import bundled

    bundle = small()
    lower(bundle, tmp_path, ("float32",))
    whole = runtime._load_bundled_program_from_buffer((tmp_path / "net.step.bpte").read_bytes())
    for case in range(8):
        whole.verify_result_with_bundled_expected_output("forward", case, 1e-4, 1e-5)
    given = [torch.zeros(1, 3), *fresh(bundle)]
    wrong = [torch.full((1, 2), 9.0), *fresh(bundle)]
    other = runtime._load_bundled_program_from_buffer(bundled(program(bundle, "step"), [(given, wrong)]))
    with pytest.raises(RuntimeError):
        other.verify_result_with_bundled_expected_output("forward", 0, 1e-4, 1e-5)
