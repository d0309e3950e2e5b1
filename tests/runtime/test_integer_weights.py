"""One matrix product in integers: its codes, its bias, its stated noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime.integer_weights import HEADROOM, Product, Seen, TrainedScales, make_product


def seen_of(u) -> Seen:
    covariance = np.atleast_2d(np.cov(u.T, bias=True))
    return Seen(u.min(0), u.max(0), u.mean(0), covariance)


def computed(product: Product, u):
    """The product of codes in real numbers."""
    codes = product.codes
    q = np.clip(np.rint((u - codes.shift) / codes.step) + codes.bias, -codes.limit, codes.limit)
    return q, product.scale * (q @ product.weight.T.astype(float)) + product.bias


@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 8]))
def test_the_stated_noise_is_the_noise(seed, bits):
    rng = np.random.default_rng(seed)
    m, k = rng.integers(1, 8), rng.integers(2, 12)
    mixing = rng.standard_normal((k, k)) * 10.0 ** rng.uniform(-1, 1, k)
    u = rng.standard_normal((2000, k)) @ mixing.T + rng.standard_normal(k)
    weight = rng.standard_normal((m, k)).astype(np.float32)
    product = make_product(weight, seen_of(u), bits)
    q, y = computed(product, u)
    error = y - u @ weight.T.astype(float)
    assert np.abs(q @ product.weight.T.astype(float)).max() < 2**30
    assert np.abs(error.mean(0)).max() <= 0.2 * np.sqrt(product.noise.max())  # the bias takes it back
    assert (error**2).sum(1).mean() == pytest.approx(product.noise.sum(), rel=0.35)


@pytest.mark.parametrize("bits", [16, 8])
def test_nothing_seen_in_calibration_saturates(bits):
    rng = np.random.default_rng(0)
    u = rng.standard_normal((500, 6)) * [1e-3, 1, 50, 1, 1, 1] + [0, 5, 0, 0, -3, 0]
    product = make_product(rng.standard_normal((4, 6)).astype(np.float32), seen_of(u), bits)
    q, _ = computed(product, u)
    assert np.abs(q).max() < product.codes.limit


def test_a_shift_is_in_the_codes():
    rng = np.random.default_rng(1)
    u = rng.standard_normal((500, 3)) + 4
    shift = np.array([4.0, 1.0, 0.3])
    weight = rng.standard_normal((2, 3)).astype(np.float32)
    product = make_product(weight, seen_of(u), 8, shift=shift)
    _, y = computed(product, u)
    exact = u @ weight.T.astype(float)
    assert ((y - exact) ** 2).sum() < 1e-3 * (exact**2).sum()
    assert np.array_equal(product.codes.bias, np.rint(product.codes.bias))


def test_wide_products_keep_their_sums_within_31_bits():
    rng = np.random.default_rng(2)
    u = rng.standard_normal((3000, 400))
    product = make_product(np.ones((3, 400), np.float32), seen_of(u), 16)
    assert product.codes.limit < 32767
    assert product.codes.limit * product.row_sums.max() < 2**30


def test_silent_channels_and_zero_weights():
    u = np.zeros((100, 3))
    u[:, 1] = np.linspace(-1, 1, 100)
    product = make_product(np.array([[0, 0, 0], [1, 2, 3]], np.float32), seen_of(u), 8)
    _, y = computed(product, u)
    np.testing.assert_allclose(y[:, 0], 0, atol=1e-12)
    np.testing.assert_allclose(y[:, 1], 2 * u[:, 1], atol=0.03)


def test_a_floor_is_kept():
    u = np.random.default_rng(3).standard_normal((200, 2))
    product = make_product(np.ones((1, 2), np.float32), seen_of(u), 16, floor=np.array([0.01, 0.0]))
    assert product.codes.step[0] == 0.01


@pytest.mark.parametrize(("bits", "decibels"), [(16, 40), (8, 25)])
@pytest.mark.parametrize("ratio", [1.0, 1e3, 1e6])
def test_small_values_with_large_weights_count_as_much_as_large_ones_with_small(bits, decibels, ratio):
    """Inputs in physical units: pascals beside radians."""
    rng = np.random.default_rng(4)
    units = np.array([ratio, 1 / ratio, 1.0]) ** 0.5
    u = rng.standard_normal((2000, 3)) * units
    weight = (rng.standard_normal((4, 3)) / units).astype(np.float32)
    _, y = computed(make_product(weight, seen_of(u), bits), u)
    exact = u @ weight.T.astype(float)
    assert ((y - exact) ** 2).sum() < 10 ** (-decibels / 10) * (exact**2).sum()


# --- scales from training


def trained(rng, m, k, bits) -> TrainedScales:
    return TrainedScales(rng.uniform(0.02, 0.1, k), rng.uniform(-1, 1, k), rng.uniform(0.5, 2, m) / 1e3, bits)


@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 8]))
def test_trained_scales_are_used_as_they_are(seed, bits):
    rng = np.random.default_rng(seed)
    m, k = rng.integers(1, 8), rng.integers(2, 12)
    u, weight = rng.standard_normal((200, k)), rng.standard_normal((m, k)).astype(np.float32)
    shift, scales = rng.standard_normal(k), trained(rng, m, k, bits)
    product = make_product(weight, seen_of(u), bits, shift=shift, trained=scales)
    rows = np.clip(np.rint(weight * scales.step / scales.row[:, None]), -127, 127)
    assert np.array_equal(product.weight, rows)
    assert np.array_equal(product.codes.step, scales.step) and np.array_equal(product.scale, scales.row)
    assert (np.abs(product.codes.offset - scales.offset) <= scales.step / 2 * 1.001).all()
    q, y = computed(product, u)
    seen = scales.step * q + product.codes.offset  # the rounded weights meet the rounded inputs
    np.testing.assert_allclose(y, seen @ (scales.row[:, None] * rows / scales.step).T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("known", "wanted"), [(8, 16), (16, 8)])
def test_codes_of_other_bits_keep_the_int8_weights_and_the_range(known, wanted):
    rng = np.random.default_rng(6)
    u, weight = rng.standard_normal((200, 5)), rng.standard_normal((3, 5)).astype(np.float32)
    scales = trained(rng, 3, 5, known)
    before, after = (make_product(weight, seen_of(u), bits, trained=scales) for bits in (known, wanted))
    assert np.array_equal(before.weight, after.weight)
    np.testing.assert_allclose(after.scale / after.codes.step[0], before.scale / before.codes.step[0])
    cover = [p.codes.step * p.codes.limit / HEADROOM[bits] for p, bits in ((before, known), (after, wanted))]
    np.testing.assert_allclose(cover[0], cover[1])


def test_a_floor_coarsens_all_trained_steps_alike():
    rng = np.random.default_rng(7)
    u, weight = rng.standard_normal((200, 2)), rng.standard_normal((3, 2)).astype(np.float32)
    scales = trained(rng, 3, 2, 16)
    plain = make_product(weight, seen_of(u), 16, trained=scales)
    coarse = make_product(weight, seen_of(u), 16, trained=scales, floor=3 * scales.step * [1, 0.5])
    assert np.array_equal(coarse.weight, plain.weight)
    np.testing.assert_allclose(coarse.codes.step, 3 * scales.step)
    np.testing.assert_allclose(coarse.scale, 3 * scales.row)


def test_the_noise_of_trained_scales_is_stated_for_whole_covariances_and_for_variances():
    rng = np.random.default_rng(8)
    u, weight = rng.standard_normal((4000, 4)), rng.standard_normal((3, 4)).astype(np.float32)
    whole = seen_of(u)
    scales = TrainedScales(np.full(4, 0.05), np.zeros(4), np.full(3, 2e-3), 8)
    variances = Seen(whole.low, whole.high, whole.mean, whole.covariance.diagonal()[None])
    for seen in (whole, variances):
        product = make_product(weight, seen, 8, trained=scales)
        error = computed(product, u)[1] - u @ weight.T.astype(float)
        assert (error**2).mean(0) == pytest.approx(product.noise, rel=0.35)
