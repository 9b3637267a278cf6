"""Proposals: within the budget, never twice, the same after a resume."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.predict.guess import Guess, PowerLaw
from mvit2_search.records import Limits
from mvit2_search.sampler.optuna import OPTUNA_SAMPLERS, BudgetSampler, Networks, distributions
from mvit2_search.space import load_space

BLOCKS, WIDTH = load_space("blocks"), load_space("width")


def guess_for(gmacs, max_params=None):
    """A budget of so many thousand million multiply-adds, on a device that takes 1 ms for each."""
    return Guess(PowerLaw([10**9], [1.0]), Limits(latency_ms=gmacs, max_params=max_params))


def proposals(space, guess, count, *, base="tpe", tried=frozenset(), seed=0, study=None):
    study = study or optuna.create_study(directions=["maximize", "minimize"])
    networks, tried, found = Networks(space, ClassifierHead(1000)), set(tried), []
    for _ in range(count):
        study.sampler = BudgetSampler(networks, base=base, tried=tried, guess=guess, seed=seed)
        trial = study.ask(distributions(space))
        arch = space.decode(trial.params)
        found.append(arch)
        tried.add(arch.key)
        study.tell(trial, (70.0 + arch.stage_channels[0] / 100, network_cost(arch).macs / 1e6))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("base", OPTUNA_SAMPLERS)
def test_each_of_optunas_samplers_stays_within_the_budget_and_never_repeats(base):
    found = proposals(BLOCKS, guess_for(0.6), 13, base=base)
    assert all(network_cost(arch).macs / 1e9 <= 0.6 for arch in found)
    assert len({arch.key for arch in found}) == 13


@pytest.mark.parametrize("gmacs", [0.25, 0.5, 1.0, 4.0])
def test_proposals_fit_the_budget_and_differ(gmacs):
    found = proposals(BLOCKS, guess_for(gmacs), 25)
    assert all(network_cost(arch).macs / 1e9 <= gmacs for arch in found)
    assert len({arch.key for arch in found}) == 25


def test_proposals_keep_to_the_parameters_too():
    found = proposals(BLOCKS, guess_for(4.0, max_params=2_000_000), 10)
    assert all(network_cost(arch).params <= 2_000_000 for arch in found)


def test_proposals_use_the_budget():
    """Drawn into it, not crammed into the cheapest corner: half of them use more than 70 %."""
    shares = sorted(network_cost(arch).macs / 1e9 for arch in proposals(BLOCKS, guess_for(1.0), 20))
    assert shares[10] > 0.7


def test_under_an_impossible_budget_the_cheapest_network_is_proposed():
    assert proposals(BLOCKS, guess_for(0.001), 1) == [Networks(BLOCKS, ClassifierHead(1000)).cheapest]


def test_a_small_space_is_searched_to_its_last_network():
    guess = guess_for(0.6)
    networks = Networks(WIDTH, ClassifierHead(1000))
    allowed = {WIDTH.decode(p).key for p in networks.untried(set(), guess)}
    found = {arch.key for arch in proposals(WIDTH, guess, len(allowed))}
    assert found == allowed
    assert networks.untried(found, guess) == []


def test_a_large_space_cannot_be_told_to_be_empty():
    assert Networks(BLOCKS, ClassifierHead(1000)).untried(set(), guess_for(0.001)) is None


def test_the_next_proposal_follows_from_the_seed_and_the_trials():
    def run(seed, interrupted):
        study = optuna.create_study(directions=["maximize", "minimize"])
        first = proposals(BLOCKS, guess_for(1.0), 12, study=study, seed=seed)
        if interrupted:  # a trial that was killed, and its retry
            study.enqueue_trial(study.trials[-1].params)
            study.tell(study.ask(distributions(BLOCKS)), state=TrialState.FAIL)
        return proposals(BLOCKS, guess_for(1.0), 1, tried={a.key for a in first}, study=study, seed=seed)

    assert run(1, False) == run(1, True)
    assert run(1, False) != run(2, False)


def test_the_forecast_goes_through_a_power_law():
    macs = [100, 200, 400, 800]
    law = PowerLaw(macs, [5 * (m / 100) ** 0.8 for m in macs])
    assert law.latency_ms(300) == pytest.approx(5 * 3**0.8)


def test_the_forecasts_bounds_hold_what_is_as_far_off_as_the_measured_were():
    off = [1.05, 0.95, 1.05, 0.95, 1.0, 1.0]
    law = PowerLaw([100 * 2**i for i in range(6)], [5 * 2**i * off[i] for i in range(6)])
    expected, high = law.bounds_ms(np.array([300, 1000]))
    assert expected == pytest.approx([law.latency_ms(300), law.latency_ms(1000)])
    assert ((high / expected > 1.05) & (high / expected < 1.2)).all()


def test_the_forecast_of_one_measurement_is_proportional():
    assert PowerLaw([100], [5.0]).latency_ms(300) == pytest.approx(15.0)


def test_the_forecast_never_falls_with_more_work():
    law = PowerLaw([100, 200], [5.0, 4.0])
    assert law.latency_ms(400) > law.latency_ms(100)


@pytest.mark.slow
@pytest.mark.parametrize("base", OPTUNA_SAMPLERS)
def test_what_is_running_is_not_proposed_again(base):
    """All networks of the space that fit, asked for before any is told."""
    networks, guess = Networks(WIDTH, ClassifierHead(1000)), guess_for(0.6)
    study = optuna.create_study(directions=["maximize", "minimize"])
    count = len(networks.untried((), guess))
    assert 1 < count < 50
    found = []
    for _ in range(count):
        study.sampler = BudgetSampler(networks, base=base, tried=(), guess=guess, seed=0)
        found.append(networks.of(study.ask(distributions(WIDTH)).params).key)
    assert len(set(found)) == count
