"""Which candidates are confirmed, which stay in the race, and searches that confirm."""

from types import SimpleNamespace

import numpy as np
import pytest

from fakes import FormulaProxy, finished, request, search, trial
from mvit2_search.analysis.confirmation import (
    Confirmed,
    bracketing_widths,
    choose_finalists,
    confirmation_progress,
    confirmations,
    still_racing,
)
from mvit2_search.analysis.verdict import judge
from mvit2_search.records import ConfirmationPlan, Failed, Infeasible, Limits, Published, Score
from mvit2_search.report.tables import summarise
from mvit2_search.search.confirmation import _left
from mvit2_search.search.events import Listener
from mvit2_search.system.signals import Interrupt

LIMITS = Limits(latency_ms=20.0, max_params=None)
IMAGES = 5000


def chosen(trials, **options):
    return [t.number for t in choose_finalists(trials, LIMITS, images=IMAGES, **options)]


def test_a_candidate_just_below_the_front_is_a_finalist_and_one_far_below_is_not():
    """One accuracy of 80 % of 5,000 images has a deviation of 0.57, a seed's is 0.7: 2.5 points tell two apart."""
    trials = [trial(1, finished(80, 12)), trial(2, finished(79.5, 13)), trial(3, finished(76, 5))]
    assert chosen(trials) == [1, 2]


def test_what_differs_by_less_than_the_noise_is_considered_and_what_differs_by_more_is_not():
    assert chosen([trial(1, finished(80, 12)), trial(2, finished(77.6, 15))]) == [1, 2]
    assert chosen([trial(1, finished(80, 12)), trial(2, finished(77.3, 5))]) == [1]


def test_few_images_make_more_finalists():
    trials = [trial(1, finished(80, 12)), trial(2, finished(73, 5))]
    assert len(choose_finalists(trials, LIMITS, images=100)) == 2


def test_a_spread_that_is_known_counts_instead_of_the_usual_one():
    trials = [trial(1, finished(80, 12)), trial(2, finished(76, 5))]
    rng = np.random.default_rng(0)
    wild = [Confirmed(trial=t, scores=dict(enumerate(80 + rng.normal(0, 4, 6)))) for t in trials]
    assert chosen(trials) == [1]
    assert chosen(trials, confirmed=wild) == [1, 2]
    assert chosen(trials, confirmed=wild[:1]) == [1]  # of one architecture alone nothing is known


def test_the_most_accurate_are_chosen_and_of_equal_ones_the_fastest():
    trials = [trial(i, finished(80 - i / 10, 18 - i / 10)) for i in range(8)]
    assert chosen(trials) == [0, 1, 2, 3]
    assert chosen([*trials, trial(8, finished(80, 9))]) == [8, 0, 1, 2]


def test_only_trained_candidates_within_the_limits_are_finalists():
    trials = [
        trial(1, finished(90, 21)),
        trial(2, finished(80, 12), role=Published("mobilevitv2-0.5")),
        trial(3, finished(80, 12), repeats=1),
        trial(4, Infeasible(latencies={"host": finished(80, 30.0).latency})),
        trial(5, finished(79, 12)),
    ]
    assert chosen(trials) == [5]
    assert chosen(trials[:4]) == []


def test_the_choice_is_the_same_each_time_and_in_any_order():
    rng = np.random.default_rng(0)
    rows = zip(rng.normal(78, 1, 40), rng.uniform(5, 20, 40), strict=True)
    trials = [trial(i, finished(float(a), float(t))) for i, (a, t) in enumerate(rows)]
    assert chosen(trials) == chosen(trials) == chosen(trials[::-1])


def test_widths_outside_of_the_space_are_in_the_bracket_too():
    names = ("mobilevitv2-0.5", "mobilevitv2-0.75", "mobilevitv2-1.0")
    outside = [
        trial(None, finished(70, ms), role=Published(name)) for name, ms in zip(names, (5, 15, 25), strict=True)
    ]
    assert [t.published for t in bracketing_widths([trial(1), *outside], LIMITS)] == list(names[1:])


WIDTH = trial(0, finished(80, 15), role=Published("mobilevitv2-0.5"))
TRIALS = [WIDTH, *(trial(i, finished(80, 16 - i)) for i in (1, 2, 3))]


def scores(number, *accuracies):
    return [Score(subject=TRIALS[number].arch.key, seed=1000 + i, result=pct) for i, pct in enumerate(accuracies)]


def racing(*rows):
    found = confirmations(TRIALS, [score for row in rows for score in row])
    return [c.trial.number for c in still_racing(found, images=10**9)]


def test_what_is_distinguishably_worse_than_the_best_is_out_and_published_widths_are_not_judged():
    rows = scores(0, 70, 71.1, 70), scores(1, 80, 81, 80.1), scores(2, 80.1, 81.1, 80), scores(3, 75, 76.1, 75)
    assert racing(*rows) == [1, 2]
    assert racing(*rows[1:]) == [1, 2]


def test_after_one_seed_all_are_racing():
    assert racing(scores(1, 80), scores(2, 60), scores(3, 40)) == [1, 2, 3]
    assert racing() == []


def test_what_is_out_stays_out_whatever_the_others_do_later():
    early = scores(1, 80, 81), scores(2, 80.1, 81), scores(3, 70, 71)
    assert racing(*early) == [1, 2]
    assert racing(scores(1, 80, 81, 40), scores(2, 80.1, 81, 40), scores(3, 70, 71)) == [1, 2]


def test_what_is_out_is_neither_best_nor_the_fastest_although_it_is_fast():
    rows = scores(0, 70, 71.1, 70), scores(1, 80, 81, 80.1), scores(2, 80.1, 81.1, 80), scores(3, 75, 76.1)
    found = judge(TRIALS, [score for row in rows for score in row], LIMITS, images=10**9)
    assert found.best.trial.number in (1, 2)
    assert found.fastest.trial.number == 2  # faster than 1; 3 is faster still, but out
    assert found.gain.compared == 3


class FarApart(FormulaProxy):
    """Confirms architectures in steps of ten points, so that all but the best are out after two seeds."""

    def run(self, arch, dataset, *, seed, test_on):
        *_, last = super().run(arch, dataset, seed=seed, test_on=test_on)
        if test_on == "confirmation":
            self.steps = getattr(self, "steps", {})
            step = self.steps.setdefault(arch.key, 10.0 * len(self.steps))
            last = type(last)(epoch=2, score=90 - step + seed % 2 / 10)
        yield last


pytestmark = pytest.mark.usefixtures("images")


@pytest.fixture
def many_images(monkeypatch):
    """The choice of images adds nothing."""
    for module in ("paired", "confirmation"):
        monkeypatch.setattr(f"mvit2_search.analysis.{module}.sampling_error_pct", lambda *_: 0.0)


@pytest.mark.slow
def test_what_is_out_gets_no_further_seeds_and_the_published_widths_get_all(tmp_path, many_images):
    study = search(request(tmp_path, confirm_seeds=4, trials=8), proxy=FarApart())
    seeds = {}
    for score in study.scores():
        seeds.setdefault(score.subject, []).append(score.seed - 1000)
    candidates = {t.arch.key for t in study.trials() if t.published is None}
    counts = sorted(len(done) for key, done in seeds.items() if key in candidates)
    assert counts[-1] == 4
    assert set(counts[:-1]) == {2}
    assert all(done == [0, 1, 2, 3] for key, done in seeds.items() if key not in candidates)
    verdict = summarise(study).verdict
    assert verdict.gain.pairs == 4
    assert verdict.gain.compared == len(counts)


@pytest.mark.slow
def test_an_interrupted_confirmation_ends_as_one_that_was_not(tmp_path):
    """Stopped after every single training, and gone on with."""
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images"), confirm_seeds=3))
    asked = request(tmp_path, confirm_seeds=3)
    for _ in range(len(whole.scores()) + 1):
        interrupt = Interrupt()

        class StopAtScore(Listener):
            def scored(self, study, score, name):
                interrupt.requested = True  # noqa: B023

        study = search(asked, listener=StopAtScore(), interrupt=interrupt)
    assert study.fact("ended") is not None
    assert study.scores() == whole.scores()
    assert study.plan() == whole.plan()


def test_the_progress_counts_what_is_out_of_the_race_no_further_and_failures_as_done():
    """Four networks and three seeds; number 3 is out after two, and one training of the width failed."""
    rows = [*scores(0, 70, 71.1), *scores(1, 80, 81), *scores(2, 80.1, 81.1), *scores(3, 60, 61)]
    failed = Score(subject=WIDTH.arch.key, seed=1002, result=Failed(reason="training", message="no"))
    keys = tuple(t.arch.key for t in TRIALS[1:])
    plan = ConfirmationPlan(keys=keys, widths=(WIDTH.arch.key,), seeds=(1000, 1001, 1002), candidates=3)
    found = confirmations(TRIALS, rows, keys)
    progress = confirmation_progress(plan, found, [*rows, failed], images=10**9)
    assert (progress.done, progress.planned) == (9, 11)


def test_candidates_that_are_no_finalists_are_neither_compared_nor_best():
    rows = [
        *scores(0, 70, 71.1, 70),
        *scores(1, 80, 81, 80.1),
        *scores(2, 80.1, 81.1, 80),
        *scores(3, 90, 91, 90.5),
    ]
    keys = [t.arch.key for t in TRIALS[1:3]]
    found = judge(TRIALS, rows, LIMITS, images=10**9, finalists=keys)
    assert found.best.trial.number in (1, 2)
    assert found.gain.compared == 2
    assert found == judge(TRIALS[:3], rows, LIMITS, images=10**9)


def test_who_trains_with_a_seed_is_decided_by_the_seeds_before_it_and_by_finalists_alone():
    """Whenever the round is looked at: by the first one's score of seed 2, the second would be out."""
    trials = [trial(i, finished(80, 10)) for i in (1, 2, 3)]
    width = trial(4, finished(75, 10), role=Published("mobilevitv2-0.5"))
    table = [[80, 81, 80.5], [79.7, 80.8], [99, 99], [70, 71, 70.5]]  # the third one is no finalist any more
    rows = [
        Score(subject=t.arch.key, seed=seed, result=float(pct))
        for t, accuracies in zip([*trials, width], table, strict=True)
        for seed, pct in enumerate(accuracies)
    ]
    study = SimpleNamespace(
        scores=lambda: rows,
        all_trials=lambda: [*trials, width],
        limits=LIMITS,
        inputs=SimpleNamespace(data=SimpleNamespace(confirmation=10**9)),
    )
    keys = tuple(t.arch.key for t in trials[:2])
    plan = ConfirmationPlan(keys=keys, widths=(width.arch.key,), seeds=(0, 1, 2, 3), candidates=3)
    assert [t.number for t in _left(study, plan, 2)] == [2]
    rows.append(Score(subject=trials[1].arch.key, seed=2, result=80.25))
    assert [t.number for t in _left(study, plan, 3)] == [1, 4]
