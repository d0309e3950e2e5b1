"""ExecuTorch in the benchmark's turns: the product's programs with XNNPACK, one thread, from C++ and Python.

``step`` programs take and return the states, ``stream`` programs keep them inside.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from _native import Candidate, of_library
from _peers import PEERS, build, in_python, left_out

from ssmith.bundle import Bundle
from ssmith.files import seal
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.session import Session

Form = Literal["step", "stream"]
FORMS: tuple[Form, ...] = ("step", "stream")
# As its CMake package says: the include paths, the definitions its libraries were compiled with, and the
# registering libraries, which nothing refers to.
DEFINITIONS = ("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED", "-DET_USE_THREADPOOL")
LIBRARIES = (
    "executorch",
    "executorch_kernels_optimized",
    "executorch_backend_xnnpack",
    "executorch_threadpool",
)


def executorch(bundle: Bundle, folder: Path, forms: Sequence[Form] = FORMS) -> list[Candidate]:
    """The bundle's programs through the C++ API, through the package's Python and through a Session."""
    if importlib.util.find_spec("executorch") is None:
        left_out("ExecuTorch", "pip install 'ssmith[train,executorch]'")
        return []
    candidates = []
    for form in forms:
        path = program(bundle, folder, form)
        candidates += [
            in_cxx(f"ExecuTorch, C++, {form}", bundle, path),
            bare(f"ExecuTorch, Python, {form}", bundle, path),
            in_session(f"ExecuTorch, Session, {form}", bundle, path),
        ]
    return candidates


def program(bundle: Bundle, folder: Path, form: Form, precision: ArtifactPrecision = "float32") -> Path:
    """One program as the exporter makes it.

    Raises:
        RuntimeError: XNNPACK did not take it whole.
    """
    from ssmith.export.executorch import to_program

    made = to_program(bundle, form, precision)
    if made.delegates != 1 or made.outside:
        raise RuntimeError(f"XNNPACK took the program in {made.delegates} pieces without {made.outside}")
    path = folder / f"{bundle.name}_{precision}.{form}.pte"
    path.write_bytes(seal(made.data))
    return path


def in_cxx(name: str, bundle: Bundle, path: Path) -> Candidate:
    """A program behind the C++ runtime that the package ships."""
    package = importlib.util.find_spec("executorch")
    assert package is not None
    assert package.submodule_search_locations is not None
    root = next(p for p in map(Path, package.submodule_search_locations) if (p / "include").is_dir())
    given = [
        f'-DPROGRAM="{path}"',
        *DEFINITIONS,
        f"-I{root / 'include'}",
        f"-I{root / 'include/executorch/runtime/core/portable_type/c10'}",
    ]
    link = [f"-L{root / 'lib'}", f"-Wl,-rpath,{root / 'lib'}", "-Wl,--no-as-needed"]
    library = path.with_suffix(".so")
    flags = build(PEERS / "executorch.cpp", given, library, [*link, *(f"-l{n}" for n in LIBRARIES)])
    made = f"executorch {version('executorch')}, {flags}"
    return of_library(name, library, len(bundle.meta.inputs), len(bundle.meta.outputs), build=made)


def bare(name: str, bundle: Bundle, path: Path) -> Candidate:
    """A program as the package's documentation runs it: tensors in, tensors out."""
    import torch

    from ssmith.runtime.executorch_package import pybindings, quiet, use_threads

    package = pybindings()
    with quiet():
        from executorch.runtime import Runtime
    loaded = Runtime.get().load_program(path)
    use_threads(package, 1, loaded)  # before XNNPACK makes the method's pool its own
    method = loaded.load_method("forward")
    assert method is not None
    inside = path.suffixes[-2] == ".stream"
    states: list[Any] = [] if inside else [torch.zeros(1, *shape) for shape in bundle.states.values()]

    def step(frame: Any, keep: object = loaded) -> Any:
        y, *states[:] = method.execute((frame, *states))
        return y

    build_name = f"executorch {version('executorch')}"
    return in_python(name, step, len(bundle.meta.inputs), build_name, torch.from_numpy)


def in_session(name: str, bundle: Bundle, path: Path) -> Candidate:
    """A program as the product's user runs it: arrays in, arrays out."""
    session = Session.open(path)
    made = f"executorch {version('executorch')}"
    return in_python(name, session.step, len(bundle.meta.inputs), made, lambda frame: frame[0])
