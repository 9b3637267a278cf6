"""Forms that a handful of latencies can be fitted to: two parameters each, with the error of the left-out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.stats import t

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """`fit(x_NF, y_N, x_MF)` gives latencies of `x_MF` and the half-widths of their relative 95 % intervals."""

    name: str
    fit: Fit

    def leave_one_out(self, x_NF: np.ndarray, y_N: np.ndarray) -> np.ndarray:
        """The relative error of each when it is predicted from the others."""
        rows = np.arange(len(y_N))
        left_out = [self.fit(x_NF[rows != i], y_N[rows != i], x_NF[[i]])[0][0] for i in rows]
        errors_N: np.ndarray = np.array(left_out) / y_N - 1
        return errors_N


def fit_prices(x_NF: np.ndarray, y_N: np.ndarray, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A price for each column, none negative, by least squares of relative errors."""
    relative_NF = x_NF / y_N[:, None]
    prices_F = nnls(relative_NF, np.ones(len(y_N)))[0]
    fitted_M = x_MF @ prices_F
    used_F = prices_F > 0
    return fitted_M, _margin(
        relative_NF[:, used_F], 1 - relative_NF @ prices_F, (x_MF / fitted_M[:, None])[:, used_F]
    )


def fit_power(x_NF: np.ndarray, y_N: np.ndarray, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A power of the first column, by least squares of logarithms."""
    design_NP, design_MP = (np.stack([np.ones(len(x)), np.log(x[:, 0])], 1) for x in (x_NF, x_MF))
    powers_P = np.linalg.lstsq(design_NP, np.log(y_N), rcond=None)[0]
    return np.exp(design_MP @ powers_P), _margin(design_NP, np.log(y_N) - design_NP @ powers_P, design_MP)


def _margin(design_NP: np.ndarray, residual_N: np.ndarray, design_MP: np.ndarray) -> np.ndarray:
    """Half-width of Student's prediction interval; infinite where no degree of freedom is left."""
    freedom = len(residual_N) - design_NP.shape[1]
    if freedom < 1:
        return np.full(len(design_MP), np.inf)
    leverage_M = np.einsum("mp,pq,mq->m", design_MP, np.linalg.pinv(design_NP.T @ design_NP), design_MP)
    variance = float(residual_N @ residual_N) / freedom
    margin_M: np.ndarray = float(t.ppf(0.975, freedom)) * np.sqrt(variance * (1 + leverage_M))
    return margin_M
