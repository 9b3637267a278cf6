"""Random architectures beside the search, and the hypervolume of both."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FormulaProxy, finished, request, search, trial
from mvit2_search.analysis.pareto import hypervolume, hypervolume_curve
from mvit2_search.api import refresh
from mvit2_search.records import Failed, Finished, Infeasible, Limits, Published, Stopped
from mvit2_search.report import tables
from mvit2_search.report.figures import hypervolume_figure
from mvit2_search.report.sentences import control_sentences
from mvit2_search.report.tables import Summary, hypervolume_table, summarise
from mvit2_search.search import phases
from mvit2_search.search.events import Listener
from mvit2_search.search.runner import Runner
from mvit2_search.system.signals import Interrupt
from summaries import inputs

SIDE = 7
points = st.lists(st.tuples(st.integers(-1, SIDE), st.integers(0, SIDE + 2)), max_size=10)


@given(points, st.tuples(st.integers(-1, SIDE), st.integers(0, SIDE + 1)))
def test_the_hypervolume_is_the_number_of_unit_squares_that_a_point_covers(rows, reference):
    """Squares of accuracy [a, a + 1] and latency [t, t + 1] inside of the reference's corner."""
    covered = sum(
        any(gain >= a + 1 and cost <= t for gain, cost in rows)
        for a in range(reference[0], SIDE)
        for t in range(reference[1])
    )
    gains, costs = [a for a, _ in rows], [t for _, t in rows]
    assert hypervolume(gains, costs, reference=reference) == covered


def test_a_hypervolume_by_hand():
    """(80 - 70) * (20 - 10) = 100; at 5 ms (75 - 70) * 5 = 25 more; at the reference's edges nothing."""
    accuracy, latency = [80, 75, 79, 70, 90, 60], [10, 5, 12, 1, 20, 2]
    assert hypervolume(accuracy, latency, reference=(70, 20)) == 125.0
    assert hypervolume([], [], reference=(70, 20)) == 0.0


@given(points)
def test_the_curve_is_the_hypervolume_of_the_first_ones(rows):
    gains, costs = [a for a, _ in rows], [t for _, t in rows]
    expected = [hypervolume(gains[:n], costs[:n], reference=(1, 6)) for n in range(1, len(rows) + 1)]
    assert hypervolume_curve(gains, costs, reference=(1, 6)) == expected


def outcomes(trials):
    return [(t.arch, type(t.outcome)) for t in trials]


searches = pytest.mark.usefixtures("images")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, finished_results):
    """The four controls of a search that nothing interrupts."""
    asked = request(tmp_path_factory.mktemp("whole"), data=str(finished_results / "images"), control=4)
    return search(asked).controls()


@pytest.mark.slow
@searches
def test_controls_are_trained_beside_the_search_which_does_not_see_them(tmp_path):
    plain = search(request(tmp_path / "plain", data=str(tmp_path / "images")))
    study = search(request(tmp_path, control=3))
    assert outcomes(study.trials()) == outcomes(plain.trials())
    controls = study.controls()
    assert sum(isinstance(t.outcome, Finished) for t in controls) == 3
    assert {type(t.outcome) for t in controls} == {Finished, Infeasible}  # some draws exceed the budget
    assert isinstance(controls[-1].outcome, Finished)  # and none is drawn after the last that counts
    assert all(study.limits.allow_trial(t) == isinstance(t.outcome, Finished) for t in controls)
    summary = summarise(study)
    archs = {t.arch.key for t in controls} - {t.arch.key for t in study.trials()}
    assert archs
    assert not archs & {t.arch.key for t in [*summary.front, *(c.trial for c in summary.confirmed)]}
    assert (
        summary.verdict == summarise(plain).verdict
        or summary.verdict.best.trial.arch == summarise(plain).verdict.best.trial.arch
    )


@pytest.mark.slow
@searches
def test_what_is_far_over_a_tight_budget_is_not_even_timed(tmp_path):
    """Of random networks one in thousands is as small as the smallest published one."""
    study = search(request(tmp_path, latency_budget="mobilevitv2-0.5", control=2, trials=1))
    controls = study.controls()
    assert sum(isinstance(t.outcome, Finished) for t in controls) == 2
    assert len(controls) < 50
    assert max(t.latency.latency_ms for t in controls) <= 1.3 * study.limits.latency_ms


@pytest.mark.slow
@searches
def test_more_controls_go_on_after_fewer_and_the_study_is_finished_until_more_are_asked_for(tmp_path, whole):
    first = search(request(tmp_path, control=2)).controls()
    proxy = FormulaProxy()
    assert search(request(tmp_path, control=1), proxy=proxy).controls() == first
    assert proxy.trained == []
    study = search(request(tmp_path, control=4), proxy=proxy)
    assert study.controls()[: len(first)] == first
    assert outcomes(study.controls()) == outcomes(whole)
    assert {part for _, _, part in proxy.trained} == {"selection"}
    assert {seed for _, seed, _ in proxy.trained} == {0}


@pytest.mark.slow
@searches
def test_an_interrupted_control_goes_on_where_it_was(tmp_path, whole):
    interrupt = Interrupt()

    class StopAtControl(Listener):
        def trial_ended(self, study, trial):
            interrupt.requested = len(study.controls()) == 3

    stopped = search(request(tmp_path, control=4), listener=StopAtControl(), interrupt=interrupt)
    assert len(stopped.controls()) == 3
    assert stopped.fact("ended") is None
    assert stopped.scores() == []
    assert outcomes(search(request(tmp_path, control=4)).controls()) == outcomes(whole)


@pytest.mark.slow
@searches
def test_what_the_search_has_trained_is_not_trained_again(tmp_path):
    """The width space has few networks: a control is often a candidate too."""
    proxy = FormulaProxy()
    study = search(request(tmp_path, space="width", trials=15, control=10), proxy=proxy)
    keys = [key for key, _, part in proxy.trained if part == "selection"]
    assert len(set(keys)) == len(keys)
    repeats = [t for t in study.controls() if t.repeats is not None]
    by_number = {t.number: t for t in study.trials()}
    assert repeats
    assert all(t.outcome == by_number[t.repeats].outcome for t in repeats)


@pytest.mark.slow
@searches
def test_a_space_without_enough_networks_says_so_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "_MAX_SKIPPED", 2_000)  # draws in a row, of a space with 259 networks
    notes = []

    class Notes(Listener):
        def note(self, text):
            notes.append(text)

    asked = request(tmp_path, space="width", latency_budget="mobilevitv2-0.5", trials=2, control=1000)
    study = search(asked, listener=Notes())
    assert study.fact("ended").goals.control == 1000
    assert any("of 1000 random architectures trained: " in note for note in notes)


@pytest.mark.slow
@searches
def test_draws_that_a_device_does_not_take_do_not_end_the_search(tmp_path, monkeypatch):
    outcome_of = Runner._outcome
    refused = Failed(reason="measurement", message="too large")
    names = []

    class Names(Listener):
        def started(self, name, arch):
            names.append(name)

    def outcome(self, arch, role, **options):
        return (
            refused if names[-1] in [f"control {i}" for i in range(8)] else outcome_of(self, arch, role, **options)
        )

    monkeypatch.setattr(Runner, "_outcome", outcome)
    controls = search(request(tmp_path, control=2), listener=Names()).controls()
    assert [t.outcome == refused for t in controls[:9]] == [True] * 8 + [False]
    assert sum(isinstance(t.outcome, Finished) for t in controls) == 2


@pytest.mark.slow
@searches
def test_control_csv_lists_every_draw_and_is_not_there_without(tmp_path):
    asked = request(tmp_path, control=3)
    study = search(request(tmp_path))
    refresh(study)
    assert not (study.folder / "control.csv").exists()
    study = search(asked)
    summary = refresh(study)
    frame = pd.read_csv(study.folder / "control.csv")
    assert frame.control.tolist() == [f"control {i}" for i in range(len(summary.controls))]
    assert frame.key.tolist() == [t.arch.key for t in summary.controls]
    assert (frame.outcome == "finished").sum() == 3
    assert len(pd.read_csv(study.folder / "pareto.csv")) == len(summary.trials)
    page = (study.folder / "report.html").read_text()
    assert "The band shows 3 random networks in random orders" in page
    assert "Compared with random networks: hypervolume" in page
    assert "A smaller width that fails and is trained at a later start does" in page


LIMITS = Limits(latency_ms=20.0, max_params=None)
SMALLEST = trial(0, finished(75, 8), role=Published("mobilevitv2-0.5"), params=900_000)


def summary(candidates, controls=()):
    return Summary(
        name="test",
        inputs=inputs(latency_budget="20ms"),
        passport=None,
        limits=LIMITS,
        trials=[trial(1, finished(90, 9), role=Published("mobilevitv2-0.75")), *candidates],
        outside=[SMALLEST],
        lost=[],
        front=[],
        confirmed=[],
        verdict=None,
        ended=None,
        controls=list(controls),
    )


def drawn(count, level, seed):
    rng = np.random.default_rng(seed)
    rows = zip(rng.normal(level, 3, count), rng.uniform(5, 22, count), strict=True)
    return [trial(2 + i, finished(float(a), float(t))) for i, (a, t) in enumerate(rows)]


def test_the_table_counts_trained_candidates_alone_from_a_fixed_reference():
    stopped = replace(trial(3), outcome=Stopped(curve=(99.0,), latencies={"host": finished(1, 1.0).latency}))
    candidates = [trial(2, finished(70, 10)), stopped, trial(4, finished(80, 15)), trial(5, finished(99, 21))]
    table = hypervolume_table(
        summary([*candidates, trial(6, Infeasible(latencies={"host": finished(1, 30.0).latency}))])
    )
    assert table.reference == (65.0, 20.0)  # ten points below the smallest width; 90 % at 9 ms is no candidate
    assert table.search == (50.0, 50.0, 100.0, 100.0)  # 5 * 10, then 5 * 10 + 10 * 5, and 21 ms is over the budget
    assert table.band is table.comparison is None


def test_a_smaller_width_that_succeeds_at_a_later_start_moves_the_reference():
    whole = summary([trial(2, finished(70, 10))])
    lost = replace(SMALLEST, outcome=Failed(reason="training", message="out of memory"))
    before, after = (hypervolume_table(replace(whole, outside=[*rows])) for rows in ([lost], [lost, SMALLEST]))
    assert (before.reference[0], after.reference[0]) == (80.0, 65.0)


def test_the_reference_is_guessing_where_the_smallest_width_is_hardly_better():
    whole = summary(drawn(3, 70, 0))
    low = replace(whole, outside=[replace(SMALLEST, outcome=finished(55, 8))])
    assert hypervolume_table(low).reference == (50.0, 20.0)


def test_without_a_published_width_or_a_candidate_there_is_no_table():
    assert hypervolume_table(summary([])) is None
    assert hypervolume_table(replace(summary([]), trials=drawn(2, 70, 0), outside=[])) is None


def test_the_band_is_that_of_all_orders():
    """Three controls of hypervolumes 30, 60, 90, each dominating the last: after 2, 60 in 1 of 3 orders."""
    controls = [trial(i, finished(65 + 3 * i, 10)) for i in (1, 2, 3)]
    band = hypervolume_table(summary(drawn(2, 70, 0), controls)).band
    assert (band.low[0], band.median[0], band.high[0]) == (30, 60, 90)
    assert (band.low[1], band.median[1], band.high[1]) == (60, 90, 90)
    assert band.low[2] == band.high[2] == 90


@pytest.mark.slow
def test_a_search_that_is_random_is_rarely_distinguishable_and_a_good_one_is(monkeypatch):
    """With 5 % by design, more than 6 of 40 is less than 1 % likely; 500 splits have the same 5 % as 2,000."""
    monkeypatch.setattr(tables, "_SPLITS", 500)
    monkeypatch.setattr(tables, "_ORDERS", 1)  # of the band, which is not looked at here
    told = [
        hypervolume_table(summary(drawn(10, 75, 2 * i), drawn(10, 75, 2 * i + 1))).comparison.distinguishable
        for i in range(40)
    ]
    assert sum(told) <= 6
    better = hypervolume_table(summary(drawn(10, 83, 0), drawn(12, 75, 1)))
    assert better.comparison.distinguishable
    assert better.comparison.networks == 10


def test_the_sentence_says_where_the_difference_is_no_more_than_chance():
    (even,) = control_sentences(hypervolume_table(summary(drawn(10, 75, 0), drawn(10, 75, 1))))
    (better,) = control_sentences(hypervolume_table(summary(drawn(10, 83, 0), drawn(10, 75, 1))))
    assert even.endswith("(95 %): no more than chance.")
    assert better.endswith("(95 %).")
    assert "after 10 trained candidates" in better
    assert control_sentences(None) == control_sentences(hypervolume_table(summary(drawn(2, 75, 0)))) == []


def test_the_figure_draws_the_table():
    table = hypervolume_table(summary(drawn(6, 75, 0), drawn(4, 75, 1)))
    low, high, median, found = hypervolume_figure(table).data
    band = table.band
    assert [tuple(one.y) for one in (low, high, median)] == [band.low, band.high, band.median]
    assert high.name == "4 random networks: 5 to 95 % of their orders"
    assert (found.x[0], found.x[-1], found.y[-1]) == (1, 6, table.search[-1])
    assert len(hypervolume_figure(hypervolume_table(summary(drawn(6, 75, 0)))).data) == 1
