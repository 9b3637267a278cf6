"""Our sampler: expected gain against integration, proposals on problems that are known."""

from dataclasses import replace
from itertools import product

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState
from scipy.integrate import quad
from scipy.stats import norm

from mixed_settings import MIXED
from mvit2_search.analysis.pareto import hypervolume
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.predict.guess import LatencyBounds, exactly
from mvit2_search.sampler.domain import Domain, Encoding, History, complete_score
from mvit2_search.sampler.front import (
    Front,
    FrontSampler,
    fit,
    informative,
    mutated,
    random_rows,
    small_steps,
    warped,
)

ONE = {"width": 1.25, "rate": 1e-2, "expand": 1.5, "layers": 3, "kernel": 5, "mixer": "multi_head"}


def rng(seed=0):
    return np.random.default_rng(seed)


class TestEncoding:
    def test_ordered_values_lie_between_0_and_1_and_names_are_counted(self):
        assert Encoding(MIXED).encode([ONE])[0] == pytest.approx([0.5, 2 / 3, 0.25, 0.75, 0.5, 2])
        assert Encoding(MIXED).ordered_D.tolist() == [True] * 5 + [False]
        assert Encoding(MIXED).choices == [None] * 5 + [("separable", "linformer", "multi_head")]

    def test_settings_come_back(self):
        encoding = Encoding(MIXED)
        drawn = encoding.decode(encoding.draw(50, rng()))
        again = encoding.decode(encoding.encode(drawn))
        for one, other in zip(drawn, again, strict=True):
            assert other == pytest.approx(one)
            assert all(MIXED[name]._contains(MIXED[name].to_internal_repr(v)) for name, v in one.items())

    def test_every_value_is_drawn_as_often(self):
        encoding = Encoding(MIXED)
        drawn = encoding.decode(encoding.draw(6000, rng()))
        for name, count in (("expand", 5), ("layers", 5), ("kernel", 3), ("mixer", 3)):
            found = np.unique([one[name] for one in drawn], return_counts=True)[1] / len(drawn)
            assert found == pytest.approx([1 / count] * count, abs=0.03)


class TestGain:
    ACCURACY, LATENCY = np.array([70.0, 60.0, 75.0, 55.0]), np.array([20.0, 10.0, 30.0, 25.0])

    def front(self):
        return Front(self.ACCURACY, self.LATENCY, (50.0, 40.0))

    def test_a_certain_accuracy_gains_what_the_hypervolume_grows_by(self):
        gain = self.front().expected_improvement(
            np.array([72.0, 52.0, 59.0]), np.full(3, 1e-9), np.array([15.0, 5.0, 11.0])
        )
        # from 15 to 20 ms 12 points over 60, from 20 to 30 ms 2 over 70; then 5 ms of 2 points; then nothing
        assert gain == pytest.approx([5 * 12 + 10 * 2, 5 * 2, 0])

    @pytest.mark.parametrize(("mean", "sigma", "latency"), [(65, 5, 12), (74, 1, 35), (50, 8, 3), (60, 3, 41)])
    def test_the_expectation_is_the_integral(self, mean, sigma, latency):
        front = self.front()

        def improvement(mean, sigma):
            return front.expected_improvement(*(np.array([float(x)]) for x in (mean, sigma, latency)))[0]

        def weighted(accuracy):
            sure = front.expected_improvement(np.array([accuracy]), np.array([1e-9]), np.array([float(latency)]))[
                0
            ]
            return sure * norm.pdf(accuracy, mean, sigma)

        expected = quad(weighted, mean - 8 * sigma, mean + 8 * sigma, points=[50, 60, 70, 75], limit=200)[0]
        found = front.expected_improvement(
            np.array([float(mean)]), np.array([float(sigma)]), np.array([float(latency)])
        )
        assert found[0] == pytest.approx(expected, rel=1e-5, abs=1e-9)

    def test_beyond_the_budget_nothing_is_gained(self):
        assert self.front().expected_improvement(
            np.full(2, 99.0), np.ones(2), np.array([40.0, np.inf])
        ).tolist() == [
            0,
            0,
        ]


def test_low_accuracies_are_warped_in_order():
    y = warped(np.array([10.0, 50.0, 70.0, 75.0, 80.0]))
    assert y == pytest.approx([-np.log(7), -np.log(3), 0, 0.5, 1.0])


def test_the_front_counts_from_the_worst_of_the_first_ten():
    encoding = Encoding(GRID)
    accuracy_N = np.r_[np.linspace(70, 60, 10), 80.0, 50.0]
    history = History(
        params=encoding.decode(encoding.draw(12, rng())),
        accuracy_N=accuracy_N,
        latency_N=np.linspace(5, 16, 12),
        running=[],
        seen=set(),
        proposals=12,
    )
    _, front = fit(history, encoding, grid_domain())
    assert front.level_S[0] == warped(accuracy_N)[9]


def test_of_many_trainings_the_front_is_kept():
    accuracy, latency = rng(0).random(1000), rng(1).random(1000)
    kept = informative(accuracy, latency, 100)
    assert len(kept) == len(set(kept)) == 100
    on_front = {i for i in range(1000) if not np.any((accuracy > accuracy[i]) & (latency < latency[i]))}
    assert on_front <= set(kept)
    assert informative(accuracy[:50], latency[:50], 100).tolist() == list(range(50))


class TestPool:
    def test_a_mutation_changes_one_setting_at_least_and_leaves_most(self):
        encoding = Encoding(MIXED)
        parent = encoding.encode([ONE])
        changed = np.abs(mutated(parent, 400, encoding, rng()) - parent) > 1e-12
        assert 1 <= changed.sum(1).mean() <= 2
        assert changed.any(0).all()

    def test_small_changes_are_of_every_size(self):
        encoding = Encoding({"width": FloatDistribution(0.5, 2.0)})
        steps_N = np.abs(small_steps(np.full((4000, 1), 0.5), encoding, rng())[:, 0] - 0.5)
        assert np.quantile(steps_N, 0.1) < 0.01
        assert np.quantile(steps_N, 0.9) > 0.1

    def test_half_of_the_random_ones_are_moved_towards_the_cheapest(self):
        encoding = Encoding({"width": FloatDistribution(0.5, 2.0), "depth": FloatDistribution(0.0, 1.0)})
        rows = random_rows(2000, encoding, {"width": 0.5, "depth": 0.0}, rng())
        assert rows[::2].mean() == pytest.approx(0.5, abs=0.03)
        assert rows[1::2].mean() == pytest.approx(0.25, abs=0.03)


GRID = {f"stage{i}": IntDistribution(0, 5) for i in range(4)}


def grid_latency(params):
    return 1.0 + sum(params.values())


def grid_accuracy(params):
    """Best where the stages' values are equal."""
    values = np.array(list(params.values()))
    return 60 + 2 * values.sum() - 3 * values.std()


def grid_domain(**changes):
    known = {"latency": lambda many: exactly(np.array([grid_latency(one) for one in many]))}
    return Domain(**{"distributions": GRID, "limit_ms": 22.0, **known, **changes})


def search(domain, count, *, seed=0, study=None, **settings):
    study = study or optuna.create_study(directions=["maximize", "minimize"])
    study.sampler = FrontSampler(domain, seed=seed, **settings)
    for _ in range(count):
        trial = study.ask(GRID)
        study.tell(trial, (grid_accuracy(trial.params), grid_latency(trial.params)))
    return [trial.params for trial in study.trials]


def volume(many):
    accuracies, latencies = zip(*((grid_accuracy(one), grid_latency(one)) for one in many), strict=True)
    return hypervolume(accuracies, latencies, reference=(76.0, 22.0))


class TestSampler:
    def test_it_finds_more_of_the_front_than_chance(self):
        """What 40 of 1296 networks leave open of the true hypervolume, by three seeds each."""
        everything = [dict(zip(GRID, values, strict=True)) for values in product(range(6), repeat=4)]
        whole = volume(everything)
        drawn = [[everything[i] for i in rng(seed).choice(1296, 40, replace=False)] for seed in range(3)]
        chance = sum(whole - volume(draw) for draw in drawn)
        ours = sum(whole - volume(search(grid_domain(), 40, seed=seed)) for seed in range(3))
        assert ours < 0.1 * chance

    def test_nothing_is_proposed_twice(self):
        found = search(grid_domain(), 30)
        assert len({tuple(one.values()) for one in found}) == 30

    def test_equal_networks_count_as_one(self):
        found = search(grid_domain(key=lambda one: sum(one.values())), 16)
        assert len({sum(one.values()) for one in found}) == 16

    def test_a_space_that_is_used_up_gives_any_network(self):
        assert len(search(grid_domain(key=lambda one: 0), 12)) == 12

    def test_proposals_stay_within_the_budget(self):
        found = search(grid_domain(limit_ms=6.0, cheapest=dict.fromkeys(GRID, 0)), 40)
        assert max(map(grid_latency, found)) <= 6.0

    def test_the_last_networks_of_a_small_space_are_found(self):
        left = [{**dict.fromkeys(GRID, 0), "stage0": i, "stage1": j} for i in range(6) for j in range(4)]
        tried = []

        def latency(many):
            return exactly(np.array([grid_latency(one) if one in left else np.inf for one in many]))

        study = optuna.create_study(directions=["maximize", "minimize"])
        for _ in range(24):
            every = [one for one in left if one not in tried]
            domain = grid_domain(remaining=lambda every=every: every, latency=latency, limit_ms=100.0)
            study.sampler = FrontSampler(domain, seed=0)
            trial = study.ask(GRID)
            tried.append(trial.params)
            study.tell(trial, (grid_accuracy(trial.params), grid_latency(trial.params)))
        assert all(one in tried for one in left)

    def test_running_trials_are_accounted_for(self):
        """A network like one that is in training promises much less than it would otherwise."""
        study = optuna.create_study(directions=["maximize", "minimize"])
        search(grid_domain(), 30, study=study)
        running = study.ask(GRID).params
        history = History.of(study, study.trials[0], grid_domain(), complete_score, {})
        assert history.running == [running]
        encoding = Encoding(GRID)

        def gain(history):
            model, front = fit(history, encoding, grid_domain())
            return front.expected_improvement(
                *model.predict(encoding.encode([running])), np.array([grid_latency(running)])
            )

        assert gain(history)[0] < 0.6 * gain(replace(history, running=[]))[0]

    def test_threads_that_share_a_sampler_get_different_networks(self):
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=FrontSampler(grid_domain(), seed=0, first=4)
        )

        def objective(trial):
            params = {name: trial.suggest_int(name, 0, 5) for name in GRID}
            return grid_accuracy(params), grid_latency(params)

        study.optimize(objective, n_trials=32, n_jobs=4)
        assert len({tuple(one.params.values()) for one in study.trials}) == 32

    def test_a_proposal_that_the_study_does_not_hold_yet_is_running(self):
        study = optuna.create_study(directions=["maximize", "minimize"])
        search(grid_domain(), 3, study=study)
        waiting, current = (study._storage.create_new_trial(study._study_id) for _ in range(2))
        asked = {3: dict.fromkeys(GRID, 2), 0: dict.fromkeys(GRID, 3)}
        assert (waiting, current) == (3, 4)
        history = History.of(study, study.trials[4], grid_domain(), complete_score, asked)
        assert history.running == [asked[3]]
        assert (2, 2, 2, 2) in history.seen
        assert history.proposals == 4

    def test_a_study_that_minimises_accuracy_is_refused(self):
        study = optuna.create_study(directions=["minimize", "maximize"])
        with pytest.raises(SpecError, match="must maximise accuracy and minimise latency"):
            search(grid_domain(), 1, study=study)

    def test_the_next_proposal_follows_from_the_seed_and_the_trials(self):
        def run(seed, interrupted):
            study = optuna.create_study(directions=["maximize", "minimize"])
            search(grid_domain(), 15, study=study, seed=seed)
            if interrupted:  # a trial that was killed, and its retry
                study.enqueue_trial(study.trials[-1].params)
                study.tell(study.ask(GRID), state=TrialState.FAIL)
            return search(grid_domain(), 1, study=study, seed=seed)[-1]

        assert run(1, False) == run(1, True)
        assert run(1, False) != run(2, False)


class TestMeasuring:
    def proposals(self, error, count=30):
        """Latencies are guessed 1 % too low or high; `error` is how wrong they may be."""
        measured = []

        def off(one):
            return grid_latency(one) * (0.99 if one["stage0"] % 2 else 1.01)

        def known(one):
            return np.inf if sum(one.values()) % 3 == 0 else grid_latency(one)

        def latency(many):
            ms_M = np.array([known(one) if dict(one) in measured else off(one) for one in many])
            share_M = np.array([0 if dict(one) in measured else error for one in many])
            return LatencyBounds(ms_M, ms_M * (1 + share_M))

        def measure(one):
            measured.append(dict(one))
            if np.isinf(known(one)):
                raise MeasurementError("it cannot be timed")
            return known(one)

        found = search(grid_domain(latency=latency, measure=measure), count)
        return found, measured

    def test_a_choice_that_cannot_change_is_not_measured(self):
        assert self.proposals(0.0)[1] == []

    def test_an_unsure_one_is_measured_and_no_more_than_three_for_a_proposal(self):
        found, measured = self.proposals(0.05)
        assert 0 < len(measured) <= 3 * len(found)
        assert any(one in measured for one in found)

    def test_what_cannot_be_measured_is_not_chosen(self):
        found, measured = self.proposals(0.05)
        failed = [one for one in measured if sum(one.values()) % 3 == 0]
        assert failed
        assert not any(one in found for one in failed)
