"""What a sequence model of measured signals has to beat: persistence, ARX and output-error models.

All are judged in *free run*: outputs are predicted from the inputs alone, no measured output is
fed back. The error is

    NRMSE = mean over outputs of  RMSE(y, ŷ) / std(y)

with RMSE and standard deviation over every frame of every test sequence, so 0 is perfect and 1 is
as good as the constant mean.

A linear model of order n, one for each output, is

    A(q) (y_k − ȳ) = Σ_i B_i(q) (u_{k,i} − ū_i) + e,   A = 1 + a_1 q⁻¹ + … + a_n q⁻ⁿ

with n + 1 coefficients in each B_i, hence n real states for each output. References: Ljung, *System
Identification*, 2nd ed., §7.3 (ARX, output error); Steiglitz & McBride, IEEE TAC 10 (1965) 461.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.errors import InputError
from ssmith.train.splits import SequenceSet

Float64 = NDArray[np.float64]
Arrays = Sequence[NDArray[np.floating]]

LARGEST_RADIUS = 1 - 1e-6  # of a pole of an output-error model


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Transfer functions from U inputs to each of Y outputs.

    Args:
        denominator: A of each output with the leading one, shape (Y, n + 1).
        numerator: B of each output and input, shape (Y, U, n + 1).
        input_mean: ū, shape (U,).
        output_mean: ȳ, shape (Y,).
    """

    denominator: Float64
    numerator: Float64
    input_mean: Float64
    output_mean: Float64

    @property
    def real_order(self) -> int:
        """Number of real states of all outputs together."""
        return int(self.denominator.shape[0] * (self.denominator.shape[1] - 1))

    @property
    def spectral_radius(self) -> float:
        """Largest |pole|; at 1 or above a free run diverges."""
        return max(float(np.abs(np.roots(a)).max(initial=0.0)) for a in self.denominator)

    def simulate(self, inputs: Arrays) -> list[Float64]:
        """Free run from rest: ŷ of shape (T, Y) for each input of shape (T, U)."""
        return [self._simulate(np.asarray(u, np.float64)) for u in inputs]

    def _simulate(self, u: Float64) -> Float64:
        from scipy.signal import lfilter

        centred = u - self.input_mean
        outputs = []
        with np.errstate(over="ignore", invalid="ignore"):  # an unstable model may diverge
            for a, rows in zip(self.denominator, self.numerator, strict=True):
                outputs.append(sum(lfilter(b, a, centred[:, i], axis=0) for i, b in enumerate(rows)))
        result: Float64 = np.stack(outputs, axis=1) + self.output_mean
        return result


def nrmse(outputs: Arrays, predictions: Arrays, *, skip: int = 0) -> float:
    """The error defined at the top of this file; ``skip`` frames of each sequence are left out.

    A prediction that diverged to NaN or infinity counts as infinite error.

    Raises:
        InputError: an output never changes, so that there is nothing to relate the error to.
    """
    y = np.concatenate([np.asarray(a, np.float64)[skip:] for a in outputs])
    p = np.concatenate([np.asarray(a, np.float64)[skip:] for a in predictions])
    spread = y.std(axis=0)
    if not (spread > 0).all():
        channel = int(np.argmin(spread))
        raise InputError(
            f"output {channel} is constant ({y[0, channel]:g}) over the test sequences, so NRMSE"
            " (error / standard deviation) has no meaning; test on data where it moves"
        )
    if not np.isfinite(p).all():
        return float("inf")
    with np.errstate(over="ignore"):
        return float(np.mean(np.sqrt(np.mean((y - p) ** 2, axis=0)) / spread))


def persistence(outputs: Arrays) -> list[Float64]:
    """Free-run persistence: the first measured frame, held; shapes (T, Y) as given."""
    return [np.repeat(np.asarray(y[:1], np.float64), len(y), axis=0) for y in outputs]


def free_run_errors(
    train: SequenceSet, test: SequenceSet, real_order: int, *, skip: int = 0
) -> dict[str, float]:
    """NRMSE on ``test`` of what was fitted to ``train``: persistence, ARX and output error.

    Args:
        train: sequences with outputs at every step.
        test: likewise.
        real_order: of the two linear models. One SSM layer of N complex modes has 2 N real states.
        skip: frames at the start of each test sequence that do not count.

    Raises:
        InputError: targets that are labels, a constant output, too little data for the order.
    """
    if not isinstance(train.targets, tuple) or not isinstance(test.targets, tuple):
        raise InputError("baselines predict outputs at every step; a classification has none")
    models = {
        "arx": fit_arx(train.inputs, train.targets, real_order),
        "output_error": fit_output_error(train.inputs, train.targets, real_order),
    }
    errors = {"persistence": nrmse(test.targets, persistence(test.targets), skip=skip)}
    for name, model in models.items():
        errors[name] = nrmse(test.targets, model.simulate(test.inputs), skip=skip)
    return errors


def fit_arx(inputs: Arrays, outputs: Arrays, real_order: int) -> LinearModel:
    """ARX by least squares on the one-step prediction error.

    Args:
        inputs: sequences of shape (T, U).
        outputs: sequences of shape (T, Y).
        real_order: states to spend; each output gets ``real_order // Y`` of them.

    Raises:
        InputError: the sequences are too few or too short for the order.
    """
    u, y, n = _prepare(inputs, outputs, real_order)
    input_mean, output_mean = np.concatenate(u).mean(0), np.concatenate(y).mean(0)
    u, y = [a - input_mean for a in u], [a - output_mean for a in y]
    fits = [_least_squares(u, [a[:, i] for a in y], n) for i in range(y[0].shape[1])]
    return LinearModel(
        np.stack([a for a, _ in fits]), np.stack([b for _, b in fits]), input_mean, output_mean
    )


def fit_output_error(
    inputs: Arrays, outputs: Arrays, real_order: int, *, iterations: int = 30
) -> LinearModel:
    """Output-error model: least squares on the *free-run* error, the best a linear model can do here.

    Starts from ARX, improves by Steiglitz-McBride prefiltering, then by Levenberg-Marquardt with
    exact sensitivities ∂ŷ/∂a_i = −A⁻¹ q⁻ⁱ ŷ and ∂ŷ/∂b_j = A⁻¹ q⁻ʲ u; poles are kept inside the circle.

    Args:
        inputs: sequences of shape (T, U), each starting at rest.
        outputs: sequences of shape (T, Y).
        real_order: as for ``fit_arx``.
        iterations: of each of the two methods, at most.
    """
    start = fit_arx(inputs, outputs, real_order)
    u = [np.asarray(a, np.float64) - start.input_mean for a in inputs]
    y = [np.asarray(a, np.float64) - start.output_mean for a in outputs]
    denominators, numerators = [], []
    for i in range(y[0].shape[1]):
        target = [a[:, i] for a in y]
        a, b = start.denominator[i], start.numerator[i]
        a, b = _steiglitz_mcbride(u, target, a, b, iterations)
        a, b = _levenberg_marquardt(u, target, a, b, iterations)
        denominators.append(a)
        numerators.append(b)
    return LinearModel(np.stack(denominators), np.stack(numerators), start.input_mean, start.output_mean)


def _prepare(inputs: Arrays, outputs: Arrays, real_order: int) -> tuple[list[Float64], list[Float64], int]:
    u = [np.asarray(a, np.float64) for a in inputs]
    y = [np.asarray(a, np.float64) for a in outputs]
    n = real_order // y[0].shape[1]
    unknowns = n + (n + 1) * u[0].shape[1]
    rows = sum(max(len(a) - n, 0) for a in y)
    if n < 1 or rows < unknowns:
        raise InputError(
            f"an ARX model of real order {real_order} with {y[0].shape[1]} outputs has {unknowns}"
            f" coefficients for each output, and the data give {rows} equations;"
            " choose an order of at least the number of outputs, or give more data"
        )
    return u, y, n


def _delays(signal: Float64, first: int, last: int) -> Float64:
    """Columns q⁻ᶠⁱʳˢᵗ x … q⁻ˡᵃˢᵗ x, shape (T, last − first + 1), zeros before the start."""
    padded = np.concatenate([np.zeros(last), signal])
    columns = np.lib.stride_tricks.sliding_window_view(padded, last + 1)  # newest value last
    return columns[:, ::-1][:, first:]


def _least_squares(u: list[Float64], y: list[Float64], n: int) -> tuple[Float64, Float64]:
    """A (n + 1,) and B (U, n + 1) that minimise Σ (A y − B u)² over frames with full history."""
    regressors, targets = [], []
    for inputs, output in zip(u, y, strict=True):
        columns = [-_delays(output, 1, n)]
        columns += [_delays(inputs[:, i], 0, n) for i in range(inputs.shape[1])]
        regressors.append(np.concatenate(columns, axis=1)[n:])
        targets.append(output[n:])
    theta, *_ = np.linalg.lstsq(np.concatenate(regressors), np.concatenate(targets), rcond=None)
    return np.concatenate([[1.0], theta[:n]]), theta[n:].reshape(-1, n + 1)


def _stable(a: Float64) -> Float64:
    """The polynomial with roots outside the unit circle reflected into it."""
    roots = np.roots(a)
    radius = np.abs(roots)
    reflected = np.where(radius > LARGEST_RADIUS, roots / np.maximum(radius, 1e-300) ** 2, roots)
    shrink = np.minimum(1.0, LARGEST_RADIUS / np.maximum(np.abs(reflected), 1e-300))
    result: Float64 = np.real(np.poly(reflected * shrink))
    return result


def _free_run(u: list[Float64], a: Float64, b: Float64) -> list[Float64]:
    from scipy.signal import lfilter

    with np.errstate(over="ignore", invalid="ignore"):
        return [sum(lfilter(row, a, x[:, i]) for i, row in enumerate(b)) for x in u]


def _cost(u: list[Float64], y: list[Float64], a: Float64, b: Float64) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(float(((p - t) ** 2).sum()) for p, t in zip(_free_run(u, a, b), y, strict=True))
    return total if np.isfinite(total) else float("inf")


def _steiglitz_mcbride(
    u: list[Float64], y: list[Float64], a: Float64, b: Float64, iterations: int
) -> tuple[Float64, Float64]:
    """ARX on signals filtered by 1/A of the round before; the round with the least free-run error."""
    from scipy.signal import lfilter

    a = _stable(a)
    cost, best = _cost(u, y, a, b), (a, b)
    for _ in range(iterations):
        filtered_u = [lfilter([1.0], a, x, axis=0) for x in u]
        filtered_y = [lfilter([1.0], a, x) for x in y]
        a, b = _least_squares(filtered_u, filtered_y, len(a) - 1)
        a = _stable(a)
        if (trial := _cost(u, y, a, b)) < cost:
            cost, best = trial, (a, b)
    return best


def _levenberg_marquardt(
    u: list[Float64], y: list[Float64], a: Float64, b: Float64, iterations: int
) -> tuple[Float64, Float64]:
    n, damping, cost = len(a) - 1, 1e-3, _cost(u, y, a, b)
    for _ in range(iterations):
        gram, slope = _normal_equations(u, y, a, b)
        previous = cost
        while damping < 1e8:
            step = np.linalg.solve(gram + damping * np.diag(np.diag(gram)), slope)
            trial_a = a + np.concatenate([[0.0], step[:n]])
            trial_b = b + step[n:].reshape(b.shape)
            inside = np.abs(np.roots(trial_a)).max(initial=0.0) < LARGEST_RADIUS
            trial_cost = _cost(u, y, trial_a, trial_b) if inside else float("inf")
            if trial_cost < cost:
                a, b, cost, damping = trial_a, trial_b, trial_cost, damping / 5
                break
            damping *= 5
        if previous - cost <= 1e-6 * previous:
            break
    return a, b


def _normal_equations(u: list[Float64], y: list[Float64], a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """JᵀJ and Jᵀ(y − ŷ), J the sensitivities of ŷ to a_1 … a_n and every b."""
    from scipy.signal import lfilter

    n = len(a) - 1
    size = n + b.size
    gram, slope = np.zeros((size, size)), np.zeros(size)
    for x, target, predicted in zip(u, y, _free_run(u, a, b), strict=True):
        columns = [-_delays(lfilter([1.0], a, predicted), 1, n)]
        columns += [_delays(lfilter([1.0], a, x[:, i]), 0, n) for i in range(x.shape[1])]
        jacobian = np.concatenate(columns, axis=1)
        gram += jacobian.T @ jacobian
        slope += jacobian.T @ (target - predicted)
    return gram, slope
