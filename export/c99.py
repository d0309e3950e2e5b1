"""C99: the generated ``NAME.h/.c`` and the loadable ``NAME.ssmc`` with its engine.

Everything written is 0BSD, compiles as C99 and C++ without warnings and needs no library. Equal
models give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ssmith.bundle import Bundle
from ssmith.export.c99_binary import ssmc_bytes
from ssmith.export.c99_form import Form, cmake_lists, header, source, wrapper
from ssmith.export.c99_integer import check_integer_name, integer_form, integer_weights_text
from ssmith.export.c99_integer_binary import integer_ssmc_bytes
from ssmith.export.c99_names import check_name
from ssmith.export.c99_source import float_form, weights_text
from ssmith.files import write_atomic
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import integer_name
from ssmith.runtime.integer_lower import ActivationBits, lower_integer
from ssmith.runtime.parity import ParityRow, check_file


def lower(
    bundle: Bundle,
    folder: Path,
    precisions: Sequence[ArtifactPrecision] | None = None,
    activation_bits: ActivationBits = 16,
) -> list[Path]:
    """Write both C forms of a model, generated and loadable, in each precision.

    Args:
        bundle: the model.
        folder: where to write; made if missing.
        precisions: ``"float32"``, ``"int8"`` or both; None writes float32, and int8 if the bundle is
            calibrated.
        activation_bits: of the int8 form's activations, 16 or 8.

    Returns:
        ``NAME.c``, ``NAME.h``, ``NAME.hpp``, ``NAME_weights.h`` and ``NAME.ssmc``, the same of
        ``NAME_int8``, ``CMakeLists.txt`` and the files of engine and kernels.

    Raises:
        InputError: the name is taken in C or C++, or too long, a dimension is too large, the bundle has no
            calibration, a bound needs more than 32 bits, or the folder cannot be written.
    """
    check_name(bundle.name)
    both: tuple[ArtifactPrecision, ...] = ("float32", "int8")
    wanted = precisions or (both if bundle.calibrated else both[:1])
    files: dict[str, bytes] = {}
    forms = []
    if "float32" in wanted:
        form = float_form(bundle)
        files |= _files(form, weights_text(bundle), ssmc_bytes(bundle))
        forms.append(form)
    if "int8" in wanted:
        check_integer_name(bundle)  # before the long walk
        model = lower_integer(bundle, activation_bits)
        form = integer_form(bundle, model)
        files |= _files(form, integer_weights_text(bundle, model), integer_ssmc_bytes(bundle, model))
        forms.append(form)
    files["CMakeLists.txt"] = cmake_lists(forms).encode()
    files |= engine_files()
    for file, data in files.items():
        write_atomic(folder / file, data)
    return [folder / file for file in files]


def engine_files() -> dict[str, bytes]:
    """Name → bytes of the engine, its C++ wrapper and the kernels: every source in ``runtime/c``."""
    folder = resources.files("ssmith.runtime") / "c"
    sources = [file for file in folder.iterdir() if file.name.endswith((".c", ".h", ".hpp"))]
    return {file.name: file.read_bytes() for file in sorted(sources, key=lambda file: file.name)}


def _files(form: Form, weights: str, ssmc: bytes) -> dict[str, bytes]:
    """Name → bytes of what is written for one precision."""
    return {
        f"{form.name}.c": source(form).encode(),
        f"{form.name}.h": header(form).encode(),
        f"{form.name}.hpp": wrapper(form).encode(),
        f"{form.name}_weights.h": weights.encode(),
        f"{form.name}.ssmc": ssmc,
    }


def check(bundle: Bundle, folder: Path) -> list[ParityRow]:
    """Compare what ``lower`` wrote with the reference and the golden vectors, every form there is.

    Raises:
        InputError: a file is missing, damaged or of another model.
        MissingToolError: there is no C compiler.
    """
    int8 = integer_name(bundle.name)
    names = [name for name in (bundle.name, int8) if name == bundle.name or (folder / f"{name}.c").exists()]
    return [
        row
        for name in names
        for suffix in (".c", ".ssmc")
        for row in check_file(bundle, folder / f"{name}{suffix}")
    ]
