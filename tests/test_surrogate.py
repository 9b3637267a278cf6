"""The sampler's model: its gradient, what it predicts, and what it learns of choices without an order."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from scipy.optimize import approx_fprime

from mixed_settings import MIXED
from mvit2_search.sampler.domain import Encoding
from mvit2_search.sampler.surrogate import Distance, Surrogate, _loss, _prior


def rng(seed=0):
    return np.random.default_rng(seed)


class TestDistance:
    NAMES = ("conv3", "conv1", "skip")

    def test_before_anything_is_known_other_names_are_1_apart_and_numbers_their_squared_difference(self):
        distance = Distance([None, self.NAMES])
        apart_DMN = distance.apart(distance.mean, np.array([[0.2, 0.0], [0.2, 2.0]]), np.array([[0.5, 2.0]]))
        assert apart_DMN == pytest.approx(np.array([[[0.09], [0.09]], [[1.0], [0.0]]]))
        total_MN = distance.total(distance.mean, apart_DMN)
        assert total_MN == pytest.approx(0.3 * apart_DMN.sum(0))  # the prior's weights of two settings

    @pytest.mark.parametrize(("last", "expected"), [(NAMES, 3.0), (("a", "b", "c"), 2.5)])
    def test_what_settings_show_of_a_name_holds_in_others_with_the_same_choices(self, last, expected):
        """A convolution of either kind is worth 1; of the last setting only conv3 and skip are known."""
        x_ND = rng().integers(3, size=(60, 4)).astype(float)
        x_ND[:, 3] = rng(1).choice([0, 2], size=60)
        y_N = (x_ND < 2).sum(1) + rng(2).normal(0, 0.05, 60)
        model = Surrogate([*[self.NAMES] * 3, last])
        model.fit(x_ND, y_N)
        at_MD = np.array([[0, 2, 0, name] for name in range(3)], float)
        assert model.predict(at_MD)[0] == pytest.approx([3.0, expected, 2.0], abs=0.1)

    def test_other_choices_have_places_of_their_own(self):
        assert len(Distance([self.NAMES, self.NAMES]).mean) == 2 + 9
        assert len(Distance([self.NAMES, self.NAMES[::-1]]).mean) == 2 + 9 + 9
        assert len(Distance([([3], [5]), ([3], [5]), (None,)]).mean) == 3 + 4 + 1

    def test_of_very_many_choices_any_two_stay_1_apart(self):
        distance = Distance([tuple(range(500)), self.NAMES])
        x_ND = np.array([[7.0, 1.0], [7.0, 2.0], [499.0, 1.0]])
        assert len(distance.mean) == 2 + 9
        assert distance.apart(distance.mean, x_ND, x_ND[:1])[:, :, 0] == pytest.approx(
            np.array([[0, 0, 1], [0, 1, 0]])
        )


class TestSurrogate:
    def test_the_gradient_is_that_of_the_loss(self):
        encoding = Encoding(
            {**MIXED, "last_mixer": MIXED["mixer"], "norm": CategoricalDistribution(("none", "batch"))}
        )
        x_ND, z_N = encoding.draw(12, rng()), rng(1).normal(size=12)
        distance = Distance(encoding.choices)
        prior = mean, sigma = _prior(distance)
        theta = mean + 0.3 * sigma * rng(2).normal(size=len(mean))
        numeric = approx_fprime(theta, lambda at: _loss(at, distance, x_ND, z_N, prior)[0], 1e-6)
        assert len(theta) == 8 + 3**2 + 2**2 + 3
        assert _loss(theta, distance, x_ND, z_N, prior)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-4)

    def test_it_predicts_what_it_has_not_seen_and_knows_how_far_off_it_is(self):
        encoding = Encoding(MIXED)
        x_ND = encoding.draw(160, rng())
        y_N = 70 + 4 * x_ND[:, 0] - 3 * x_ND[:, 3] ** 2 + 2 * (x_ND[:, 5] == 1) + rng(1).normal(0, 0.2, 160)
        model = Surrogate(encoding.choices)
        model.fit(x_ND[:100], y_N[:100])
        mean, sigma = model.predict(x_ND[100:])
        error = np.abs(mean - y_N[100:])
        assert error.mean() < 0.4 < y_N.std() / 2
        assert np.mean(error < 2 * np.hypot(sigma, 0.2)) >= 0.85

    def test_an_order_is_used_and_names_have_none(self):
        """What lies between two values follows from them only where values have an order."""
        y_N = np.sin(3 * np.linspace(0, 1, 8))
        kept = np.array([0, 1, 2, 4, 5, 6, 7])
        ordered, named = Surrogate([None]), Surrogate([tuple("abcdefgh")])
        ordered.fit(kept[:, None] / 7, y_N[kept])
        named.fit(kept[:, None].astype(float), y_N[kept])
        assert ordered.predict(np.array([[3 / 7]]))[0] == pytest.approx(y_N[[3]], abs=0.02)
        assert abs(named.predict(np.array([[3.0]]))[0][0] - y_N[3]) > 0.2

    def test_equal_accuracies_are_no_problem(self):
        model = Surrogate([None, None])
        model.fit(rng().random((5, 2)), np.full(5, 80.0))
        assert model.predict(np.array([[0.5, 0.5]]))[0] == pytest.approx([80.0])
