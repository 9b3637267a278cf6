"""Slopes of straight lines through logarithms, with their intervals."""

import math

import numpy as np
import pytest
from scipy.stats import linregress, t

from mvit2_search.analysis.correlation import log_log_slope


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_a_power_law_gives_its_exponent(exponent):
    x = [1024, 1448, 2048, 2896, 4096]
    slope = log_log_slope(x, [3.7 * value**exponent for value in x])
    assert slope.value == pytest.approx(exponent, abs=1e-12)
    assert slope.high - slope.low == pytest.approx(0, abs=1e-12)
    assert slope.points == 5


def test_three_points_by_hand():
    slope = log_log_slope([1, math.e, math.e**2], [1, 1, math.e**3])
    assert slope.value == pytest.approx(1.5)  # residuals 0.5, -1, 0.5; spread 2; one degree of freedom
    assert slope.high - slope.value == pytest.approx(12.7062047 * math.sqrt(1.5 / 1 / 2))
    assert slope.value - slope.low == pytest.approx(slope.high - slope.value)


@pytest.mark.parametrize("points", [3, 5, 12])
def test_it_is_scipys_regression_of_the_logarithms(points):
    rng = np.random.default_rng(points)
    x = rng.uniform(1, 100, points)
    y = 2 * x**1.3 * rng.lognormal(0, 0.2, points)
    slope, theirs = log_log_slope(x, y), linregress(np.log(x), np.log(y))
    assert slope.value == pytest.approx(theirs.slope)
    margin = t.ppf(0.975, points - 2) * theirs.stderr
    assert (slope.low, slope.high) == pytest.approx((theirs.slope - margin, theirs.slope + margin))


def test_two_points_have_no_interval():
    with pytest.raises(ValueError, match="2 points: an interval needs 3"):
        log_log_slope([1, 2], [1, 2])
