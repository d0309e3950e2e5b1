"""The generated integer form: honest text, and the integer reference's bits under every compiler flag."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.export.c99_form import header, source
from ssmith.export.c99_integer import integer_form, integer_weights_text
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_model import SsmOp
from tests.bundles import kept_modes, random_bundle
from tests.calibrated import calibrated
from tests.native.objects import deepest_stack
from tests.op_lists import any_bundle, frames

HERE = Path(__file__).parent
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
pytestmark = pytest.mark.usefixtures("library_cache")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
MAGIC = {16: "SSM2", 8: "SSM3"}


def compiled(folder, output, *arguments, compiler=None):
    command = [
        *(compiler or find_compiler()),
        f"-I{folder}",
        *map(str, arguments),
        "-o",
        str(folder / output),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / output


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((16, 8)))
def test_macros_and_meta_tell_the_truth(seed, bits):
    bundle = calibrated(any_bundle(seed))
    model = lower_integer(bundle, bits)
    text, weights = header(integer_form(bundle, model)), integer_weights_text(bundle, model)

    def macro(name):
        return re.search(rf"#define NET_INT8_{name} (.*)", text)[1]

    arrays = re.findall(r"static const (\w+) \w+\[(\d+)\] SSM_ALIGNED = \{\n([^}]*)\}", weights)
    assert all(len(body.split(",")) == int(n) for _, n, body in arrays)
    size = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}
    tables = 384 * sum(any(op.op == kind for op in bundle.meta.ops) for kind in ("gelu", "gate"))
    assert int(macro("FLASH_BYTES").split()[0]) == sum(size[kind] * int(n) for kind, n, _ in arrays) + tables
    assert macro("PRECISION") == '"int8"'
    words = sum(state.length * state.bits // 32 for state in model.states)
    assert int(macro("STATE_BYTES").split()[0]) == 16 + 4 * words
    meta = json.loads(re.search(r"ssmith-meta: (\{.*\}) \*/", text)[1])
    assert (meta["precision"], meta["activation_bits"], meta["bundle_sha256"]) == (
        "int8",
        bits,
        bundle.sha256,
    )
    assert meta["state_types"] == [f"int{state.bits}" for state in model.states]
    assert [name for name, _ in meta["states"]] == [state.name for state in model.states]


def test_one_sees_the_network_op_by_op_with_shapes_bounds_and_scales():
    bundle = calibrated(random_bundle(np.random.default_rng(0), width=17, orders=(5, 9)))
    model = lower_integer(bundle)
    text = source(integer_form(bundle, model))
    shown = [op.name for op in model.ops]
    places = [text.index(f"/* {name}: ") for name in shown]
    assert places == sorted(places)
    comment = re.search(r"/\* block0\.ssm: (.*?) \*/", text, re.DOTALL)[1]
    assert "17 -> 5 modes -> 17" in comment
    bound = float(re.search(r"\|x\| < 2\^([\d.]+)", comment)[1])
    assert bound == pytest.approx(np.log2(model.proofs["block0.ssm.state"] + 1), abs=0.051)
    scales = model.scales["block0.ssm.state"]
    assert f"of the state {scales.min():.3g} to {scales.max():.3g}" in comment


def test_a_name_that_gets_too_long_is_refused():
    bundle = calibrated(random_bundle(np.random.default_rng(0), name="n" * 36))
    with pytest.raises(
        InputError, match=r"has 41 letters, more than 40.*shorter name, or export float32 only"
    ):
        c99.lower(bundle, Path("nowhere"), ("int8",))


def test_a_bundle_without_ranges_is_refused_only_where_int8_is_asked_for(tmp_path):
    bundle = random_bundle(np.random.default_rng(0))
    with pytest.raises(InputError, match=r"no calibration.*ssmith quantize"):
        c99.lower(bundle, tmp_path / "int8", ("int8",))
    assert not (tmp_path / "int8").exists()
    c99.lower(bundle, tmp_path)
    assert not list(tmp_path.glob("net_int8*"))


def test_values_beyond_the_integers_are_refused_with_their_size(tmp_path):
    bundle = random_bundle(np.random.default_rng(0))
    large = {**bundle.tensors, "block0.ssm.d": bundle.tensors["block0.ssm.d"] * np.float32(1e9)}
    with pytest.raises(InputError, match=r"gelu can reach \d[.\d]*e\+\d+, more than the \d"):
        c99.lower(calibrated(replace(bundle, tensors=large)), tmp_path, ("int8",))
    assert not list(tmp_path.iterdir())


@needs_compiler
@pytest.mark.parametrize(
    ("bits", "flags", "block"),
    [
        (16, ["-std=c99", "-O3", "-march=native"], 0),
        (8, ["-std=c99", "-O3", "-march=native"], 5),
        (16, ["-std=c99", "-O2", "-DNET_INT8_BLOCK=1"], 64),
        (8, ["-std=c11", "-O1", "-DNET_INT8_BLOCK=7"], 64),
        (16, ["-xc++", "-std=c++11", "-O2"], 4),
        (8, ["-std=c99", "-O0"], 3),
    ],
)
def test_every_setting_gives_the_reference_s_bits(tmp_path, bits, flags, block):
    """Also runs what the header promises, see stream.c; strict warnings are errors."""
    width, outputs = (65, 2) if bits == 16 else (5, 7)
    bundle = random_bundle(np.random.default_rng(2), width=width, outputs=outputs, orders=(6, 17))
    bundle = calibrated(bundle)
    c99.lower(bundle, tmp_path, ("int8",), bits)
    if any("c++" in flag for flag in flags) and shutil.which("g++") is None and "gcc" in find_compiler()[0]:
        pytest.skip("no C++ compiler")
    defines = [
        *("-DMODEL=net_int8", "-DUPPER=NET_INT8"),
        *('-DMODEL_HEADER="net_int8.h"', f'-DMAGIC="{MAGIC[bits]}"'),
    ]
    unit = ["-c", tmp_path / "net_int8.c"]
    model = compiled(tmp_path, "net_int8.o", "-ffp-contract=off", *STRICT, *flags, *unit)
    flags = [flag for flag in flags if "++" not in flag]  # the caller is C, as in a mixed project
    program = compiled(tmp_path, "stream", *defines, *flags, HERE / "stream.c", "-xnone", model, "-lm")
    block_in = frames(bundle, 77)
    done = subprocess.run([program, str(block)], input=block_in.tobytes(), capture_output=True)
    assert done.returncode == 0, f"promise of stream.c line {done.returncode}"
    integers = lower_integer(bundle, bits)
    expected = integers.decode(run_integer(integers, integers.encode(block_in))[0])
    assert np.array_equal(np.frombuffer(done.stdout, np.float32).reshape(expected.shape), expected)


@needs_compiler
@pytest.mark.parametrize(
    ("bits", "options"),
    [(16, ["-std=c99", "-DNET_INT8_NO_FLOAT"]), (8, ["-std=c99"]), (8, ["-xc++", "-std=c++11"])],
)
def test_any_op_list_compiles_without_a_warning(tmp_path, bits, options):
    c99.lower(calibrated(any_bundle(5, count=30)), tmp_path, ("int8",), bits)
    compiled(tmp_path, "net_int8.o", *STRICT, *options, "-O1", "-c", tmp_path / "net_int8.c")


@needs_compiler
def test_check_compares_every_form_that_was_written(tmp_path):
    bundle = calibrated(random_bundle(np.random.default_rng(3)))
    c99.lower(bundle, tmp_path)
    rows = c99.check(bundle, tmp_path)
    assert all(row.passed for row in rows)
    assert {row.artifact for row in rows} == {"net.c", "net.ssmc", "net_int8.c", "net_int8.ssmc"}


@needs_compiler
@pytest.mark.parametrize("level", ["-O2", "-O3"])
def test_the_stack_is_as_deep_as_the_header_says(tmp_path, level):
    compiler = find_compiler()
    if "gcc" not in compiler[0] and "gcc" not in str(Path(compiler[0]).resolve()):
        pytest.skip("only gcc writes call graphs")
    bundle = calibrated(any_bundle(5, count=30))
    assert any(isinstance(op, SsmOp) for op in lower_integer(bundle).ops)
    c99.lower(bundle, tmp_path, ("int8",))
    limit = int(re.search(r"_STACK_BYTES (\d+)", (tmp_path / "net_int8.h").read_text())[1])
    arguments = [level, "-march=native", "-fcallgraph-info=su", "-c", tmp_path / "net_int8.c"]
    compiled(tmp_path, "net_int8.o", "-std=c99", *arguments)
    depth, chain = deepest_stack(next(tmp_path.glob("*.ci")))
    assert depth <= limit, chain


@pytest.mark.parametrize("order", [6, 3])
def test_variants_have_int8_forms_of_their_own(tmp_path, order):
    bundle = random_bundle(np.random.default_rng(4), orders=(6, 6))
    both = calibrated(bundle.with_variants([kept_modes(bundle, 3)]))
    variant = both.variant(order)
    c99.lower(variant, tmp_path)
    name = f"{variant.name}_int8"
    assert {f"{name}.{kind}" for kind in ("c", "h", "hpp", "ssmc")} <= {p.name for p in tmp_path.iterdir()}
    assert f"5 -> {order} modes -> 5" in (tmp_path / f"{name}.c").read_text()
    assert variant.sha256 in (tmp_path / f"{name}.h").read_text()


def size_of(objects):
    done = subprocess.run(["arm-none-eabi-size", *objects], capture_output=True, text=True, check=True)
    return sum(int(line.split()[0]) for line in done.stdout.splitlines()[1:])


M4 = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]


@pytest.mark.skipif(shutil.which(M4[0]) is None, reason="no arm-none-eabi-gcc")
@pytest.mark.parametrize("level", ["-Os", "-O3"])
def test_flash_of_the_reference_model_on_a_cortex_m4(tmp_path, level):
    """Weights, tables and code of int8 take at most 0.31 of what float32 takes."""
    sizes = {"width": 64, "orders": (64,) * 4, "inputs": 40, "outputs": 12}
    bundle = random_bundle(np.random.default_rng(0), norm="affine", pool="none", **sizes)
    c99.lower(calibrated(bundle), tmp_path)
    arguments = ["-std=c99", level, "-ffp-contract=off", "-c"]
    objects = [
        compiled(tmp_path, f"{name}.o", *arguments, tmp_path / f"{name}.c", compiler=M4)
        for name in ("net", "net_int8")
    ]
    assert size_of(objects[1:]) <= 0.31 * size_of(objects[:1])


@pytest.mark.skipif(shutil.which(M4[0]) is None, reason="no arm-none-eabi-gcc")
def test_without_the_float_edges_a_processor_without_fpu_needs_no_float_arithmetic(tmp_path):
    c99.lower(calibrated(any_bundle(5, count=30)), tmp_path, ("int8",))
    m3 = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb"]
    needed = {}
    for define in ((), ("-DNET_INT8_NO_FLOAT",)):
        unit = ["-std=c99", "-O2", "-ffp-contract=off", *define, "-c", tmp_path / "net_int8.c"]
        built = compiled(tmp_path, "net_int8.o", *unit, compiler=m3)
        nm = ["arm-none-eabi-nm", "--undefined-only", "--format=just-symbols", str(built)]
        symbols = subprocess.run(nm, capture_output=True, text=True, check=True).stdout.split()
        needed[define] = {name for name in symbols if name.startswith("__aeabi_")}
    assert "__aeabi_fmul" in needed[()]
    assert not {
        name for name in needed["-DNET_INT8_NO_FLOAT",] if "__aeabi_dcmp" not in name and name[8] in "fd"
    }
