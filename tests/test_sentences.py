"""What is said of a study: the same words on the terminal and in the report."""

from dataclasses import replace

import pytest

from fakes import finished, trial
from mvit2_search.analysis.confirmation import ConfirmationProgress, Confirmed
from mvit2_search.analysis.paired import Difference
from mvit2_search.analysis.verdict import Verdict
from mvit2_search.records import MOST_TRIES, Failed, Published, Score, device_sentence
from mvit2_search.report.sentences import budget_sentence, verdict_sentences
from summaries import BEST, PASSPORT, TRIALS, WIDTH, summary


def test_the_sentences_answer_first():
    first, second, third = verdict_sentences(summary())
    assert first.startswith("Best within the budget: trial 3 (")
    assert "76.50 % on images the search never saw, 15.00 ms, 1,000,000 parameters" in first
    assert second == (
        "Gain of trial 3 over mobilevitv2-0.75 (75.00 %): +1.50 points at 25 % lower latency, "
        "95 % interval -4.85 to +7.85 over 2 seeds: statistically tied."
    )
    assert third == "To export: trial 3, as no faster network is statistically tied with it."
    assert budget_sentence(summary()) == "Budget: mobilevitv2-0.75 = 20.00 ms."
    assert "a test's device (chip <b>, OS 1; runtime 2, float32, batch 1, 1 thread)" in device_sentence(PASSPORT)


def test_a_clear_gain_is_not_called_a_tie():
    verdict = Verdict(
        best=BEST,
        searched=BEST,
        fastest=BEST,
        published=WIDTH,
        gain=Difference(mean=1.5, low=0.5, high=2.5, pairs=3),
    )
    assert verdict_sentences(summary(verdict=verdict))[1].endswith("over 3 seeds.")


def test_a_gain_says_what_it_is_corrected_for():
    corrected = Difference(mean=1.5, low=0.2, high=2.5, pairs=2, compared=3, bias=0.4)
    verdict = replace(summary().verdict, gain=corrected)
    gain = verdict_sentences(summary(verdict=verdict))[1]
    assert "+1.10 points at 25 % lower latency, 95 % interval +0.20 to +2.50 over 2 seeds. Gain and " in gain
    assert gain.endswith("interval are corrected for choosing the best of 3 candidates (uncorrected +1.50).")
    verdict = replace(verdict, gain=replace(corrected, pairs=1, bias=0.0))
    gain = verdict_sentences(summary(verdict=verdict))[1]
    assert "It has no interval, and it is not corrected for choosing the best of 3 candidates: " in gain


def test_what_the_fastest_saves_and_costs_is_said_beside_what_is_exported():
    quick = Confirmed(trial=trial(8, finished(75, 12)), scores={1000: 75.0, 1001: 76.0})
    lead = Difference(mean=1.0, low=-0.5, high=2.5, pairs=2)
    verdict = Verdict(best=BEST, searched=BEST, fastest=quick, lead=lead, published=WIDTH, gain=None)
    last = verdict_sentences(summary(verdict=verdict))[-1]
    assert last.startswith("To export: trial 3. The fastest network statistically tied with it is trial 8 (")
    assert "12.00 ms, which saves 3.00 ms (20 %) and costs 1.00 points, 95 % interval -0.50 to +2.50." in last
    assert last.endswith("`pick` fastest exports it.")
    none = replace(verdict, lead=lead.corrected(1.0))
    last = verdict_sentences(summary(verdict=none))[-1]
    assert "and costs no measurable accuracy, 95 % interval -0.50 to +2.50" in last
    assert "corrected for choosing the best of 1 (uncorrected +1.00)" in last


@pytest.mark.parametrize(
    ("seeds", "pairs", "words"),
    [
        ((1000,), 1, "It has no interval: the two share only one seed."),
        ((1002,), 0, "It has no interval: the two share no seed."),
    ],
)
def test_scores_of_other_seeds_are_said_to_be_such(seeds, pairs, words):
    inf = float("inf")
    width = replace(WIDTH, scores=dict.fromkeys(seeds, 73.0))
    verdict = Verdict(
        best=BEST,
        searched=BEST,
        fastest=BEST,
        published=width,
        gain=Difference(mean=1.5, low=-inf, high=inf, pairs=pairs),
    )
    _, gain, uneven, _ = verdict_sentences(summary(verdict=verdict))
    assert gain.endswith(words)
    assert uneven.startswith("Not all of these were trained with the same seeds")


def test_one_seed_says_nothing_about_noise():
    inf = float("inf")
    once = replace(BEST, scores={1000: 75.0})
    verdict = Verdict(
        best=once,
        searched=once,
        fastest=once,
        published=replace(WIDTH, scores={1000: 73.5}),
        gain=Difference(mean=1.5, low=-inf, high=inf, pairs=1),
    )
    assert verdict_sentences(summary(verdict=verdict))[1].endswith(
        "one seed shows no noise; raise `confirm_seeds`."
    )


def test_balanced_accuracies_are_said_as_such():
    best, width = replace(BEST, balanced={1000: 33.0, 1001: 34.0}), replace(WIDTH, balanced={1000: 20.0})
    verdict = replace(summary().verdict, best=best, searched=best, fastest=best, published=width)
    said = "Balanced accuracy (mean over the unbalanced classes): trial 3 33.50 %, mobilevitv2-0.75 20.00 %."
    assert said in verdict_sentences(summary(verdict=verdict))


def test_a_published_width_that_is_best_is_called_so():
    verdict = Verdict(best=WIDTH, searched=None, fastest=WIDTH, published=WIDTH, gain=None)
    lines = verdict_sentences(summary(verdict=verdict))
    assert lines[0].startswith(
        "Best within the budget: mobilevitv2-0.75 (a published width: no candidate scored higher)"
    )
    assert lines[1] == "To export: mobilevitv2-0.75, as no faster network is statistically tied with it."
    assert len(lines) == 2


ALONE = Verdict(best=BEST, searched=BEST, fastest=BEST, published=None, gain=None)
UNTRAINED = trial(1, Failed(reason="training", message="out of memory"), role=Published("mobilevitv2-0.75"))
UNTIMED = trial(1, Failed(reason="measurement", message="too large"), role=Published("mobilevitv2-0.75"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ended": None}, "mobilevitv2-0.75 is within the budget but is not confirmed yet"),
        ({}, "mobilevitv2-0.75 is within the budget but could not be confirmed: its trainings failed"),
        ({"trials": TRIALS[2:]}, "no published width is within the budget"),
        ({"trials": [UNTIMED, *TRIALS[2:]]}, "no published width that could be timed and trained is within"),
        ({"trials": [UNTRAINED, *TRIALS[2:]]}, "no published width that could be timed and trained is within"),
    ],
)
def test_why_there_is_no_width_to_compare_with_goes_by_the_widths_that_were_timed(changes, words):
    assert words in verdict_sentences(summary(verdict=ALONE, **changes))[1 + (changes.get("ended", 1) is None)]


def test_an_answer_before_the_end_is_provisional_and_says_how_far_the_confirmation_is():
    half = summary(ended=None, confirmation=ConfirmationProgress(done=7, planned=18, seeds=3))
    first, best, gain, export = verdict_sentences(half)
    assert first.startswith("Provisional: 7 of at most 18 confirmation trainings are done")
    assert [line.split(" so far", 1)[0] for line in (best, gain, export)] == [
        "Best within the budget",
        "Gain",
        "To export",
    ]
    done = ConfirmationProgress(done=18, planned=18, seeds=3)
    for whole in (summary(ended=None), summary(ended=None, confirmation=done)):
        assert verdict_sentences(whole)[0].startswith("Provisional: the study is not finished")
    lead = Difference(mean=0.5, low=-1.0, high=2.0, pairs=2)
    faster = replace(summary().verdict, fastest=WIDTH, lead=lead)
    assert verdict_sentences(summary(ended=None, verdict=faster))[-1].startswith("To export so far: ")
    assert not any("so far" in line or "Provisional" in line for line in verdict_sentences(summary()))
    one = Difference(mean=1.5, low=-float("inf"), high=float("inf"), pairs=1)
    once, width = (replace(c, scores={1000: c.mean_pct}) for c in (BEST, WIDTH))
    early = Verdict(best=once, searched=once, fastest=once, published=width, gain=one)
    gain = verdict_sentences(summary(ended=None, verdict=early))[2]
    assert gain.endswith("It has no interval: one seed shows no noise.")


FAILED = Score(subject="a", seed=1, result=Failed(reason="training", message=""), tries=MOST_TRIES)
AGAIN = replace(FAILED, seed=2, tries=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": None, "ended": None}, "No network within the budget has been confirmed yet."),
        ({"verdict": None, "ended": "why", "front": []}, "No network within the budget was found: why."),
        ({"verdict": None, "ended": "why"}, "could be confirmed: all their confirmation trainings failed."),
        ({"verdict": None, "ended": "why", "scores": [FAILED]}, "trainings failed."),
        (
            {"verdict": None, "ended": "why", "scores": [FAILED, AGAIN]},
            "trainings failed. The same command tries them again.",
        ),
    ],
)
def test_without_a_verdict_it_says_so(changes, words):
    (line,) = verdict_sentences(summary(**changes))
    assert line.endswith(words)
