"""Other intervals of Kendall's tau, which `certificate.py` compares with the one in use."""

import math

import numpy as np
from scipy.special import ndtr, ndtri

from mvit2_search.analysis.tau import Interval, agreement


def weighted(agreement_NN: np.ndarray, count_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tau of each resample and its jackknife error; pairs of an architecture with itself are left out."""
    others_BN, n = count_BN.sum(1, keepdims=True) - count_BN, count_BN.shape[1]
    own_BN = count_BN @ agreement_NN / others_BN
    share_BN = count_BN * others_BN / (count_BN * others_BN).sum(1, keepdims=True)
    tau_B = (share_BN * own_BN).sum(1)
    squares_B = (count_BN * (own_BN - tau_B[:, None]) ** 2).sum(1)
    return tau_B, 2 / (n - 2) * np.sqrt((n - 1) / n * squares_B)


def percentiles(values_B: np.ndarray, tails: tuple[float, float] = (0.025, 0.975)) -> tuple[float, float]:
    low, high = np.quantile(values_B, tails)
    return float(low), float(high)


def bias_corrected(tau_B: np.ndarray, tau: float, agreement_NN: np.ndarray) -> tuple[float, float]:
    """BCa (Efron 1987)."""
    own_N = agreement_NN.mean(1) - agreement_NN.mean()
    squares = float((own_N**2).sum())
    skew = float((own_N**3).sum()) / (6 * squares**1.5) if squares else 0.0
    shift = float(ndtri(np.clip(np.mean(tau_B < tau) + np.mean(tau_B == tau) / 2, 0.001, 0.999)))
    ends = [shift + (shift + z) / (1 - skew * (shift + z)) for z in (-1.96, 1.96)]
    return percentiles(tau_B, (float(ndtr(ends[0])), float(ndtr(ends[1]))))


def studentised(tau_B: np.ndarray, error_B: np.ndarray, tau: float, error: float) -> tuple[float, float]:
    """On Fisher's scale."""
    inner_B, inner = np.clip(tau_B, -0.997, 0.997), min(max(tau, -0.997), 0.997)
    some = error_B > 1e-9
    if error < 1e-9 or not some.any():
        return tau, tau
    ratios = (np.arctanh(inner_B) - math.atanh(inner)) * (1 - inner_B**2) / np.where(some, error_B, 1)
    low, high = percentiles(ratios[some])
    scale = error / (1 - inner**2)
    return math.tanh(math.atanh(inner) - high * scale), math.tanh(math.atanh(inner) - low * scale)


def both_resampled(proxy_N: np.ndarray, truth_NS: np.ndarray, count_BN: np.ndarray) -> np.ndarray:
    """Tau where seeds are drawn anew too, the same for all architectures."""
    seeds, rng = truth_NS.shape[1], np.random.default_rng(0)
    drawn_B = rng.integers(seeds**seeds, size=len(count_BN))
    chosen = [[code // seeds**s % seeds for s in range(seeds)] for code in range(seeds**seeds)]
    tau_CB = [weighted(agreement(proxy_N, truth_NS[:, one].mean(1)), count_BN)[0] for one in chosen]
    return np.array(tau_CB)[drawn_B, np.arange(len(count_BN))]


def other_intervals(proxy_N: np.ndarray, truth_NS: np.ndarray, count_BN: np.ndarray) -> dict[str, Interval]:
    pairs_NN, n = agreement(proxy_N, truth_NS.mean(1)), len(proxy_N)
    (tau,), (error,) = weighted(pairs_NN, np.ones((1, n)))
    tau_B, error_B = weighted(pairs_NN, count_BN)
    z, half = math.atanh(min(max(tau, -0.997), 0.997)), 1.96 * math.sqrt(0.437 / (n - 4))
    ends = {
        "percentile bootstrap": percentiles(tau_B),
        "the same, seeds too": percentiles(both_resampled(proxy_N, truth_NS, count_BN)),
        "BCa": bias_corrected(tau_B, tau, pairs_NN),
        "studentised, Fisher's z": studentised(tau_B, error_B, tau, error),
        "jackknife": (tau - 1.96 * error, tau + 1.96 * error),
        "normal scores (Fieller)": (math.tanh(z - half), math.tanh(z + half)),
    }
    return {name: Interval(value=tau, low=low, high=high) for name, (low, high) in ends.items()}
