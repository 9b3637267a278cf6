"""What the printed gain and its interval are worth where the truth is known.

    python benchmarks/gain.py --cases 4000 --out benchmarks/gain.json

Candidates and two published widths are "trained" with a few seeds: accuracy = level + seed + noise, with 0.7
points of noise, as short trainings have it. The best candidate is chosen by its mean, and its gain over the first
width is estimated in four ways; bias and root mean squared error are in points:

    mean        the plain mean difference
    shrunk      with its level drawn to the mean of all candidates by empirical Bayes (positive part)
    left_out    each seed scored by the candidate that the other seeds choose
    corrected   `selection_bias`, what is printed

Then the interval of `paired_difference`, beside that of the common spread alone, where all spread alike and
independently, where they do not, and where a network's seeds are correlated with each other.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import t as student_t

from mvit2_search.analysis.paired import ERROR_RATE, paired_difference, selection_bias

NOISE, WIDTHS, MANY_IMAGES = 0.7, 2, 10**9
GAPS = (0.0, 0.5, 1.0, 2.0)  # points by which the best candidate is ahead
CASES = {  # of the interval: noise of the width, of the best candidate; correlation of neighbours, of all seeds
    "alike": (1, 1, 0.0, 0.0),
    "width x 2": (2, 1, 0.0, 0.0),
    "width x 3": (3, 1, 0.0, 0.0),
    "candidate x 3": (1, 3, 0.0, 0.0),
    "neighbours 0.3": (1, 1, 0.3, 0.0),
    "neighbours 0.6": (1, 1, 0.6, 0.0),
    "all seeds 0.2": (1, 1, 0.0, 0.2),
    "all seeds 0.5": (1, 1, 0.0, 0.5),
}


def levels(count: int, gap: float, *, ladder: bool) -> np.ndarray:
    """Of the candidates over the widths: one ahead of equals, or even steps from `gap` down to 0."""
    return np.linspace(gap, 0, count) if ladder else np.array([gap, *[0.0] * (count - 1)])


def residuals(table_NRS: np.ndarray) -> np.ndarray:
    """What neither the architecture nor the seed accounts for."""
    both = table_NRS.mean(2, keepdims=True) + table_NRS.mean(1, keepdims=True)
    rest: np.ndarray = table_NRS - both + table_NRS.mean((1, 2), keepdims=True)
    return rest


def common_spread(table_NRS: np.ndarray) -> tuple[np.ndarray, int]:
    freedom = (table_NRS.shape[1] - 1) * (table_NRS.shape[2] - 1)
    return np.sqrt((residuals(table_NRS) ** 2).sum((1, 2)) / freedom), freedom


def left_out(table_NKS: np.ndarray) -> np.ndarray:
    """The mean over seeds of the score of what the other seeds choose."""
    n, _, seeds = table_NKS.shape
    others = [np.delete(table_NKS, s, 2).mean(2).argmax(1) for s in range(seeds)]
    scores: np.ndarray = np.mean([table_NKS[np.arange(n), others[s], s] for s in range(seeds)], axis=0)
    return scores


def estimates(true_K: np.ndarray, seeds: int, cases: int) -> dict[str, tuple[float, float]]:
    """Bias and root mean squared error of each way to state the gain of the best."""
    rng, count = np.random.default_rng(0), len(true_K)
    truth = np.array([*true_K, *[0.0] * WIDTHS])
    table_NRS = truth[:, None] + NOISE * rng.normal(size=(cases, len(truth), seeds))
    means_NK = table_NRS[:, :count].mean(2)
    best, high, middle = means_NK.argmax(1), means_NK.max(1), means_NK.mean(1)
    spread, freedom = common_spread(table_NRS)
    error = spread / math.sqrt(seeds)
    kept = np.clip(1 - error**2 / means_NK.var(1, ddof=1), 0, None)
    bias = [selection_bias(row, error=e, freedom=freedom) for row, e in zip(means_NK, error, strict=True)]
    stated = {
        "mean": high,
        "shrunk": middle + kept * (high - middle),
        "left_out": left_out(table_NRS[:, :count]),
        "corrected": high - np.array(bias),
    }
    wrong = {name: one - table_NRS[:, count].mean(1) - true_K[best] for name, one in stated.items()}
    return {name: (float(off.mean()), float(np.sqrt((off**2).mean()))) for name, off in wrong.items()}


def noise(case: str, count: int, seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Of the candidates, then of the widths."""
    width, candidate, neighbours, common = CASES[case]
    noise_RS = rng.normal(size=(count + WIDTHS, seeds))
    for s in range(1, seeds):
        noise_RS[:, s] = neighbours * noise_RS[:, s - 1] + math.sqrt(1 - neighbours**2) * noise_RS[:, s]
    noise_RS = math.sqrt(1 - common) * noise_RS + math.sqrt(common) * rng.normal(size=(count + WIDTHS, 1))
    noise_RS[0] *= candidate
    noise_RS[count] *= width
    return NOISE * noise_RS


def intervals(case: str, count: int, seeds: int, cases: int) -> dict[str, float]:
    """Share of intervals that hold, of the common spread alone and as they are, and how much wider they are."""
    rng, plain, held, ratios = np.random.default_rng(0), 0, 0, []
    for _ in range(cases):
        table_RS = noise(case, count, seeds, rng)
        best = int(table_RS[:count].mean(1).argmax())
        spread, freedom = common_spread(table_RS[None])
        half = student_t.ppf(1 - ERROR_RATE / count / 2, freedom) * spread[0] * math.sqrt(2 / seeds)
        first, second, *others = (
            dict(enumerate(70 + row)) for row in (*table_RS[[best, count]], *np.delete(table_RS, [best, count], 0))
        )
        found = paired_difference(first, second, images=MANY_IMAGES, others=others, compared=count)
        plain += abs(found.mean) <= half
        held += found.low <= 0 <= found.high
        ratios.append((found.high - found.low) / (2 * half))
    return {
        "common_spread_pct": round(100 * plain / cases, 1),
        "held_pct": round(100 * held / cases, 1),
        "median_ratio": round(float(np.median(ratios)), 2),
        "mean_ratio": round(float(np.mean(ratios)), 2),
    }


def estimate_rows(cases: int) -> Iterator[dict[str, object]]:
    for count in (2, 3, 4):
        for seeds in (2, 3, 5):
            for gap in GAPS:
                for ladder in (False, True) if gap and count > 2 else (False,):
                    found = estimates(levels(count, gap, ladder=ladder), seeds, cases)
                    rounded = {name: [round(x, 3) for x in row] for name, row in found.items()}
                    what = {"candidates": count, "seeds": seeds, "gap": gap, "ladder": ladder}
                    print(
                        *what.values(), *(f"{name} {b:+.2f} {e:.2f}" for name, (b, e) in found.items()), flush=True
                    )
                    yield what | {"bias_rmse": rounded}


def interval_rows(cases: int) -> Iterator[dict[str, object]]:
    for count, seeds in ((4, 3), (2, 3), (4, 2), (4, 5)):
        for case in CASES:
            row = {"case": case, "candidates": count, "seeds": seeds, **intervals(case, count, seeds, cases)}
            print(*row.values(), flush=True)
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = {
        "cases": options.cases,
        "estimates": list(estimate_rows(options.cases)),
        "intervals": list(interval_rows(options.cases)),
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
