"""How unlike two networks are, as their settings say it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

_PLACE_SIGMA = 0.25  # of a coordinate of a place, before anything is known
_MOST_PLACED = 30  # choices of a setting; of more, hardly any is met often enough to be placed


class Distance:
    """The sum over D settings of how far apart their values are, with a weight for each setting.

    Ordered values are their squared difference apart. Each of the others has a place, and two are the squared
    distance of their places apart: 1 before anything is known, then less where they act alike and more where they
    do not. Settings with the same choices in the same order share the places, so that what one setting shows of
    two operators holds in all of them; how much a setting matters is its weight. Kernels of such places, for each
    setting alone, are those of Zhang et al. (arXiv:1806.07504). Of very many choices any two stay 1 apart.

    The parameters theta, of shape T, are the logarithms of D weights, then the places of every set of choices;
    what a given theta holds behind them is not looked at.

    Args:
        choices: of each setting; None where its values are ordered.

    Attributes:
        mean: of the parameters before anything is known, of shape T.
        sigma: their standard deviations.
    """

    def __init__(self, choices: Sequence[tuple[Any, ...] | None]) -> None:
        self._choices = choices
        settings = len(choices)
        places = [np.eye(count).ravel() / 2**0.5 for _, count in self._placed()]
        self.mean = np.concatenate([np.full(settings, np.log(0.6 / settings)), *places])
        self.sigma = np.where(np.arange(len(self.mean)) < settings, 1.0, _PLACE_SIGMA)

    def apart(self, theta: np.ndarray, a_MD: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
        """How far apart the values of two lists of networks are, setting by setting: of shape D x M x N."""
        apart_DMN = np.empty((len(self._choices), len(a_MD), len(b_ND)))
        for d, choices in enumerate(self._choices):
            if choices is None:
                apart_DMN[d] = (a_MD[:, d, None] - b_ND[:, d]) ** 2
            else:
                apart_DMN[d] = a_MD[:, d, None] != b_ND[:, d]
        for settings, place_VV in self._places(theta):
            apart_VV = cdist(place_VV, place_VV, "sqeuclidean")
            for d in settings:
                apart_DMN[d] = apart_VV[:, b_ND[:, d].astype(int)][a_MD[:, d].astype(int)]
        return apart_DMN

    def total(self, theta: np.ndarray, apart_DMN: np.ndarray) -> np.ndarray:
        """The distances, of shape M x N."""
        total_MN: np.ndarray = np.tensordot(self._weights(theta), apart_DMN, 1)
        return total_MN

    def gradient(
        self, theta: np.ndarray, x_ND: np.ndarray, apart_DNN: np.ndarray, slope_NN: np.ndarray
    ) -> np.ndarray:
        """Slopes by the parameters, of shape T, of what has `slope_NN` by the distances among `x_ND`."""
        weight_D = self._weights(theta)
        parts = [weight_D * np.einsum("dmn,mn->d", apart_DNN, slope_NN)]
        for settings, place_VV in self._places(theta):
            has_SNV = (x_ND.T[settings][..., None] == np.arange(len(place_VV))).astype(float)
            slope_SVV = np.swapaxes(has_SNV, 1, 2) @ slope_NN @ has_SNV
            slope_VV = np.tensordot(weight_D[settings], slope_SVV, 1)
            slope_VV = slope_VV + slope_VV.T
            parts.append(2 * (slope_VV.sum(1)[:, None] * place_VV - slope_VV @ place_VV).ravel())
        return np.concatenate(parts)

    def _weights(self, theta: np.ndarray) -> np.ndarray:
        weight_D: np.ndarray = np.exp(theta[: len(self._choices)])
        return weight_D

    def _places(self, theta: np.ndarray) -> Iterator[tuple[list[int], np.ndarray]]:
        """For every set of V choices, the settings that share it and the places, one row for each choice."""
        start = len(self._choices)
        for settings, count in self._placed():
            yield settings, theta[start : start + count**2].reshape(count, count)
            start += count**2

    def _placed(self) -> Iterator[tuple[list[int], int]]:
        """For every set of choices that have places, the settings that share it and how many choices it has."""
        for d, choices in enumerate(self._choices):
            if choices is not None and len(choices) <= _MOST_PLACED and self._choices.index(choices) == d:
                yield [i for i, other in enumerate(self._choices) if other == choices], len(choices)
