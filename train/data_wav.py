"""WAV files: one as a classified sequence, and their samples, which pairs (``data_wav_pairs``) read too."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.train.splits import Float32, Label, Recording, Recordings


def read_wav(path: Path, label: Label) -> Recordings:
    """Read one WAV file as one sequence of samples in [−1, 1].

    Args:
        path: 8 to 32 bit integers or floats, any rate; several channels are averaged.
        label: its class.

    Raises:
        InputError: unreadable, or without samples.
    """
    rate, samples = wav_samples(path)
    notes: tuple[str, ...] = ()
    if samples.shape[1] > 1:
        notes = ("WAV files with several channels were averaged to one",)
    mean = samples.mean(axis=1, keepdims=True)
    sample = Signal(name="sample", minimum=-1.0, maximum=1.0)
    return Recordings((Recording(str(path), mean, label),), (sample,), (), 1 / rate, notes)


def wav_samples(path: Path) -> tuple[int, Float32]:
    """The rate in Hz and the samples in [−1, 1], shape (T, channels).

    Raises:
        InputError: unreadable, or without samples.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks it does not know
            rate, raw = wavfile.read(path)
    except (OSError, ValueError, EOFError, struct.error) as error:
        raise InputError(f"cannot read {path}: {error or 'it is no WAV file'}") from error
    if raw.size == 0:
        raise InputError(f"{path} holds no samples; remove it")
    return int(rate), _unit_range(raw).reshape(len(raw), -1)


def _unit_range(samples: NDArray[Any]) -> Float32:
    """Samples as float32 in [−1, 1]: integers by their full scale, unsigned bytes around 128."""
    if samples.dtype == np.uint8:
        return ((samples.astype(np.float32) - 128) / 128).astype(np.float32)
    if samples.dtype.kind == "i":
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    return samples.astype(np.float32)
