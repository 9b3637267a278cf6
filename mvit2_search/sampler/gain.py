"""How much a front may gain from a network that is not trained yet."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from mvit2_search.pareto import front_mask


@dataclass(frozen=True, slots=True)
class Front:
    """A front as stairs: from `start_S[i]` to `end_S[i]` on the latency's axis, `level_S[i]` is reached already.

    Where nothing is, the level is that of the reference point.
    """

    start_S: np.ndarray
    end_S: np.ndarray
    level_S: np.ndarray

    @classmethod
    def of(cls, accuracy: np.ndarray, latency: np.ndarray, reference: tuple[float, float]) -> "Front":
        """The stairs of points; only what lies within `reference` (an accuracy, a latency) makes one."""
        worst, longest = reference
        mask = front_mask(accuracy, latency) & (accuracy > worst) & (latency < longest)
        order = np.argsort(latency[mask], kind="stable")
        starts = latency[mask][order]
        return cls(
            start_S=np.r_[-np.inf, starts],
            end_S=np.r_[starts, longest],
            level_S=np.r_[worst, accuracy[mask][order]],
        )

    def expected_gain(self, mean_M: np.ndarray, sigma_M: np.ndarray, latency_M: np.ndarray) -> np.ndarray:
        """Hypervolume that each network is expected to add, of shape M: exact for normally distributed accuracies.

        At a known latency the gain is the sum of the network's improvements over each stair to its right, and an
        expected improvement has a closed form.
        """
        width_MS = np.clip(self.end_S - np.maximum(self.start_S, latency_M[:, None]), 0, None)
        sigma_M = np.maximum(sigma_M, 1e-300)
        z_MS = (mean_M[:, None] - self.level_S) / sigma_M[:, None]
        density_MS = np.exp(-0.5 * z_MS**2) / np.sqrt(2 * np.pi)
        gain_M: np.ndarray = sigma_M * (width_MS * (z_MS * ndtr(z_MS) + density_MS)).sum(1)
        return gain_M
