r"""A generated optical compressor: audio and two knobs in, audio with less dynamics out, at any rate.

In continuous time, u the dry signal, T the threshold and τ_s the release, both constant in a recording:

.. math::
    \tau_p\,\dot p &= u^2 - p, \qquad \ell = 10\log_{10}(2p + \varepsilon)         &&\text{level in dB}\\
    g &= (1 - 1/R)\,\mathrm{knee}(\ell - T)                               &&\text{wanted reduction in dB}\\
    \dot m &= (g - m)/\tau_m, \quad \tau_m = \text{charge if } g > m \text{ else } \tau_s
                                                                          &&\text{memory of the cell}\\
    \dot r &= (h - r)/\tau_r, \quad h = \max(g, m/2), \quad
              \tau_r = \text{attack if } h > r \text{ else release}       &&\text{reduction in dB}\\
    y &= 10^{-r/20}\,u

A sine of amplitude 1 is at 0 dB. The knee is quadratic over W dB [Giannoulis2012]. The detector hears the
input (feed-forward). Like the photocell of an LA-2A the release has two stages and depends on the programme:
a short peak is forgotten in tens of milliseconds; after a long loud passage the cell keeps half of its
reduction and loses it over seconds.

Per sample the two followers are exact for a target that is held, the detector for an input that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.train.dry_signal import dry_signal

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

RATE_HZ = 48_000.0
SECONDS = 3  # of a recording
THRESHOLD_DB = (-40.0, -15.0)  # the knobs' ranges
RELEASE_S = (0.5, 5.0)
QUIET = 1e-8  # ε; the level of silence is -80 dB


@dataclass(frozen=True)
class Compressor:
    """The constants of the equations above; times in s."""

    detector: float = 0.005  # τ_p
    ratio: float = 4.0  # R
    knee_db: float = 10.0  # W
    charge: float = 0.3
    attack: float = 0.010
    release: float = 0.060
    kept: float = 0.5  # share of the memory that holds the reduction

    def wanted_db(self, level_db: Float64, threshold_db: Float64) -> Float64:
        """The static curve: g in dB, at least 0, of a level."""
        over, w = level_db - threshold_db, self.knee_db
        knee = np.clip(over + w / 2, 0, w) ** 2 / (2 * w)
        result: Float64 = (1 - 1 / self.ratio) * (knee + np.maximum(over - w / 2, 0))
        return result

    def reduction_db(
        self, dry: Float64, threshold_db: Float64, release_s: Float64, rate_hz: float
    ) -> Float64:
        """The reduction r of recordings side by side, from rest.

        Args:
            dry: u, shape (recordings, T).
            threshold_db: T of each, shape (recordings,).
            release_s: τ_s of each, shape (recordings,).
            rate_hz: samples per second.

        Returns:
            dB, at least 0, shape (recordings, T).
        """
        from scipy.signal import lfilter

        pole = np.exp(-1 / (rate_hz * self.detector))
        power = lfilter([1 - pole], [1, -pole], dry**2, axis=1)
        wanted = self.wanted_db(10 * np.log10(2 * power + QUIET), threshold_db[:, None])
        memory = follow(wanted, self.charge, release_s, rate_hz)
        return follow(np.maximum(wanted, self.kept * memory), self.attack, self.release, rate_hz)


def follow(target: Float64, rise_s: Float64 | float, fall_s: Float64 | float, rate_hz: float) -> Float64:
    """ẋ = (target - x) / τ from 0 with τ = rise where x is below its target, else fall.

    x never crosses a target that is held over a sample, so one of two affine maps is exact for the sample; it
    is the larger one, as long as what rises is the faster: the maps meet where x is at its target.

    Args:
        target: held over each sample, shape (recordings, T).
        rise_s: τ in s, one or one a recording; not above ``fall_s``.
        fall_s: likewise.
        rate_hz: samples per second.

    Returns:
        x at the end of each sample, shape (recordings, T).
    """
    rise, fall = (np.exp(-1 / (rate_hz * np.asarray(tau))) for tau in (rise_s, fall_s))
    x, path = np.zeros(len(target)), np.empty(target.T.shape)
    for k, goal in enumerate(np.ascontiguousarray(target.T)):
        away = x - goal
        x = path[k] = goal + np.maximum(rise * away, fall * away)
    return np.ascontiguousarray(path.T)


def recordings(
    seed: int,
    count: int,
    *,
    rate_hz: float = RATE_HZ,
    seconds: int = SECONDS,
    compressor: Compressor | None = None,
) -> list[tuple[Float32, Float32]]:
    """Record ``count`` dry signals and what the compressor makes of them, from rest.

    The same seed gives the same recordings at every rate: the dry signals are band-limited (``dry_signal``)
    and the compressor is defined in continuous time.

    Args:
        seed: fixes signals and knobs.
        count: number of recordings.
        rate_hz: samples per second, at least 44,100 for the dry signals' band.
        seconds: length of each.
        compressor: the device; None is the default one.

    Returns:
        Pairs ((T, 3): dry sample, threshold in dB, release in s; (T, 1): compressed sample).
    """
    dry = np.stack([dry_signal([seed, i], seconds, rate_hz) for i in range(count)])
    rng = np.random.default_rng([seed, 0xC0DA])
    threshold = rng.uniform(*THRESHOLD_DB, count)
    release = np.exp(rng.uniform(math.log(RELEASE_S[0]), math.log(RELEASE_S[1]), count))
    device = Compressor() if compressor is None else compressor
    wet = dry * 10 ** (-device.reduction_db(dry, threshold, release, rate_hz) / 20)
    knobs = np.stack([threshold, release], axis=1).astype(np.float32)
    return [
        (np.column_stack([u, np.tile(k, (len(u), 1))]).astype(np.float32), y[:, None].astype(np.float32))
        for u, k, y in zip(dry, knobs, wet, strict=True)
    ]
