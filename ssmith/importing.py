"""The verb import: a checkpoint of somebody else's training becomes a bundle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssmith import ops
from ssmith.bundle import MAX_BYTES, Bundle, BundleMeta, Signal
from ssmith.continuous import Discretization
from ssmith.errors import InputError
from ssmith.files import check_writable
from ssmith.imported import Architecture, StateDict, from_lru, from_s4d, from_s5, prefixes
from ssmith.imported_network import Draft, Norm, Pooling, is_s4_example, s4_example
from ssmith.runtime.record import record_golden

Facts = dict[str, Any]
GOLDEN_FRAMES = 256
HOW_TO_SAVE = "from safetensors.torch import save_file; save_file(model.state_dict(), 'model.safetensors')"


def import_checkpoint(
    source: Path,
    target: Path | None,
    *,
    arch: Architecture,
    prefix: str | None = None,
    rate_hz: float | None = None,
    discretization: Discretization = "zoh",
    conj_sym: bool = True,
    clip_eigs: bool = False,
    norm: Norm = "post",
    pooling: Pooling = "mean",
) -> Facts:
    """Read a checkpoint, write a bundle: one layer, or the whole network of S4's published example.

    Args:
        source: ``.safetensors`` or ``.npz``; nothing that is unpickled.
        target: where to write; None writes NAME.ssm beside the source.
        arch: whose conventions.
        prefix: of the layer; None takes the whole network if it is one, or the only layer there is.
        rate_hz: frames per second, if they come at a rate.
        discretization: of S5.
        conj_sym: of S5.
        clip_eigs: of S5.
        norm: of S4's example: LayerNorm after each residual sum (its default) or before each layer.
        pooling: of S4's example: mean over time before the decoder, or none.

    Raises:
        InputError: the file cannot be read safely, or what ``ssmith.imported`` refuses.
    """
    target = target or source.with_suffix(".ssm")
    check_writable(target)
    tensors = read_tensors(source)
    convention: Facts = {}
    if arch == "s5":
        convention = {"discretization": discretization, "conj_sym": conj_sym, "clip_eigs": clip_eigs}
    name = re.sub(r"[^a-z0-9_]+", "_", target.stem.lower()).strip("_")[:40]
    name = name if name[:1].isalpha() else f"m{name}"[:40]
    provenance = {"imported_as": arch, "imported_from": source.name, "golden_from": "reference"}
    if prefix is None and arch == "s4d" and is_s4_example(tensors):
        draft = Draft()
        s4_example(tensors, norm, pooling, draft)
        task: Literal["classification", "regression"] = (
            "classification" if pooling == "mean" else "regression"
        )
    else:
        prefix = _only_prefix(tensors, arch) if prefix is None else prefix
        system = {"lru": from_lru, "s4d": from_s4d, "s5": from_s5}[arch](tensors, prefix, **convention)
        draft, task = Draft(), "regression"
        draft.ssm("ssm", system)
        provenance["imported_prefix"] = prefix
    bundle = _bundle(name, task, rate_hz, draft, provenance)
    bundle.write(target)
    return {
        "written": str(target),
        "layers": [
            {
                "inputs": s.inputs,
                "outputs": s.outputs,
                "order": s.order,
                "largest_radius": float(abs(s.lam).max()),
            }
            for s in bundle.systems()
        ],
        "inputs": len(bundle.meta.inputs),
        "outputs": len(bundle.meta.outputs),
    }


def read_tensors(source: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.safetensors`` or ``.npz`` file; never unpickles.

    Raises:
        InputError: no such file, another kind of file, damaged, too large, or objects instead of numbers.
    """
    try:
        if source.stat().st_size > MAX_BYTES:
            raise InputError(f"{source} is larger than {MAX_BYTES} bytes, more than any bundle may hold")
        if source.suffix == ".npz":
            with np.load(source, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if source.suffix == ".safetensors":
            from safetensors.numpy import load

            return dict(load(source.read_bytes()))
    except OSError as error:
        raise InputError(f"cannot read checkpoint {source}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # a damaged file: each reader has errors of its own
        raise InputError(
            f"{source} is damaged or holds no plain arrays ({type(error).__name__}: {error})"
        ) from error
    raise InputError(
        f"{source} has the suffix {source.suffix!r}; only .safetensors and .npz are read, since opening a"
        f" pickle (.pt, .pth, .ckpt) runs what is in it. Where you trust the file, convert it: {HOW_TO_SAVE}"
    )


def _bundle(
    name: str,
    task: Literal["classification", "regression"],
    rate_hz: float | None,
    draft: Draft,
    provenance: dict[str, str],
) -> Bundle:
    """The bundle, with golden vectors of its own on white noise."""
    if rate_hz is not None and not (np.isfinite(rate_hz) and rate_hz > 0):
        raise InputError(f"the rate is {rate_hz} Hz; write frames per second, a number above zero")
    first, last = draft.ops[0], draft.ops[-1]
    into = draft.tensors[first.weight if isinstance(first, ops.Linear) else first.B]  # type: ignore[union-attr]
    out = draft.tensors[last.weight if isinstance(last, ops.Linear) else last.C]  # type: ignore[union-attr]
    inputs, outputs = into.shape[1], out.shape[0]
    ops.check_ops(tuple(draft.ops), draft.tensors, inputs, outputs)
    noise = np.random.default_rng(0).standard_normal((GOLDEN_FRAMES, inputs)).astype(np.float32)
    golden, recorded = record_golden(draft.ops, draft.tensors, {"noise": noise})
    label = "class" if task == "classification" else "output"
    meta = BundleMeta(
        name=name,
        task=task,
        inputs=_signals("input", inputs),
        outputs=_signals(label, outputs),
        period_s=None if rate_hz is None else 1 / rate_hz,
        ops=tuple(draft.ops),
        golden=golden,
        provenance=provenance,
    )
    return Bundle(meta, draft.tensors | recorded)


def _signals(stem: str, count: int) -> tuple[Signal, ...]:
    return tuple(Signal(name=f"{stem}_{i}") for i in range(count))


def _only_prefix(tensors: StateDict, arch: Architecture) -> str:
    found: Sequence[str] = prefixes(tensors, arch)
    if len(found) > 1:
        raise InputError(
            f"{len(found)} {arch} layers are in the checkpoint and a bundle is made of one; choose with"
            f" --prefix {' or '.join(found[:6])}"
        )
    return found[0] if found else ""
