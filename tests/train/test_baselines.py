"""Linear baselines: exact where the plant is linear and clean, better fitted where it is noisy."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

from ssmith.errors import InputError
from ssmith.train.baselines import fit_arx, fit_output_error, free_run_errors, nrmse, persistence
from ssmith.train.splits import SequenceSet

A = np.poly([0.95 * np.exp(0.3j), 0.95 * np.exp(-0.3j), 0.9, 0.5]).real
B = np.array([[0.5, -0.2, 0.1, 0.3, 0.0], [0.0, 1.0, -0.5, 0.0, 0.2]])


def linear_data(rng, *, sequences=8, steps=300, noise=0.0):
    inputs = [rng.standard_normal((steps, 2)) for _ in range(sequences)]
    clean = [sum(lfilter(B[i], A, u[:, i]) for i in range(2))[:, None] for u in inputs]
    return inputs, [y + noise * rng.standard_normal(y.shape) for y in clean], clean


def test_arx_finds_a_clean_linear_system_exactly():
    inputs, outputs, _ = linear_data(np.random.default_rng(0))
    inputs = [u - np.concatenate(inputs).mean(0) for u in inputs]  # rest is the mean
    outputs = [sum(lfilter(B[i], A, u[:, i]) for i in range(2))[:, None] for u in inputs]
    model = fit_arx(inputs, outputs, 4)
    assert model.real_order == 4
    np.testing.assert_allclose(model.denominator[0], A, atol=0.02)
    assert nrmse(outputs, model.simulate(inputs)) < 0.02


def test_each_output_gets_its_share_of_the_order():
    inputs, outputs, _ = linear_data(np.random.default_rng(1))
    both = [np.concatenate([y, np.roll(y, 1, axis=0)], axis=1) for y in outputs]
    model = fit_arx(inputs, both, 8)
    assert model.denominator.shape == (2, 5) and model.numerator.shape == (2, 2, 5)
    assert model.real_order == 8
    assert model.simulate(inputs)[0].shape == both[0].shape


def test_arx_minimises_the_one_step_error():
    """No other coefficients do better on the equations it was fitted to."""
    rng = np.random.default_rng(2)
    inputs, outputs, _ = linear_data(rng, noise=0.5)
    model = fit_arx(inputs, outputs, 3)

    def one_step(a, b):
        total = 0.0
        for u, y in zip(inputs, outputs, strict=True):
            u, y = u - model.input_mean, (y - model.output_mean)[:, 0]
            error = lfilter(a, [1.0], y) - sum(lfilter(b[i], [1.0], u[:, i]) for i in range(2))
            total += (error[3:] ** 2).sum()
        return total

    best = one_step(model.denominator[0], model.numerator[0])
    for _ in range(50):
        a = model.denominator[0] + np.r_[0, 1e-3 * rng.standard_normal(3)]
        assert best <= one_step(a, model.numerator[0] + 1e-3 * rng.standard_normal((2, 4)))


def test_output_error_reaches_the_noise_where_arx_is_biased():
    inputs, outputs, clean = linear_data(np.random.default_rng(3), noise=1.0)
    arx, refined = fit_arx(inputs, outputs, 4), fit_output_error(inputs, outputs, 4)
    assert nrmse(clean, refined.simulate(inputs)) < 0.1
    assert nrmse(clean, refined.simulate(inputs)) < 0.5 * nrmse(clean, arx.simulate(inputs))
    assert refined.spectral_radius < 1


def test_output_error_is_never_worse_than_arx_on_its_own_data():
    for seed in range(3):
        inputs, outputs, _ = linear_data(np.random.default_rng(seed), sequences=3, noise=0.3)
        squashed = [np.tanh(y / 2) for y in outputs]  # not linear any more
        arx, refined = fit_arx(inputs, squashed, 6), fit_output_error(inputs, squashed, 6)
        before, after = (nrmse(squashed, m.simulate(inputs)) for m in (arx, refined))
        assert after <= before * (1 + 1e-9)


def test_free_run_errors_are_of_the_test_set():
    inputs, outputs, clean = linear_data(np.random.default_rng(6), noise=1.0)
    train = SequenceSet(tuple(inputs[:6]), tuple(outputs[:6]))
    test = SequenceSet(tuple(inputs[6:]), tuple(clean[6:]))
    errors = free_run_errors(train, test, 4)
    assert errors["output_error"] < errors["arx"] < errors["persistence"]
    model = fit_arx(inputs[:6], outputs[:6], 4)
    assert errors["arx"] == nrmse(clean[6:], model.simulate(inputs[6:]))
    assert free_run_errors(train, test, 4, skip=100)["persistence"] != errors["persistence"]
    with pytest.raises(InputError, match="a classification has none"):
        free_run_errors(train, SequenceSet(test.inputs, np.array([0, 1])), 4)


def test_inputs_are_not_changed():
    inputs, outputs, _ = linear_data(np.random.default_rng(4), sequences=2, noise=0.1)
    copies = [a.copy() for a in (*inputs, *outputs)]
    fit_output_error(inputs, outputs, 4, iterations=3)
    assert all(np.array_equal(a, b) for a, b in zip((*inputs, *outputs), copies, strict=True))


def test_an_unstable_free_run_counts_as_infinite_error():
    y = [np.random.default_rng(0).standard_normal((100, 1))]
    assert nrmse(y, [np.full((100, 1), np.inf)]) == np.inf
    assert nrmse(y, [np.full((100, 1), np.nan)]) == np.inf


def test_persistence_holds_the_first_frame():
    y = np.arange(12.0).reshape(6, 2)
    (held,) = persistence([y])
    assert np.array_equal(held, np.tile([0.0, 1.0], (6, 1)))


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float64, (20, 2), elements=st.floats(-100, 100, width=32)),
    st.floats(0.01, 100),
    st.floats(-50, 50),
)
def test_nrmse_is_zero_for_perfect_one_for_the_mean_and_free_of_units(y, scale, shift):
    y = y + np.linspace(0, 1, 20)[:, None] * [1.0, 500.0]
    assume((y.std(0) > 1e-3).all())
    assert nrmse([y], [y]) == 0
    mean = np.tile(y.mean(0), (20, 1))
    assert nrmse([y], [mean]) == pytest.approx(1)
    guess = y[::-1]
    assert nrmse([scale * y + shift], [scale * guess + shift]) == pytest.approx(nrmse([y], [guess]), rel=1e-6)


def test_nrmse_leaves_out_the_first_frames():
    y = [np.arange(10.0)[:, None]]
    wrong_start = [np.r_[99.0, 99.0, np.arange(2.0, 10.0)][:, None]]
    assert nrmse(y, wrong_start) > 1
    assert nrmse(y, wrong_start, skip=2) == 0


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="output 1 is constant"):
        nrmse([np.c_[np.arange(5.0), np.ones(5)]], [np.zeros((5, 2))])
    inputs, outputs, _ = linear_data(np.random.default_rng(5), sequences=1, steps=20)
    with pytest.raises(InputError, match="real order 30"):
        fit_arx(inputs, outputs, 30)
    with pytest.raises(InputError, match="at least the number of outputs"):
        fit_arx(inputs, [np.tile(outputs[0], (1, 3))], 2)
