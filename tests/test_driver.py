"""Whole searches with a scripted device and a formula for a proxy."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fakes import MS_PER_GMAC, FormulaProxy, macs_device, request, search
from mvit2_search.arch.cost import network_cost
from mvit2_search.errors import BackendUnavailable, MVit2SearchError, SpecError, StudyConflict
from mvit2_search.records import Failed, Finished, Infeasible
from mvit2_search.report.tables import summarise
from mvit2_search.search.driver import is_finished
from mvit2_search.search.events import Listener
from mvit2_search.search.request import parse_budget
from mvit2_search.space import shipped_spaces
from mvit2_search.store import driver_lock, open_study
from mvit2_search.system.signals import Interrupt

pytestmark = pytest.mark.usefixtures("images")


class StopAfter(Listener):
    """Acts like Ctrl-C after so many trials."""

    def __init__(self, interrupt, trials):
        self.interrupt, self.left = interrupt, trials

    def trial_ended(self, study, trial):
        self.left -= 1
        self.interrupt.requested = self.left <= 0


def candidates(study):
    return [t for t in study.trials() if t.published is None]


@pytest.mark.slow
def test_a_search_trains_as_many_candidates_as_asked_and_confirms(tmp_path):
    proxy = FormulaProxy()
    study = search(request(tmp_path), proxy=proxy)
    trained = [t for t in candidates(study) if isinstance(t.outcome, Finished)]
    assert len(trained) == 4
    summary = summarise(study)
    assert summary.ended == "the candidates asked for (4) are trained"
    assert summary.verdict.published.trial.published == "mobilevitv2-0.75"
    searched = [key for key, _, part in proxy.trained if part == "selection"]
    confirmed = [(key, seed) for key, seed, part in proxy.trained if part == "confirmation"]
    assert len(searched) == len(set(searched)) == 3 + 4
    assert sorted(confirmed) == sorted((c.trial.arch.key, s) for c in summary.confirmed for s in (1000, 1001))


@pytest.mark.slow
def test_the_budget_is_the_latency_of_the_network_it_names(tmp_path):
    study = search(request(tmp_path))
    quarter = next(t for t in study.trials() if t.published == "mobilevitv2-0.75")
    assert study.limits.latency_ms == quarter.latency.latency_ms


def test_what_is_over_the_budget_is_never_trained(tmp_path):
    proxy = FormulaProxy()
    study = search(request(tmp_path, latency_budget="9ms"), proxy=proxy)
    infeasible = {t.arch.key for t in study.trials() if isinstance(t.outcome, Infeasible)}
    assert infeasible
    assert not infeasible & {key for key, _, _ in proxy.trained}


@pytest.mark.slow
def test_no_architecture_is_evaluated_twice(tmp_path):
    study = search(request(tmp_path, trials=12))
    keys = [t.arch.key for t in study.trials()]
    assert len(set(keys)) == len(keys)


def test_the_same_request_finds_the_study_finished_and_trains_nothing(tmp_path):
    search(request(tmp_path))
    proxy = FormulaProxy()
    study = search(request(tmp_path), proxy=proxy)
    assert proxy.trained == []
    assert is_finished(study, request(tmp_path))


@pytest.mark.slow
def test_more_trials_and_seeds_extend_a_finished_study(tmp_path):
    search(request(tmp_path))
    study = search(request(tmp_path, trials=6, confirm_seeds=3))
    assert len(candidates(study)) == 6
    assert {score.seed for score in study.scores()} == {1000, 1001, 1002}


def test_an_interrupted_search_goes_on_where_it_was(tmp_path):
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images")))
    for trials in (2, 1, 5):
        interrupt = Interrupt()
        study = search(request(tmp_path), listener=StopAfter(interrupt, trials), interrupt=interrupt)
        assert not is_finished(study, request(tmp_path))
    study = search(request(tmp_path))
    assert [(t.number, t.arch, t.outcome.__class__) for t in study.trials()] == [
        (t.number, t.arch, t.outcome.__class__) for t in whole.trials()
    ]
    assert summarise(study).verdict.best.trial.arch == summarise(whole).verdict.best.trial.arch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: was 0, now 1"),
        ({"latency_budget": "12ms"}, "latency_budget: was mobilevitv2-0.75, now 12ms"),
        ({"max_params": 10**6}, "max_params: was None, now 1000000"),
        ({"formulation": "rank5"}, "formulation: was pixel_unshuffle, now rank5"),
        ({"space": "width"}, "space.axes.stage1.width.low: was 0.5, now None"),
    ],
)
def test_other_inputs_are_refused_by_name(tmp_path, change, named):
    search(request(tmp_path))
    with pytest.raises(StudyConflict) as error:
        search(request(tmp_path, **change))
    assert named in str(error.value)


@pytest.mark.slow
def test_candidates_are_timed_in_the_formulation_asked_for(tmp_path):
    study = search(request(tmp_path, formulation="layer_norm"))
    timed = [t.outcome.latency.artifact_sha256 for t in study.trials()]
    assert timed
    assert all(artifact.endswith("-layer_norm") for artifact in timed)


@pytest.mark.slow
def test_names_and_spellings_are_no_inputs(tmp_path):
    (tmp_path / "renamed.yaml").write_text(
        shipped_spaces()["blocks"].read_text().replace("name: blocks", "name: b")
    )
    search(request(tmp_path, latency_budget="12ms"))
    (tmp_path / "images").rename(tmp_path / "pictures")
    space, data = str(tmp_path / "renamed.yaml"), str(tmp_path / "pictures")
    search(request(tmp_path, latency_budget="12.0 ms", space=space, data=data))


@pytest.mark.slow
def test_an_extended_study_is_not_finished_until_it_is(tmp_path):
    search(request(tmp_path))
    interrupt = Interrupt()
    study = search(request(tmp_path, trials=8), listener=StopAfter(interrupt, 1), interrupt=interrupt)
    assert summarise(study).ended is None


@pytest.mark.slow
def test_other_images_are_refused(tmp_path):
    search(request(tmp_path))
    next((tmp_path / "images").rglob("*.png")).unlink()
    with pytest.raises(StudyConflict, match=r"data\.fingerprint"):
        search(request(tmp_path))


@pytest.mark.slow
def test_a_budget_that_did_not_settle_is_noted(tmp_path):
    notes = []

    class Notes(Listener):
        def note(self, text):
            notes.append(text)

    rng = np.random.default_rng(0)
    device = macs_device()
    device.weather = lambda *_: float(rng.lognormal(0, 0.3))
    search(request(tmp_path), device=device, listener=Notes())
    assert any("the budget is not sure: mobilevitv2-0.75 takes" in note and "unsettled" in note for note in notes)


@pytest.mark.slow
def test_a_study_keeps_its_scale_from_its_first_measurement_on(tmp_path):
    """The device is busy when it is first used and calm from the first trial on."""
    device, busy = macs_device(), 1.557
    device.weather = lambda *_: busy

    class Calms(Listener):
        def opened(self, study, request):
            device.weather = lambda *_: 1.0

    study = search(request(tmp_path), device=device, listener=Calms())
    scale, budget = study.device.reference_ms, study.limits.latency_ms
    timed = [t for t in study.trials() if t.latency is not None]
    for t in timed:
        truth_ms = MS_PER_GMAC * network_cost(t.arch).macs / 1e9
        assert t.latency.latency_ms == pytest.approx(busy * truth_ms)
        assert t.latency.reference_ms == scale
        assert isinstance(t.outcome, Infeasible) <= (t.latency.latency_ms > budget)
    later = [t for t in timed if t.published is None]
    assert all("fast" in t.latency.flags for t in later)
    shared = next(tmp_path.glob("results/.latencies/*/reference.json"))
    assert json.loads(shared.read_text())["known"]["reference_ms"] == pytest.approx(scale / busy)
    resumed = search(request(tmp_path, trials=6), device=device)
    assert {t.latency.reference_ms for t in resumed.trials() if t.latency is not None} == {scale}


def test_a_second_driver_is_refused(tmp_path):
    with driver_lock(request(tmp_path).folder), pytest.raises(StudyConflict, match="is in use by process"):
        search(request(tmp_path))


def test_a_device_that_is_not_there_stops_before_anything_is_written(tmp_path):
    class Missing:
        format = "onnx"

        def check(self):
            raise BackendUnavailable("not here")

    with pytest.raises(BackendUnavailable):
        search(request(tmp_path), device=Missing())
    assert not request(tmp_path).folder.exists()


def test_a_small_space_ends_when_it_is_exhausted(tmp_path):
    asked = request(tmp_path, space="width", latency_budget="mobilevitv2-0.5", trials=100)
    study = search(asked)
    assert study.fact("ended").why == "every network of the space that may fit the budget has been tried"
    assert is_finished(study, asked)


@pytest.mark.slow
def test_the_width_space_ends_with_all_44_networks_up_to_three_quarters(tmp_path):
    study = search(request(tmp_path, space="width", trials=100))
    assert sum(isinstance(t.outcome, Finished) and t.latency.latency_ms <= study.limits.latency_ms
               for t in study.trials()) == 44  # fmt: skip


def test_an_impossible_budget_ends_the_search_without_a_verdict(tmp_path):
    study = search(request(tmp_path, latency_budget="0.5ms"))
    assert study.fact("ended").why.startswith("even the network at the low end of the space takes")
    assert summarise(study).verdict is None
    assert len(candidates(study)) == 1


@pytest.mark.slow
def test_parameters_can_be_limited(tmp_path):
    study = search(request(tmp_path, max_params=1_000_000))
    assert all(t.params <= 1_000_000 for t in candidates(study) if isinstance(t.outcome, Finished))
    trained = [t.published for t in study.trials() if t.published and isinstance(t.outcome, Finished)]
    assert trained == ["mobilevitv2-0.5"]  # has 1.1 million: the first beyond


def test_failed_trainings_are_recorded_and_five_in_a_row_end_the_run(tmp_path):
    for _ in range(2):  # the same command tries again: the cause may be mended
        with pytest.raises(MVit2SearchError, match="the last 5 trials all failed in training: the loss is not"):
            search(request(tmp_path), proxy=FormulaProxy(fails=True))
    study = open_study(request(tmp_path).folder)
    failed = [t for t in study.trials() if isinstance(t.outcome, Failed)]
    assert {t.outcome.reason for t in failed} == {"training"}
    assert sum(t.published is None for t in failed) == 10
    assert search(request(tmp_path)).fact("ended").why == "the candidates asked for (4) are trained"


def test_the_hours_can_be_limited(tmp_path):
    study = search(request(tmp_path, max_hours=1e-9))
    assert candidates(study) == []
    assert study.fact("ended") is None  # there is more to do for the same command


@pytest.mark.slow
def test_widths_that_the_space_cannot_express_are_kept_beside_the_trials(tmp_path):
    path = tmp_path / "five.yaml"
    path.write_text("name: five\nsettings:\n  width: {range: [0.5, 1.0], per_stage: true}\n  kernel_size: 5\n")
    study = search(request(tmp_path, space=str(path)))
    assert all(t.published is None for t in study.trials())
    assert [t.published for t in study.outside()][:2] == ["mobilevitv2-0.5", "mobilevitv2-0.75"]
    assert summarise(study).verdict.published.trial.published == "mobilevitv2-0.75"


@pytest.mark.slow
def test_the_scratch_folder_is_gone_afterwards(tmp_path):
    study = search(request(tmp_path))
    assert not (study.folder / "scratch").exists()


def test_the_study_is_one_file_for_whoever_copies_it(tmp_path):
    interrupt = Interrupt()
    asked = request(tmp_path)
    search(asked, listener=StopAfter(interrupt, 3), interrupt=interrupt)
    assert {path.name for path in asked.folder.iterdir()} == {
        "study.db",
        "study.digests",
        "study.backup.db",
        "driver.lock",
    }


@pytest.mark.slow
def test_blind_spots_are_told(tmp_path):
    notes = []

    class Notes(Listener):
        def note(self, text):
            notes.append(text)

    proxy = FormulaProxy()
    proxy.blind_spots = lambda space: ["it cannot see"]
    search(request(tmp_path), proxy=proxy, listener=Notes())
    assert "it cannot see" in notes


@pytest.mark.parametrize(
    ("text", "budget"), [("12ms", 12.0), ("0.5 ms", 0.5), ("mobilevitv2-1.0", "mobilevitv2-1.0")]
)
def test_budgets(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["12", "0ms", "-1ms", "nanms", "fast", "mobilevitv2-0.6", ""])
def test_budgets_that_are_none(text):
    with pytest.raises(SpecError, match="latency_budget"):
        parse_budget(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "../x"},
        {"study": ""},
        {"study": "-x"},
        {"study": "a" * 65},
        {"study": "a\n"},
        {"trials": 0},
        {"confirm_seeds": 0},
        {"max_hours": 0.0},
        {"max_hours": float("nan")},
        {"max_params": 0},
        {"seed": -1},
    ],
)
def test_requests_that_make_no_sense(tmp_path, changes):
    with pytest.raises(SpecError):
        replace(request(tmp_path), **changes)
