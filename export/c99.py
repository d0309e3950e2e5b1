"""C99: the generated ``NAME.h/.c`` and the loadable ``NAME.ssmc`` with its engine.

Everything written is 0BSD, compiles as C99 and C++ without warnings and needs no library. Equal
models give equal bytes.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ssmith.bundle import Bundle
from ssmith.export.c99_binary import ssmc_bytes
from ssmith.export.c99_form import cmake_lists, header, source, wrapper
from ssmith.export.c99_source import check_name, float_form, weights_text
from ssmith.files import write_atomic
from ssmith.runtime.artifacts import ENGINE, KERNELS, WRAPPER
from ssmith.runtime.parity import ParityRow, check_file


def lower(bundle: Bundle, folder: Path) -> list[Path]:
    """Write both C forms of a model.

    Args:
        bundle: the model.
        folder: where to write; made if missing.

    Returns:
        ``NAME.c``, ``NAME.h``, ``NAME.hpp``, ``NAME_weights.h``, ``CMakeLists.txt``, ``NAME.ssmc`` and
        the engine's files.

    Raises:
        InputError: the name is taken in C, a dimension is too large, or the folder cannot be written.
    """
    check_name(bundle)
    name, form = bundle.name, float_form(bundle)
    files = {
        f"{name}.c": source(form).encode(),
        f"{name}.h": header(form).encode(),
        f"{name}.hpp": wrapper(form).encode(),
        "CMakeLists.txt": cmake_lists([form]).encode(),
        f"{name}_weights.h": weights_text(bundle).encode(),
        f"{name}.ssmc": ssmc_bytes(bundle),
    }
    engine = resources.files("ssmith.runtime") / "c"
    files |= {file: (engine / file).read_bytes() for file in (*ENGINE, WRAPPER, KERNELS)}
    for file, data in files.items():
        write_atomic(folder / file, data)
    return [folder / file for file in files]


def check(bundle: Bundle, folder: Path) -> list[ParityRow]:
    """Compare what ``lower`` wrote with the reference and the golden vectors, both forms.

    Raises:
        InputError: a file is missing, damaged or of another model.
        MissingToolError: there is no C compiler.
    """
    return [
        row
        for file in (f"{bundle.name}.c", f"{bundle.name}.ssmc")
        for row in check_file(bundle, folder / file)
    ]
