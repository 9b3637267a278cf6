"""Samplers that are told the latency: what is drawn again, and what is evaluated all the same."""

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from sampler_bench.known_latency import KnownLatency, hopeless
from sampler_bench.peers import KNOWS, PEERS
from sampler_bench.problems import make_problem, table_problem

RISING = [(float(i), float(i)) for i in range(1, 9)]  # mean 4.5, deviation 2.449: at most 9.4 can be hoped for
LEVEL = [(5.0, float(i)) for i in range(1, 9)]  # nothing but 5 can be hoped for


@pytest.mark.parametrize(
    ("latency", "done", "verdict"),
    [
        (9.9, [], False),
        (9.9, RISING, False),
        (9.9, [*RISING, (11.5, 9.0)], False),  # mean 5.28, deviation 3.27: 11.8
        (9.9, [*RISING, (13.0, 9.0)], True),  # mean 5.44, deviation 3.65: 12.7
        (0.5, LEVEL, False),  # faster than all
        (1.0, LEVEL, True),
        (9.9, LEVEL, True),
        (9.9, LEVEL[:-1], False),  # too few
        (9.9, [*LEVEL[:-1], (0.0, 1.0), (-9.0, 2.0)], False),  # not above the worst
        (1.5, [(9.0, 1.4), *LEVEL, *[(8.0, 1.5 + i / 100) for i in range(14)]], True),  # the nearest 15 alone
    ],
)
def test_hopeless_is_what_an_optimist_gives_up(latency, done, verdict):
    assert hopeless(latency, done, worst=0) == verdict


def test_what_is_no_better_than_the_worst_says_nothing_of_hope():
    assert hopeless(9.9, LEVEL, worst=4.9)
    assert not hopeless(9.9, LEVEL, worst=5)


NUMBERED = [{"tens": str(i // 4), "units": str(i % 4)} for i in range(16)]


@pytest.fixture
def level():
    """16 settings, each slower than the one before: the first four reach 1, all others 5."""
    axes = dict.fromkeys(("tens", "units"), ("0", "1", "2", "3"))
    table = {tuple(p.values()): (1.0 if i < 4 else 5.0, 1.0 + i) for i, p in enumerate(NUMBERED)}
    return table_problem("level", axes, table)


class Scripted(RandomSampler):
    """Proposes one after the other, and the last one for ever."""

    def __init__(self, proposals):
        super().__init__(seed=0)
        self.asked = 0
        self._proposals = proposals

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        number = self._proposals[min(self.asked // 2, len(self._proposals) - 1)]  # of two settings each
        self.asked += 1
        return NUMBERED[number][name]


def told(base, problem, *, draws=3, seed=0):
    """A study of a sampler that knows the latency."""
    sampler = KnownLatency(base, problem, draws=draws, seed=seed)
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def test_nothing_is_repeated_and_what_is_too_slow_comes_last(level):
    study = told(RandomSampler(seed=0), level, draws=1)
    tried = []
    for _ in range(16):
        trial = study.ask(level.distributions)
        tried.append(NUMBERED.index(trial.params))
        study.tell(trial, level.evaluate(trial.params))
    assert sorted(tried) == list(range(16))
    assert tried[-1] == 15
    study.ask(level.distributions)  # when all have been evaluated, again


@pytest.mark.parametrize(
    ("evaluated", "proposals", "expected", "asked"),
    [
        (range(4, 11), [14], {14}, 1),  # too little is known
        (range(4, 12), [14, 0], {0}, 2),  # hopeless
        (range(4, 12), [14, 13, 12], {14}, 3),  # insists
        (range(4, 12), [15, 4, 12], {12}, 3),  # as slow as the reference; evaluated
        (range(4, 12), [4], {0, 1, 2, 3}, 3),  # nothing new
        (range(4, 12), [15], {0, 1, 2, 3}, 3),
        (range(4, 11), [4], {0, 1, 2, 3, 11, 12, 13, 14}, 3),  # not 15, which is too slow
        (range(12), [4], {12, 13, 14}, 3),  # nothing but hopeless ones is left
        (range(15), [4], {15}, 3),  # nothing but the one that is too slow
        (range(12), [14], {14}, 3),  # those that reach 1 are beside the point
        (range(16), [4], set(range(16)), 3),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_what_cannot_pay_is_drawn_again(level, evaluated, proposals, expected, asked, seed):
    base = Scripted(proposals)
    study = told(base, level, seed=seed)
    for number in evaluated:
        study.enqueue_trial(NUMBERED[number])
        study.tell(study.ask(level.distributions), level.evaluate(NUMBERED[number]))
    base.asked = 0
    assert study.ask(level.distributions).params in [NUMBERED[number] for number in expected]
    assert base.asked == 2 * asked


class Corner(RandomSampler):
    """Proposes the slowest settings of dtlz2 for ever."""

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        return 0.0


def test_what_replaces_useless_settings_of_a_range_is_random():
    problem = make_problem("dtlz2")
    studies = [told(Corner(seed=0), problem, seed=seed) for seed in range(50)]
    found = np.array([list(study.ask(problem.distributions).params.values()) for study in studies])
    assert ((found > 0) & (found < 1)).all()
    assert found.mean(0) == pytest.approx(np.full(6, 0.5), abs=4 * (1 / 12 / 50) ** 0.5)
    assert found.std(0) == pytest.approx(np.full(6, (1 / 12) ** 0.5), rel=0.4)


def test_what_replaces_useless_settings_of_a_table_is_random(level):
    studies = [told(Scripted([15]), level, seed=seed) for seed in range(40)]
    found = {tuple(study.ask(level.distributions).params.values()) for study in studies}
    assert len(found) > 10  # of 15


@pytest.mark.parametrize(("peer", "draws"), [("random", 10), ("gp", 2)])
def test_how_often_a_sampler_is_asked(peer, draws, level, monkeypatch):
    base = Scripted([15])
    monkeypatch.setattr(optuna.samplers, {"random": "RandomSampler", "gp": "GPSampler"}[peer], lambda **_: base)
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=PEERS[f"{peer}{KNOWS}"].make(level, 0)
    )
    study.ask(level.distributions)
    assert base.asked == 2 * draws
