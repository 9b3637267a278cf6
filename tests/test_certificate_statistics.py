"""What a proxy's scores say about the truth: taus and their intervals, noise, regret, bias and the verdict."""

import doctest
import json
import math
import sys
from dataclasses import asdict, replace

import certificate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import f as f_distribution
from scipy.stats import kendalltau

from mvit2_search.analysis import separation as separation_module
from mvit2_search.analysis import tau as tau_module
from mvit2_search.analysis.axis_bias import biases
from mvit2_search.analysis.certificate import Tested as Observed
from mvit2_search.analysis.certificate import certify, regret_pct
from mvit2_search.analysis.paired import seed_spread
from mvit2_search.analysis.separation import ceiling_of, separation
from mvit2_search.analysis.tau import agreement, difference_interval, tau_interval

scores = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12)


def drawn(n=24, *, noise=0.3, proxy_noise=0.3, seeds=2, seed=0):
    """Qualities, the proxy's scores and the truth's, which seeds move all alike too."""
    rng = np.random.default_rng(seed)
    quality_N = rng.normal(size=n)
    common_S = 3 * rng.normal(size=seeds)
    truth_NS = quality_N[:, None] + noise * rng.normal(size=(n, seeds)) + common_S
    return quality_N, quality_N + proxy_noise * rng.normal(size=n), 60 + truth_NS


def observed(proxy_N, truth_NS, *, latency_ms_N=None, baselines=None, axes=None):
    return Observed(
        proxy_N=tuple(map(float, proxy_N)),
        truth_NS=tuple(tuple(map(float, row)) for row in truth_NS),
        latency_ms_N=tuple(np.linspace(5, 10, len(proxy_N)) if latency_ms_N is None else latency_ms_N),
        baselines=baselines or {},
        axes=axes or {},
    )


def tau_of(pairs_NN):
    return tau_interval(pairs_NN).value


def left_out_error(pairs_NN):
    """The jackknife's standard error, by leaving out in earnest."""
    n = len(pairs_NN)
    without = [tau_of(np.delete(np.delete(pairs_NN, i, 0), i, 1)) for i in range(n)]
    return math.sqrt((n - 1) / n * float(np.square(np.array(without) - np.mean(without)).sum()))


def test_tau_is_kendalls():
    _, proxy_N, truth_NS = drawn()
    expected = kendalltau(proxy_N, truth_NS[:, 0]).statistic
    assert tau_of(agreement(proxy_N, truth_NS[:, 0])) == pytest.approx(expected, abs=1e-12)


@given(scores)
def test_a_tied_pair_is_half_agreed_and_the_interval_holds_its_estimate(rows):
    x, y = zip(*rows, strict=True)
    n, found = len(rows), tau_interval(agreement(x, y))
    agreed = sum(
        (x[i] > x[j]) - (x[i] < x[j]) == (y[i] > y[j]) - (y[i] < y[j]) for i in range(n) for j in range(i)
    )
    tied = sum(x[i] == x[j] or y[i] == y[j] for i in range(n) for j in range(i))
    both = sum(x[i] == x[j] and y[i] == y[j] for i in range(n) for j in range(i))
    expected = (2 * (agreed - both) + tied) / (n * (n - 1) / 2) - 1
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_the_interval_is_the_jackknifes_on_fishers_scale():
    quality_N, proxy_N, _ = drawn(40, proxy_noise=1.0)
    pairs_NN = agreement(proxy_N, quality_N)
    found = tau_interval(pairs_NN)
    half = 1.959964 * left_out_error(pairs_NN) / (1 - found.value**2)
    assert math.atanh(found.value) - math.atanh(found.low) == pytest.approx(half, abs=1e-5)
    assert math.atanh(found.high) - math.atanh(found.value) == pytest.approx(half, abs=1e-5)


@pytest.mark.parametrize("n", [6, 8, 16, 24])
def test_perfect_order_proves_as_much_as_one_more_network_could_spoil(n):
    found = tau_interval(agreement(range(n), range(n)))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(1 - stdtrit(n - 1, 0.975) * left_out_error(spoiled(n)))
    assert (found.low >= 0.5) == (n > 8)


def spoiled(n):
    """Perfect order but for one more network, which agrees with no other."""
    pairs_NN = agreement(range(n + 1), range(n + 1))
    pairs_NN[0] = pairs_NN[:, 0] = 0
    return pairs_NN


def test_the_difference_of_two_taus_is_paired():
    quality_N, proxy_N, _ = drawn(30, proxy_noise=1.0)
    first_NN, second_NN = agreement(proxy_N, quality_N), agreement(-proxy_N, quality_N)
    found = difference_interval(first_NN, second_NN)
    half = stdtrit(29, 0.975) * left_out_error(first_NN - second_NN)
    assert found.value == pytest.approx(2 * tau_of(first_NN))
    assert found.value - found.low == pytest.approx(half)
    same = difference_interval(first_NN, first_NN)
    assert same.low < 0 == same.value < same.high


@pytest.mark.parametrize(("noise", "tau"), [(None, 0.0), (0.7265, 0.6), (0.324, 0.8)])
def test_the_interval_covers(noise, tau):
    """Correlation sin(pi tau / 2); a normal approximation with 24 networks, so 93 % at least."""
    rng, covered, above = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        quality_N, noise_N = rng.normal(size=(2, 24))
        proxy_N = noise_N if noise is None else quality_N + noise * noise_N
        found = tau_interval(agreement(proxy_N, quality_N))
        covered += found.low <= tau <= found.high
        above += found.low > tau
    assert 930 <= covered < 1000
    assert above <= 35


def test_a_seeds_common_part_changes_nothing():
    _, proxy_N, truth_NS = drawn(proxy_noise=1.0)
    axes = {"width": tuple(np.arange(24.0) % 4)}
    first = certify(observed(proxy_N, truth_NS, axes=axes))
    second = certify(observed(proxy_N, truth_NS + np.array([0.0, 16.0]), axes=axes))
    assert near(asdict(first), asdict(second))


def near(first, second):
    """Of nested numbers."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(near(first[key], second[key]) for key in first)
    return first == pytest.approx(second, abs=1e-6)


def test_one_seed_against_another_and_the_ceiling_of_their_mean():
    quality_N, proxy_N, truth_NS = drawn(1500, noise=0.47 / 0.51, seeds=3)
    found = certify(observed(proxy_N, truth_NS))
    assert found.seed_tau.value == pytest.approx(0.364, abs=0.02)
    perfect = tau_of(agreement(quality_N, truth_NS.mean(1)))
    assert found.ceiling.value == pytest.approx(perfect, abs=0.02)
    assert perfect == pytest.approx(0.69, abs=0.02)
    assert found.ceiling.low < found.ceiling.value < found.ceiling.high


def test_the_ceiling_of_noise_is_zero_and_of_no_noise_one():
    assert ceiling_of(-0.2, 2) == 0
    assert ceiling_of(1.0, 2) == pytest.approx(1)
    assert ceiling_of(0.4, 2) < ceiling_of(0.4, 3) < ceiling_of(0.4, 100) < 1


def test_the_spreads_are_those_of_architectures_and_of_seeds():
    _, _, truth_NS = drawn(3000, noise=0.9, seeds=2)
    found = separation(truth_NS)
    assert found.architectures_pct == pytest.approx(1.0, abs=0.05)
    assert found.seeds_pct == pytest.approx(0.9, abs=0.04)
    assert found.seeds_pct == pytest.approx(
        seed_spread([dict(enumerate(row)) for row in truth_NS[:50]])[0], rel=0.3
    )
    assert found.reliability == pytest.approx(1 / (1 + 0.81 / 2), abs=0.03)
    assert found.p_value < 1e-9


def test_the_p_value_compares_fits_with_and_without_architectures():
    truth_NS = np.random.default_rng(0).normal(size=(8, 4)) + 0.6 * np.arange(8)[:, None] + np.arange(4)
    spread, freedom = seed_spread([dict(enumerate(row)) for row in truth_NS])
    found, without = separation(truth_NS), float(((truth_NS - truth_NS.mean(0)) ** 2).sum())
    assert found.seeds_pct == pytest.approx(spread)
    ratio = (without - freedom * spread**2) / 7 / spread**2
    assert found.p_value == pytest.approx(f_distribution.sf(ratio, 7, freedom))


def test_equal_architectures_are_found_separable_one_time_in_twenty():
    found = [separation(np.random.default_rng(seed).normal(size=(24, 2))) for seed in range(1000)]
    assert 25 <= sum(one.holds for one in found) <= 75


def test_regret_is_what_the_truth_says_where_it_has_no_noise():
    truth_N = np.array([10.0, 40.0, 20.0, 30.0])
    case = observed([4, 1, 3, 2], np.repeat(truth_N[:, None], 2, axis=1))
    assert [regret_pct(case, best, 1.0) for best in (1, 2, 3, 4, 16)] == [30.0, 20.0, 10.0, 0.0, 0.0]
    assert certify(case).regret_pct == {1: pytest.approx(30.0), 5: 0.0, 16: 0.0}


def test_regret_of_equal_scores_takes_the_fastest():
    case = observed([5, 5, 5], [[1, 1], [3, 3], [2, 2]], latency_ms_N=[9, 8, 7])
    assert regret_pct(case, 1, 1.0) == 1.0


def test_regret_is_not_as_optimistic_as_noisy_maxima():
    wrong, plain = [], []
    for seed in range(300):
        quality_N, proxy_N, truth_NS = drawn(noise=1.0, proxy_noise=1.0, seed=seed)
        best, mean_N = int(proxy_N.argmax()), truth_NS.mean(1)
        true = quality_N.max() - quality_N[best]
        wrong.append(regret_pct(observed(proxy_N, truth_NS), 1, separation(truth_NS).reliability) - true)
        plain.append(mean_N.max() - mean_N[best] - true)
    assert abs(np.mean(wrong)) < 0.12
    assert np.mean(plain) > 0.3


def with_axis(seed, *, favoured=0.0, matters=1.0, proxy_noise=0.5):
    """Networks of an axis with three values that adds to the quality, and to the proxy's score beyond that."""
    rng = np.random.default_rng(seed)
    value_N = rng.integers(1, 4, size=24).astype(float)
    quality_N = matters * value_N + rng.normal(size=24)
    truth_NS = quality_N[:, None] + 0.3 * rng.normal(size=(24, 2))
    return value_N, quality_N + favoured * value_N + proxy_noise * rng.normal(size=24), truth_NS


@pytest.mark.parametrize(("favoured", "end"), [(3.0, 3.0), (-3.0, 1.0)])
def test_the_end_of_an_axis_that_the_proxy_favours_is_named(favoured, end):
    value_N, proxy_N, truth_NS = with_axis(0, favoured=favoured)
    found = biases(proxy_N, truth_NS, {"depth": tuple(value_N)})["depth"]
    assert found.favoured == end
    assert (found.low_end, found.high_end) == (1.0, 3.0)
    assert found.effect.value * favoured > 0


@pytest.mark.parametrize("proxy_noise", [0.5, 2.0, 1000.0])
def test_a_noisy_proxy_is_not_biased(proxy_noise):
    """It follows an axis that matters less than the truth does: 1 in 20 is allowed to look biased by chance."""
    found = []
    for seed in range(150):
        value_N, proxy_N, truth_NS = with_axis(seed, proxy_noise=proxy_noise)
        found.append(biases(proxy_N, truth_NS, {"depth": tuple(value_N)})["depth"].favoured is not None)
    assert sum(found) <= 15


def test_many_axes_widen_each_interval():
    value_N, proxy_N, truth_NS = with_axis(0)
    one = biases(proxy_N, truth_NS, {"0": tuple(value_N)})["0"].effect
    four = biases(proxy_N, truth_NS, {str(i): tuple(value_N) for i in range(4)})["0"].effect
    assert (four.high - four.low) / (one.high - one.low) == pytest.approx(
        stdtrit(22, 0.05 / 8) / stdtrit(22, 0.05 / 2)
    )


def test_the_unit_of_an_axis_does_not_matter():
    value_N, proxy_N, truth_NS = with_axis(0, favoured=1.0)
    one, other = (biases(proxy_N, truth_NS, {"0": tuple(v)})["0"] for v in (value_N, 16 * value_N))
    assert one.effect.value == pytest.approx(other.effect.value)
    assert one.effect.low == pytest.approx(other.effect.low)


def test_axes_that_say_nothing_and_networks_outside_of_the_space_are_left_out():
    value_N, proxy_N, truth_NS = with_axis(0)
    axes = {"fixed": (8.0,) * 24, "unknown": (None,) * 24, "some": (None, None, *value_N[2:])}
    found = biases(proxy_N, truth_NS, axes)
    assert list(found) == ["some"]
    assert found["some"] == biases(proxy_N[2:], truth_NS[2:], {"some": tuple(value_N[2:])})["some"]


def test_latency_alone_is_nothing_beyond_latency():
    _, _, truth_NS = drawn(60)
    latency_N = np.exp(np.random.default_rng(1).normal(size=60))
    alone = certify(observed(50 + 7 * np.log(latency_N), truth_NS, latency_ms_N=latency_N))
    assert alone.beyond_latency.value == 0
    _, proxy_N, truth_NS = drawn(60, proxy_noise=1.0)
    equal = certify(observed(proxy_N, truth_NS, latency_ms_N=[5.0] * 60))
    assert equal.beyond_latency == equal.tau


def test_what_latency_explains_on_both_sides_is_taken_out():
    rng = np.random.default_rng(0)
    latency_N, proxy_N, truth_N = np.exp(rng.normal(size=60)), rng.normal(size=60), rng.normal(size=60)
    truth_NS = (truth_N + 5 * np.log(latency_N))[:, None] + 0.1 * rng.normal(size=(60, 2))
    found = certify(observed(proxy_N + 5 * np.log(latency_N), truth_NS, latency_ms_N=latency_N))
    assert found.tau.low > 0.6
    assert found.beyond_latency.low < 0 < found.beyond_latency.high


def verdict(proxy_N, truth_NS, **more):
    return certify(observed(proxy_N, truth_NS, **more))


def test_a_good_proxy_ranks():
    quality_N, proxy_N, truth_NS = drawn(noise=0.2, proxy_noise=0.1)
    found = verdict(proxy_N, truth_NS, baselines={"parameters": tuple(quality_N + np.arange(24) % 5)})
    assert found.verdict == "ranks"
    assert found.tau.low >= 0.5
    assert found.leads["parameters"].low > 0
    assert found.baselines["parameters"].value < found.tau.value


def test_a_proxy_no_better_than_a_baseline_is_coarse_and_names_it():
    quality_N, proxy_N, truth_NS = drawn(noise=0.2, proxy_noise=0.2)
    found = verdict(proxy_N, truth_NS, baselines={"parameters": tuple(quality_N)})
    assert found.verdict == "coarse"
    assert "large parameters" in found.sentence
    assert found.leads["parameters"].value < 0
    turned = verdict(proxy_N, truth_NS, baselines={"parameters": tuple(-quality_N)})
    assert turned.verdict == "coarse"
    assert "small parameters" in turned.sentence
    assert turned.leads == found.leads
    assert turned.baselines["parameters"].value == -found.baselines["parameters"].value
    assert verdict(proxy_N, truth_NS).verdict == "ranks"
    assert verdict(proxy_N, truth_NS, baselines={"itself": tuple(proxy_N)}).verdict == "coarse"


def test_a_lead_that_may_be_luck_is_coarse():
    """Of two equal scores one is ahead of the other half of the time."""
    said = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        quality_N = rng.normal(size=24)
        proxy_N, rival_N = (quality_N + 0.3 * rng.normal(size=24) for _ in range(2))
        truth_NS = quality_N[:, None] + 0.2 * rng.normal(size=(24, 2))
        found = verdict(tuple(proxy_N), tuple(map(tuple, truth_NS)), baselines={"rival": tuple(rival_N)})
        said.append((found.verdict, found.leads["rival"].value > 0))
    assert sum(ahead for _, ahead in said) >= 5
    assert sum(word == "ranks" for word, _ in said) <= 1


def test_a_middling_proxy_is_coarse():
    _, proxy_N, truth_NS = drawn(proxy_noise=1.0, seed=1)
    found = verdict(proxy_N, truth_NS)
    assert 0 < found.tau.low < 0.5
    assert found.verdict == "coarse"


def test_a_useless_proxy_is_said_to_be_no_better_than_chance():
    _, proxy_N, truth_NS = drawn(proxy_noise=1000.0)
    found = verdict(proxy_N, truth_NS)
    assert found.verdict == "useless"
    assert "chance" in found.sentence
    assert found.separable.holds


def test_a_proxy_in_opposite_order_is_useless():
    quality_N, _, truth_NS = drawn()
    assert verdict(-quality_N, truth_NS).verdict == "useless"


def test_where_architectures_do_not_differ_even_a_good_proxy_is_useless():
    truth_NS = 60 + np.random.default_rng(1).normal(size=(24, 2))
    found = verdict(truth_NS.mean(1), truth_NS)
    assert found.tau.value == 1
    assert found.verdict == "useless"
    assert "separable" in found.sentence


@pytest.mark.parametrize("truth", ["differs", "is equal"])
def test_equal_scores_are_useless(truth):
    _, _, truth_NS = drawn()
    found = verdict([50.0] * 24, truth_NS if truth == "differs" else np.full((24, 2), 60.1))
    assert found.tau.value == 0
    assert found.verdict == "useless"
    assert found.separable.holds == (truth == "differs")


def test_three_networks_are_enough_to_answer_and_too_few_to_prove():
    found = verdict([1, 2, 3], [[1, 1.1], [2, 2.1], [3, 3.1]], axes={"width": (1.0, 2.0, 3.0)})
    assert found.tau.value == 1
    assert found.verdict == "useless"


def test_two_equal_architectures_tie():
    _, proxy_N, truth_NS = drawn(noise=0.1, proxy_noise=0.05)
    proxy_N[1], truth_NS[1] = proxy_N[0], truth_NS[0]
    found = verdict(proxy_N, truth_NS)
    others = verdict(proxy_N[1:], truth_NS[1:])
    assert found.verdict == others.verdict == "ranks"
    assert found.tau.value == pytest.approx(others.tau.value, abs=0.03)


def test_the_same_mean_in_another_order_of_seeds_is_a_tie():
    """(0.1 + 0.2) + 0.3 is not 0.1 + (0.2 + 0.3) for a computer."""
    truth_NS = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.3, 0.1]]
    assert certify(observed([1, 2, 3], truth_NS)).tau.value == 0


BROKEN = {
    "two networks": {"proxy_N": (1.0, 2.0), "truth_NS": ((1.0, 2.0),) * 2, "latency_ms_N": (1.0, 2.0)},
    "one seed": {"truth_NS": ((1.0,), (2.0,), (3.0,))},
    "ragged seeds": {"truth_NS": ((1.0, 2.0), (2.0, 3.0), (3.0, 1.0, 2.0))},
    "too few rows": {"truth_NS": ((1.0, 2.0), (2.0, 3.0))},
    "no number": {"proxy_N": (1.0, math.nan, 3.0)},
    "an endless truth": {"truth_NS": ((1.0, math.inf), (2.0, 3.0), (3.0, 1.0))},
    "no latency": {"latency_ms_N": (1.0, 0.0, 2.0)},
    "a short baseline": {"baselines": {"parameters": (1.0, 2.0)}},
    "a baseline of no number": {"baselines": {"parameters": (1.0, 2.0, math.nan)}},
    "a short axis": {"axes": {"width": (1.0, None)}},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_certified_is_refused(change):
    whole = observed([1, 2, 3], [[1, 2], [2, 3], [3, 1]])
    with pytest.raises(ValueError, match=r".+"):
        replace(whole, **change)


def test_findings_are_plain_data_and_the_same_each_time():
    value_N, proxy_N, truth_NS = with_axis(0)
    case = observed(proxy_N, truth_NS, baselines={"parameters": tuple(value_N)}, axes={"depth": tuple(value_N)})
    first, second = (asdict(certify(case)) for _ in range(2))
    assert first == second
    kept = json.loads(json.dumps(first))
    assert kept["tau"] == first["tau"]
    assert kept["regret_pct"]["1"] == first["regret_pct"][1]
    assert (kept["networks"], kept["truth_seeds"]) == (24, 2)


@pytest.mark.parametrize("module", [tau_module, separation_module])
def test_the_examples_hold(module):
    found = doctest.testmod(module)
    assert (found.attempted, found.failed) == (1, 0)


@pytest.mark.slow
def test_the_simulation_writes_its_tables(tmp_path, monkeypatch, capsys):
    out = tmp_path / "certificate.json"
    monkeypatch.setattr(certificate, "PAIRS", 2000)
    monkeypatch.setattr(sys, "argv", ["certificate.py", "--cases", "4", "--out", str(out)])
    certificate.main()
    report = json.loads(out.read_text())
    assert list(report) == ["cases", *certificate.TABLES]
    assert len(capsys.readouterr().out.splitlines()) == sum(
        len(report[name]["rows"]) for name in certificate.TABLES
    )
    perfect = [row for row in report["intervals"]["rows"] if row["tails"] == "perfect"]
    assert [row["covered"] for row in perfect] == [100.0] * 3
