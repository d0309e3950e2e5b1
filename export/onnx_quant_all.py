"""``int8-all``: ONNX Runtime's own static quantisation of all ops but poles and states.

Activations are uint8 and weights int8 with a scale an output, QuantizeLinear and DequantizeLinear around
every op that ONNX Runtime quantises. The ranges are those of the bundle's golden inputs, with the
extremes as they come. Nothing here is shared with the other int8 forms: it is what a user of
``onnxruntime.quantization`` would get.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError
from ssmith.ops import SSM, Float32, Pool

FRAMES = 1024  # of all golden inputs together; every value of every one is kept until its range is known


def quantise_all(bundle: Bundle, model: Any) -> Any:
    """The model (a ModelProto in float32, either form) with int8 ops; its metadata stays.

    Raises:
        InputError: the bundle has no golden inputs.
        MissingToolError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise MissingToolError(
            "writing int8-all needs onnxruntime, whose quantiser makes it; run: pip install 'ssmith[onnx]'"
        ) from error
    import onnx

    if not bundle.golden():
        raise InputError(
            f"the bundle {bundle.name!r} has no golden inputs, and int8-all takes its ranges from them;"
            " freeze the model with data, or write int8"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    with tempfile.TemporaryDirectory(prefix="ssmith-") as folder:
        written = Path(folder) / "model.onnx"
        with _without_advice():
            quantize_static(
                model,
                written,
                _Frames(bundle, session),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=_kept(bundle, model),
            )
        quantised = onnx.load(written)
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(model.metadata_props)
    quantised.producer_name, quantised.producer_version = model.producer_name, model.producer_version
    return quantised


def _kept(bundle: Bundle, model: Any) -> list[str]:
    """Nodes that stay float32: what makes λ and λ x + drive, products of channels, and the sums of a pool."""
    stems = ["/_"]
    separate = [op.name for op in bundle.meta.ops if isinstance(op, SSM) and op.channels is not None]
    stems += [f"/{name}{part}" for name in separate for part in (".B/", ".C/", "/channels/")]
    stems += [f"/{op.name}/tur" for op in bundle.meta.ops if isinstance(op, SSM)]
    stems += [f"/{op.name}/" for op in bundle.meta.ops if isinstance(op, Pool)]
    return [node.name for node in model.graph.node if node.name.startswith(tuple(stems))]


class _Frames:
    """A calibration data reader: the golden inputs with the states that the float32 model is in."""

    def __init__(self, bundle: Bundle, session: Any) -> None:
        self._feeds = _feeds(bundle, session)

    def get_next(self) -> dict[str, Float32] | None:
        """The next inputs of the model, None at the end."""
        return next(self._feeds, None)

    def __iter__(self) -> Iterator[dict[str, Float32]]:
        return self._feeds

    def __next__(self) -> dict[str, Float32]:
        return next(self._feeds)


def _feeds(bundle: Bundle, session: Any) -> Iterator[dict[str, Float32]]:
    step = len(session.get_inputs()[0].shape) == 2
    left = FRAMES
    for case in bundle.golden():
        block = case.input[:left]
        left -= len(block)
        states = {name: np.zeros((1, *shape), np.float32) for name, shape in bundle.states.items()}
        for frame in block[:, None] if step else [block[None]] if len(block) else []:
            feed = {"input": frame, **states}
            yield feed
            _, *after = session.run(None, feed)
            states = dict(zip(states, after, strict=True))


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Warnings that the quantiser writes to the root logger say to pre-process; there is nothing to gain."""
    import logging

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
