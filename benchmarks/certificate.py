"""What the interval and the verdict of a proxy's certificate are worth where the truth is known.

    python benchmarks/certificate.py --cases 4000 --out benchmarks/certificate.json

Architectures have a quality; a seed of the truth adds noise to it, and so does the proxy, just so much that
Kendall's tau between the proxy and the mean truth is as wanted in the population. All are normal or heavy-tailed
(Student's t with 3 degrees of freedom). In "mixed", a share of the architectures gets a random score from a proxy
that is near perfect otherwise; in "ties" scores are rounded. Shares are in percent of the simulated cases:

    intervals   `tau_interval`: covers tau, lies above or below it; the median of its lower bound, how often that
                is 0.5 or more
    others      the same of other intervals, at 24 architectures
    findings    of the other intervals of `certify`; how often it finds a bias along one of four axes where the
                proxy has none, though the first one matters
    verdicts    how often `certify` says what
    regrets     points lost by retraining the proxy's best: the mean of the true loss; mean and root mean
                squared error of `regret_pct`, of choosing with some seeds and scoring with others, of plain maxima
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from certificate_others import other_intervals

from mvit2_search.analysis.certificate import Findings, Tested, certify, regret_pct
from mvit2_search.analysis.separation import separation
from mvit2_search.analysis.tau import Interval, agreement, tau_interval

PAIRS = 400_000  # of architectures, for tau in the population
RESAMPLES = 500
TAUS = (0.0, 0.36, 0.6, 0.8, 0.95)
NETWORKS = (16, 24, 48)
SHIPPED = 0.47 / 0.51  # noise of one seed over the spread of architectures, on the shipped images
Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class World:
    """What architectures, a proxy and the truth are like; the spread of the qualities is 1.

    Attributes:
        noise: of one seed of the truth.
        proxy_noise: infinite for a random proxy.
        mixed: share of architectures whose proxy score is random all the same.
        by_latency: what one standard deviation of log latency adds to the quality.
    """

    tails: str = "normal"
    seeds: int = 2
    noise: float = 0.3
    proxy_noise: float = math.inf
    mixed: float = 0.0
    by_latency: float = 0.0

    def draw(self, rng: np.random.Generator, n: int, cases: int = 1) -> "Drawn":
        def score(size: tuple[int, ...]) -> np.ndarray:
            heavy = self.tails == "heavy"
            return rng.standard_t(3, size=size) / math.sqrt(3) if heavy else rng.standard_normal(size)

        latency_CN = score((cases, n))
        quality_CN = score((cases, n)) + self.by_latency * latency_CN
        truth_CNS = quality_CN[..., None] + self.noise * score((cases, n, self.seeds))
        noise_CN, random_CN = score((cases, n)), score((cases, n))
        is_random_CN = rng.random((cases, n)) < (1.0 if math.isinf(self.proxy_noise) else self.mixed)
        error = 0.0 if math.isinf(self.proxy_noise) else self.proxy_noise
        proxy_CN = np.where(is_random_CN, random_CN, quality_CN + error * noise_CN)
        return Drawn(quality_CN, proxy_CN, truth_CNS + rng.normal(size=(cases, 1, self.seeds)), latency_CN)


@dataclass(frozen=True)
class Drawn:
    quality_CN: np.ndarray
    proxy_CN: np.ndarray
    truth_CNS: np.ndarray
    latency_CN: np.ndarray

    def shifted(self, case: int, shift_N: np.ndarray) -> "Drawn":
        """With better qualities."""
        proxy_CN, truth_CNS = self.proxy_CN.copy(), self.truth_CNS.copy()
        proxy_CN[case] += shift_N
        truth_CNS[case] += shift_N[:, None]
        return replace(self, proxy_CN=proxy_CN, truth_CNS=truth_CNS)

    def tested(self, case: int, baseline_N: np.ndarray, axes: Mapping[str, np.ndarray]) -> Tested:
        return Tested(
            proxy_N=tuple(self.proxy_CN[case]),
            truth_NS=tuple(map(tuple, self.truth_CNS[case])),
            latency_ms_N=tuple(np.exp(0.2 * self.latency_CN[case])),
            baselines={"baseline": tuple(baseline_N)},
            axes={name: tuple(values) for name, values in axes.items()},
        )


def population_tau(first_C2: np.ndarray, second_C2: np.ndarray) -> float:
    """From many pairs."""
    orders = [np.sign(one[:, 0] - one[:, 1]) for one in (first_C2, second_C2)]
    return float(np.mean(orders[0] * orders[1]))


@cache
def tau_of(world: World) -> float:
    pairs = world.draw(np.random.default_rng(1), 2, PAIRS)
    return population_tau(pairs.proxy_CN, pairs.truth_CNS.mean(2))


@cache
def with_tau(world: World, tau: float) -> World:
    """With as much noise of the proxy as gives this tau."""
    if tau == 0:
        return world
    low, high = 0.01, 20.0
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if tau_of(replace(world, proxy_noise=middle)) > tau else (low, middle)
    return replace(world, proxy_noise=middle)


def pct(share: "float | np.floating[Any]") -> float:
    return round(100 * float(share), 1)


def coverage(found: list[Interval], value: float) -> Row:
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))
    return {
        "covered": pct(np.mean((low <= value) & (value <= high))),
        "above": pct(np.mean(low > value)),  # the interval is
        "below": pct(np.mean(high < value)),
        "median_low": round(float(np.median(low)), 3),
        "at_least_half": pct(np.mean(low >= 0.5)),
    }


def worlds() -> Iterator[tuple[World, Row]]:
    for tails in ("normal", "heavy"):
        for seeds in (2, 3):
            for tau in TAUS:
                noise = 0.05 if tau > 0.9 else 0.3
                yield with_tau(World(tails=tails, seeds=seeds, noise=noise), tau), {"tails": tails, "tau": tau}
    for mixed in (0.05, 0.1, 0.2):
        yield World(noise=0.05, proxy_noise=0.05, mixed=mixed), {"tails": f"mixed {mixed:g}"}
    yield World(noise=0.0, proxy_noise=0.0), {"tails": "perfect"}
    yield World(noise=0.3, proxy_noise=0.0), {"tails": "perfect, noisy truth"}


def interval_rows(cases: int) -> Iterator[Row]:
    for world, what in worlds():
        tau = tau_of(world)
        for n in NETWORKS:
            drawn = world.draw(np.random.default_rng(0), n, cases)
            pairs = zip(drawn.proxy_CN, drawn.truth_CNS.mean(2), strict=True)
            found = [tau_interval(agreement(*pair)) for pair in pairs]
            yield {**what, "tau": round(tau, 3), "seeds": world.seeds, "networks": n, **coverage(found, tau)}
    yield from tie_rows(cases)


def tie_rows(cases: int) -> Iterator[Row]:
    """Scores are rounded to half a spread, so that many architectures are equal."""
    world = with_tau(World(), 0.6)
    pairs = world.draw(np.random.default_rng(1), 2, PAIRS)
    rough = [np.round(2 * one) / 2 for one in (pairs.proxy_CN, pairs.truth_CNS.mean(2))]
    tau = population_tau(*rough)
    for n in NETWORKS:
        drawn = world.draw(np.random.default_rng(0), n, cases)
        rough = [np.round(2 * one) / 2 for one in (drawn.proxy_CN, drawn.truth_CNS.mean(2))]
        found = [tau_interval(agreement(*pair)) for pair in zip(*rough, strict=True)]
        yield {"tails": "ties", "tau": round(tau, 3), "seeds": 2, "networks": n, **coverage(found, tau)}


def other_rows(cases: int) -> Iterator[Row]:
    n = 24
    for world, what in worlds():
        if world.seeds == 2 and world.noise and what.get("tau") not in (0.36, 0.8):
            rng, tau = np.random.default_rng(0), tau_of(world)
            drawn = world.draw(rng, n, cases)
            count_BN = rng.multinomial(n, [1 / n] * n, size=RESAMPLES).astype(float)
            found = [other_intervals(*one, count_BN) for one in zip(drawn.proxy_CN, drawn.truth_CNS, strict=True)]
            for name in found[0]:
                yield {
                    "interval": name,
                    **what,
                    "tau": round(tau, 3),
                    **coverage([one[name] for one in found], tau),
                }


def simulated(world: World, n: int, cases: int, baseline_noise: float = 2.0, axes: int = 0) -> Iterator[Findings]:
    """Certificates, with a baseline that knows the quality up to this noise. The first axis adds to quality."""
    rng = np.random.default_rng(0)
    drawn = world.draw(rng, n, cases)
    baseline_CN = drawn.quality_CN + baseline_noise * rng.normal(size=drawn.quality_CN.shape)
    for case in range(cases):
        values_AN = rng.integers(0, 3, size=(axes, n)).astype(float)
        shift_N = values_AN[0] if axes else np.zeros(n)
        one = drawn.shifted(case, shift_N)
        yield certify(one.tested(case, baseline_CN[case], {str(axis): row for axis, row in enumerate(values_AN)}))


def left_by_latency(score_C2: np.ndarray, latency_C2: np.ndarray) -> np.ndarray:
    """The residuals of a line in log latency, in the population."""
    x, y = latency_C2 - latency_C2.mean(), score_C2 - score_C2.mean()
    left: np.ndarray = y - x * float((x * y).sum() / (x * x).sum())
    return left


def finding_rows(cases: int) -> Iterator[Row]:
    for tails, n in (("normal", 16), ("normal", 24), ("heavy", 24), ("normal", 48)):
        world = World(tails=tails, noise=0.5, proxy_noise=0.7, by_latency=0.8)
        found = list(simulated(world, n, cases, baseline_noise=1.0))
        true = true_findings(world)
        yield {
            "tails": tails,
            "networks": n,
            **{name: coverage([intervals(one)[name] for one in found], value) for name, value in true.items()},
            "some_bias": {kind: some_bias(one, n, max(cases // 4, 1)) for kind, one in BIASED.items()},
        }


BIASED = {
    "usual": World(proxy_noise=0.7),
    "noisy truth": World(noise=SHIPPED, proxy_noise=0.7),
    "random proxy": World(proxy_noise=1000.0),
}


def some_bias(world: World, n: int, cases: int) -> float:
    found = simulated(world, n, cases, axes=4)
    return pct(np.mean([any(bias.favoured is not None for bias in one.bias.values()) for one in found]))


def intervals(found: Findings) -> dict[str, Interval]:
    lead = found.leads["baseline"]
    return {"lead": lead, "beyond_latency": found.beyond_latency, "ceiling": found.ceiling}


def true_findings(world: World) -> dict[str, float]:
    rng = np.random.default_rng(1)
    pairs = world.draw(rng, 2, PAIRS)
    truth_C2 = pairs.truth_CNS.mean(2)
    tau, other = (population_tau(one, truth_C2) for one in (pairs.proxy_CN, noisy(pairs.quality_CN, rng)))
    left = [left_by_latency(one, pairs.latency_CN) for one in (pairs.proxy_CN, truth_C2)]
    ceiling = population_tau(pairs.quality_CN, truth_C2)
    return {"lead": tau - other, "beyond_latency": population_tau(*left), "ceiling": ceiling}


def noisy(quality_C2: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    result: np.ndarray = quality_C2 + rng.normal(size=quality_C2.shape)
    return result


def verdict_rows(cases: int) -> Iterator[Row]:
    kinds: dict[str, tuple[World, float]] = {
        "useless proxy": (World(), 2.0),
        "useless proxy, heavy tails": (World(tails="heavy"), 2.0),
        "perfect proxy": (World(proxy_noise=0.0), 2.0),
        "perfect proxy, no noise in the truth": (World(noise=0.01, proxy_noise=0.0), 2.0),
        "perfect proxy, noise as on the shipped images": (World(noise=SHIPPED, proxy_noise=0.0), 2.0),
        "not separable": (World(noise=100.0, proxy_noise=0.0), 2.0),
        "tau 0.36": (with_tau(World(), 0.36), 4.0),
        "tau 0.5": (with_tau(World(), 0.5), 4.0),
        "tau 0.7": (with_tau(World(), 0.7), 4.0),
        "tau 0.8": (with_tau(World(), 0.8), 4.0),
        "tau 0.7, a baseline of 0.8": (with_tau(World(), 0.7), with_tau(World(), 0.8).proxy_noise),
        "tau 0.7, a baseline of 0.7": (with_tau(World(), 0.7), with_tau(World(), 0.7).proxy_noise),
    }
    for name, (world, baseline_noise) in kinds.items():
        for n in NETWORKS:
            said = Counter(found.verdict for found in simulated(world, n, cases, baseline_noise))
            yield {
                "kind": name,
                "networks": n,
                **{v: pct(said[v] / cases) for v in ("ranks", "coarse", "useless")},
            }


def regret_rows(cases: int) -> Iterator[Row]:
    for seeds in (2, 3):
        for noise in (0.3, SHIPPED):
            drawn = World(seeds=seeds, noise=noise, proxy_noise=1.0).draw(np.random.default_rng(0), 24, cases)
            tested = [drawn.tested(case, np.zeros(24), {}) for case in range(cases)]
            reliability = [separation(truth_NS).reliability for truth_NS in drawn.truth_CNS]
            for best in (1, 5, 16):
                few_CK = np.argsort(-drawn.proxy_CN, axis=1)[:, :best]
                true = lost_by(drawn.quality_CN, few_CK)
                lost = {
                    "regret_pct": [
                        regret_pct(*one) for one in zip(tested, [best] * cases, reliability, strict=True)
                    ],
                    "left_out": left_out(drawn.truth_CNS, few_CK),
                    "plain": lost_by(drawn.truth_CNS.mean(2), few_CK),
                }
                what: Row = {"seeds": seeds, "noise": round(noise, 2), "best": best}
                wrong = {name: mean_and_error(np.array(values), true) for name, values in lost.items()}
                yield {**what, "true": round(float(true.mean()), 3), **wrong}


def mean_and_error(stated_C: np.ndarray, true_C: np.ndarray) -> list[float]:
    return [round(float(stated_C.mean()), 3), round(float(np.sqrt(np.mean((stated_C - true_C) ** 2))), 3)]


def left_out(truth_CNS: np.ndarray, few_CK: np.ndarray) -> np.ndarray:
    """Chosen by all seeds but one and scored with that one; the mean over seeds."""
    cases, seeds = np.arange(len(truth_CNS)), truth_CNS.shape[2]
    lost = []
    for seed in range(seeds):
        others_CN = np.delete(truth_CNS, seed, axis=2).mean(2)
        chosen_C = few_CK[cases, np.take_along_axis(others_CN, few_CK, 1).argmax(1)]
        lost.append(truth_CNS[cases, others_CN.argmax(1), seed] - truth_CNS[cases, chosen_C, seed])
    mean_C: np.ndarray = np.mean(lost, axis=0)
    return mean_C


def lost_by(score_CN: np.ndarray, few_CK: np.ndarray) -> np.ndarray:
    loss: np.ndarray = score_CN.max(1) - np.take_along_axis(score_CN, few_CK, 1).max(1)
    return loss


def printed(rows: Iterator[Row]) -> list[Row]:
    kept = []
    for row in rows:
        print(*row.values(), flush=True)
        kept.append(row)
    return kept


TABLES: dict[str, tuple[Callable[[int], Iterator[Row]], int]] = {  # with the share of cases
    "intervals": (interval_rows, 1),
    "others": (other_rows, 4),
    "findings": (finding_rows, 4),
    "verdicts": (verdict_rows, 4),
    "regrets": (regret_rows, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report: dict[str, object] = {"cases": options.cases}
    for name, (table, part) in TABLES.items():
        cases = max(options.cases // part, 1)
        report[name] = {"cases": cases, "rows": printed(table(cases))}
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
