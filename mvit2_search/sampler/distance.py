"""How unlike two networks are, as their settings say it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

_PLACE_SIGMA = 0.25  # of a coordinate of a place, before anything is known


class Distance:
    """The sum over D settings of how far apart their values are, with a weight for each setting.

    Ordered values are their squared difference apart. Each of the others has a place, and two are the squared
    distance of their places apart: 1 to begin with, less for values that turn out to act alike. Settings with the
    same choices share the places, so that what one of them shows of two operators holds for all of them. Kernels
    of such places are those of Zhang et al. (arXiv:1806.07504), which has them for every setting by itself.

    The parameters theta, of shape T, are the logarithms of D weights, then the places of every set of choices.

    Args:
        choices: of each setting; None where its values are ordered.

    Attributes:
        mean: of the parameters before anything is known, of shape T.
        sigma: their standard deviations.
    """

    def __init__(self, choices: Sequence[tuple[Any, ...] | None]) -> None:
        self._settings = len(choices)
        self._ordered = [d for d, own in enumerate(choices) if own is None]
        self._sharing = {own: [d for d, other in enumerate(choices) if other == own] for own in choices if own}
        weight, places = np.log(0.6 / self._settings), [np.eye(len(own)).ravel() / 2**0.5 for own in self._sharing]
        self.mean = np.concatenate([np.full(self._settings, weight), *places])
        self.sigma = np.where(np.arange(len(self.mean)) < self._settings, 1.0, _PLACE_SIGMA)

    def apart(self, theta: np.ndarray, a_MD: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
        """How far apart the values of two lists of networks are, setting by setting: of shape D x M x N."""
        apart_DMN = np.empty((self._settings, len(a_MD), len(b_ND)))
        for d in self._ordered:
            apart_DMN[d] = (a_MD[:, d, None] - b_ND[:, d]) ** 2
        for settings, place_VP in self._places(theta):
            apart_VV = cdist(place_VP, place_VP, "sqeuclidean")
            for d in settings:
                apart_DMN[d] = apart_VV[:, b_ND[:, d].astype(int)][a_MD[:, d].astype(int)]
        return apart_DMN

    def total(self, theta: np.ndarray, apart_DMN: np.ndarray) -> np.ndarray:
        """The distances, of shape M x N."""
        total_MN: np.ndarray = np.tensordot(np.exp(theta[: self._settings]), apart_DMN, 1)
        return total_MN

    def gradient(
        self, theta: np.ndarray, x_ND: np.ndarray, apart_DNN: np.ndarray, slope_NN: np.ndarray
    ) -> np.ndarray:
        """Slopes by the parameters, of shape T, of what has `slope_NN` by the distances among `x_ND`."""
        weight_D = np.exp(theta[: self._settings])
        parts = [weight_D * np.einsum("dmn,mn->d", apart_DNN, slope_NN)]
        for settings, place_VP in self._places(theta):
            has_DNV = (x_ND.T[settings][..., None] == np.arange(len(place_VP))).astype(float)
            slope_DVV = np.swapaxes(has_DNV, 1, 2) @ slope_NN @ has_DNV
            slope_VV = np.tensordot(weight_D[settings], slope_DVV, 1)
            slope_VV = slope_VV + slope_VV.T
            parts.append(2 * (slope_VV.sum(1)[:, None] * place_VP - slope_VV @ place_VP).ravel())
        return np.concatenate(parts)

    def _places(self, theta: np.ndarray) -> Iterator[tuple[list[int], np.ndarray]]:
        """For every set of V choices, the settings that have them and their places, of shape V x V."""
        start = self._settings
        for choices, settings in self._sharing.items():
            count = len(choices)
            yield settings, theta[start : start + count**2].reshape(count, count)
            start += count**2
