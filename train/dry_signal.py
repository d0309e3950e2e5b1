"""Generated music-like audio that exists at every sample rate: drums, plucked strings, notes, bursts.

Events of random kind, size and place are written at 48 kHz; then the whole recording is taken for one period
of a trigonometric polynomial and what is above the band is cut off. A polynomial can be evaluated at any
rate, so a recording at 44.1 or 96 kHz is the same signal, not a resampled one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ssmith.errors import InputError

Float64 = NDArray[np.float64]

WRITTEN_HZ = 48_000
BAND_HZ = (8_000.0, 10_000.0)  # kept whole up to the first, nothing above the second
GAP_S = (0.05, 0.5)  # between the starts of two events
SIZE_DB = (-30.0, 0.0)  # of an event's amplitude
PEAK = 0.9  # amplitude that a recording stays within where it was written
ONSET_S = 0.002


def dry_signal(seed: Sequence[int], seconds: int, rate_hz: float) -> Float64:
    """One recording, shape (seconds · rate_hz,), all but within [-1, 1].

    Args:
        seed: fixes the signal.
        seconds: length.
        rate_hz: samples per second.

    Raises:
        InputError: the rate is too low for the band, or does not give a whole number of samples.
    """
    samples = seconds * rate_hz
    if rate_hz <= 2 * BAND_HZ[1] or samples != round(samples):
        raise InputError(
            f"generated audio has frequencies up to {BAND_HZ[1]:g} Hz, which {rate_hz:g} Hz over"
            f" {seconds} s cannot hold; use a whole rate above {2 * BAND_HZ[1]:g} Hz, such as 44100 or 48000"
        )
    spectrum = _band_limited(np.fft.rfft(_written(np.random.default_rng([*seed, 0xD4]), seconds)))
    peak = np.abs(np.fft.irfft(spectrum, seconds * WRITTEN_HZ)).max()
    spectrum *= min(1.0, PEAK / peak) * samples / (seconds * WRITTEN_HZ)
    kept = np.zeros(round(samples) // 2 + 1, complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return np.fft.irfft(kept, round(samples))


def _band_limited(spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The spectrum with a raised-cosine edge over ``BAND_HZ``, without a mean."""
    hertz = np.linspace(0, WRITTEN_HZ / 2, len(spectrum))
    edge = np.clip((hertz - BAND_HZ[0]) / (BAND_HZ[1] - BAND_HZ[0]), 0, 1)
    result: NDArray[np.complex128] = spectrum * (0.5 + 0.5 * np.cos(np.pi * edge)) * (edge < 1) * (hertz > 0)
    return result


def _written(rng: np.random.Generator, seconds: int) -> Float64:
    """Events over a faint noise, shape (seconds · WRITTEN_HZ,)."""
    signal: Float64 = 1e-4 * rng.standard_normal(seconds * WRITTEN_HZ)
    loudness = rng.uniform(-12, 0)  # of the whole recording, dB
    start = rng.uniform(0, GAP_S[1])
    while start < seconds:
        event = KINDS[rng.integers(len(KINDS))](rng)
        size = 10 ** ((loudness + rng.uniform(*SIZE_DB)) / 20)
        ramp = np.clip(np.arange(len(event)) / (ONSET_S * WRITTEN_HZ), 0, 1)
        first = int(start * WRITTEN_HZ)
        heard = signal[first : first + len(event)]
        heard += (size * event * np.sin(ramp * np.pi / 2) ** 2)[: len(heard)]
        start += np.exp(rng.uniform(*np.log(GAP_S)))
    return signal


def _times(seconds: float) -> Float64:
    return np.arange(int(seconds * WRITTEN_HZ)) / WRITTEN_HZ


def _drum(rng: np.random.Generator) -> Float64:
    """A sine that falls in pitch, with a click of noise."""
    t = _times(0.4)
    low, high = rng.uniform(45, 120), rng.uniform(150, 400)
    phase = 2 * np.pi * (low * t - (high - low) * 0.03 * np.expm1(-t / 0.03))
    click = rng.standard_normal(len(t)) * np.exp(-t / rng.uniform(0.003, 0.08))
    result: Float64 = np.sin(phase) * np.exp(-t / rng.uniform(0.05, 0.15)) + rng.uniform(0, 0.5) * click
    return result


def _pluck(rng: np.random.Generator) -> Float64:
    """Harmonics that decay the faster the higher they are."""
    return _harmonics(rng, _times(1.5), decay_s=rng.uniform(0.1, 0.8))


def _note(rng: np.random.Generator) -> Float64:
    """Harmonics held for a while, with a soft end."""
    t = _times(rng.uniform(0.2, 1.5))
    end = np.clip((t[-1] - t) / 0.05, 0, 1)
    result: Float64 = _harmonics(rng, t, decay_s=np.inf) * np.sin(end * np.pi / 2) ** 2
    return result


def _harmonics(rng: np.random.Generator, t: Float64, decay_s: float) -> Float64:
    """Σ_k Im(c_k z^k), z = exp((2πi pitch - 1/(3 decay)) t): an exponential in all, not one a harmonic."""
    pitch = 80 * 2 ** rng.uniform(0, 3.5)
    number = np.arange(1, 1 + min(12, int(BAND_HZ[0] / pitch)))
    sizes = np.exp(2j * np.pi * rng.uniform(size=len(number))) / number ** rng.uniform(1.0, 2.0)
    z = np.exp((2j * np.pi * pitch - 1 / (3 * decay_s)) * t)
    tones = np.zeros_like(z)
    for size in sizes[::-1]:
        tones = (tones + size) * z
    tone: NDArray[np.float64] = tones.imag / 2
    return tone


def _burst(rng: np.random.Generator) -> Float64:
    """Noise in a formant's band, with a few syllables."""
    from scipy.signal import lfilter

    t = _times(rng.uniform(0.2, 1.0))
    radius, angle = np.exp(-np.pi * 300 / WRITTEN_HZ), 2 * np.pi * rng.uniform(300, 3000) / WRITTEN_HZ
    noise = lfilter([1.0], [1, -2 * radius * np.cos(angle), radius**2], rng.standard_normal(len(t)))
    syllables = np.sin(np.pi * rng.integers(1, 6) * t / t[-1]) ** 2
    result: Float64 = 0.3 * noise / noise.std() * syllables
    return result


KINDS: tuple[Callable[[np.random.Generator], Float64], ...] = (_drum, _pluck, _note, _burst)
