"""A study on another device than it began on, or on one that only estimates."""

import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from commands import invoke
from damaged_studies import a_finished_study
from fakes import FormulaProxy, macs_device, request, search
from mvit2_search.api import refresh
from mvit2_search.cli import cli
from mvit2_search.errors import DataError, SpecError, StudyConflict
from mvit2_search.predict.estimate import make_estimate
from mvit2_search.records import Finished, Infeasible, Prediction, Stopped
from mvit2_search.report.tables import summarise, trials_frame
from mvit2_search.search.events import Listener
from mvit2_search.store import driver_lock, open_study

pytestmark = pytest.mark.usefixtures("images")
UPDATED = macs_device("the same chip, updated")
ALLOWED = ("--allow-device-change",)


@pytest.fixture(scope="module")
def first_results(tmp_path_factory):
    return tmp_path_factory.mktemp("first")


@pytest.fixture
def first_study(tmp_path, run_with_fakes, first_results):
    """The results after `run_with_fakes()`, which runs once for all tests."""
    if not (first_results / "results").exists():
        assert run_with_fakes("--results", str(first_results / "results")).exit_code == 0
    shutil.copytree(first_results / "results", tmp_path / "results")


@pytest.fixture
def updated_study(tmp_path, first_study, run_with_fakes, first_results):
    """The results after a fifth candidate on another device too, and the study that was set aside for it."""
    updated = first_results / "updated"
    if not updated.exists():
        shutil.copytree(tmp_path / "results", updated)
        arguments = ("--trials", "5", "--results", str(updated))
        assert run_with_fakes(*arguments, device=UPDATED, flags=ALLOWED).exit_code == 0
    shutil.rmtree(tmp_path / "results")
    shutil.copytree(updated, tmp_path / "results")
    (old,) = (tmp_path / "results" / "other-devices").glob("*/test")
    return old


@pytest.mark.slow
def test_another_device_is_refused_while_there_is_more_to_do(tmp_path, finished_results):
    a_finished_study(tmp_path, finished_results)
    with pytest.raises(StudyConflict, match="chip: another here, scripted chip there"):
        search(request(tmp_path, trials=5), device=macs_device("another"))


@pytest.mark.slow
def test_another_device_is_refused_by_a_finished_study_too_and_leaves_no_trace(tmp_path, finished_results):
    study = open_study(a_finished_study(tmp_path, finished_results))
    asked = study.fact("request")
    with pytest.raises(StudyConflict, match="device: iPhone 12 here"):
        search(request(tmp_path, device="estimate:iphone12"), device=make_estimate("iphone12"))
    assert open_study(study.folder).fact("request") == asked


@pytest.mark.slow
def test_a_study_is_not_set_aside_for_images_that_are_not_there(tmp_path, finished_results):
    asked = request(tmp_path)
    a_finished_study(tmp_path, finished_results)
    wrong = replace(asked, data=str(tmp_path / "nowhere"), allow_device_change=True)
    with pytest.raises(DataError):
        search(wrong, device=macs_device("another"))
    assert (asked.folder / "study.db").is_file()


@pytest.mark.slow
def test_a_device_may_change_for_a_study_that_starts_anew(tmp_path, finished_results):
    asked = request(tmp_path)
    first = open_study(a_finished_study(tmp_path, finished_results))
    notes = []

    class Notes(Listener):
        def note(self, text):
            notes.append(text)

    anew = replace(asked, allow_device_change=True)
    second = search(anew, device=macs_device("another"), listener=Notes())
    assert second.device.passport.chip == "another"
    (old,) = (tmp_path / "results" / "other-devices").glob("*/test")
    assert old.parent.name == first.device.passport.digest
    assert any(str(old) in note for note in notes)
    assert open_study(old).device.passport.chip == "scripted chip"
    assert summarise(open_study(old)).verdict is not None
    search(anew)  # back again: the second is set aside too
    search(anew, device=macs_device("another"))
    places = {path.parent.name for path in (tmp_path / "results" / "other-devices").glob("*/test")}
    assert places == {
        first.device.passport.digest,
        second.device.passport.digest,
        f"{first.device.passport.digest}-2",
    }


def trained_here(proxy, part="selection"):
    return {key for key, _, tested in proxy.trained if tested == part}


@pytest.mark.slow
def test_the_refusal_names_the_option_and_what_it_keeps(first_study, run_with_fakes):
    refused = run_with_fakes(device=UPDATED)
    assert refused.exit_code == 3
    assert "--allow-device-change" in refused.stderr
    assert "keeps its accuracies" in refused.stderr


@pytest.mark.slow
def test_accuracies_are_kept_and_every_network_is_timed_anew(tmp_path, run_with_fakes):
    run_with_fakes("--control", "2")
    proxy = FormulaProxy()
    done = run_with_fakes("--control", "2", device=UPDATED, proxy=proxy, flags=ALLOWED)
    assert done.exit_code == 0, done.output
    assert "the accuracies of 4 candidates" in done.output
    assert proxy.trained == []
    (old,) = map(open_study, (tmp_path / "results" / "other-devices").glob("*/test"))
    study = open_study(tmp_path / "results" / "test")
    before, now = ({t.arch.key: t for t in one.trials()} for one in (old, study))
    assert list(now) == list(before)
    assert [now[key].outcome.curve for key in now if isinstance(now[key].outcome, Finished)] == [
        before[key].outcome.curve for key in now if isinstance(now[key].outcome, Finished)
    ]
    passports = {t.latency.passport for t in now.values() if t.latency is not None}
    assert passports == {study.device.passport.digest}
    taken = [t for t in study.trials() if t.accuracy_from]
    assert len(taken) == 7
    assert all(t.accuracy_from.startswith(t.name) for t in taken)
    assert summarise(study).verdict.best.mean_pct == summarise(old).verdict.best.mean_pct
    assert [s.result for s in study.scores()] == [s.result for s in old.scores()]
    for told in (done, CliRunner().invoke(cli, ["status", str(study.folder)])):
        assert (
            "Reused from a study on another device: the accuracies of 9 networks, but no latencies." in told.stdout
        )
    assert "Reused from a study on another device" in (study.folder / "report.html").read_text()


class Balanced(FormulaProxy):
    def run(self, arch, dataset, **rest):
        for score in super().run(arch, dataset, **rest):
            yield replace(score, balanced=score.score / 2)


@pytest.mark.slow
def test_balanced_accuracies_are_kept_too(tmp_path, run_with_fakes):
    run_with_fakes(proxy=Balanced())
    proxy = Balanced()
    run_with_fakes(device=UPDATED, proxy=proxy, flags=ALLOWED)
    assert proxy.trained == []
    study = open_study(tmp_path / "results" / "test")
    trained = [t.outcome for t in study.trials() if isinstance(t.outcome, Finished)]
    assert {one.score / one.balanced for one in trained} == {2}
    assert {score.result / score.balanced for score in study.scores()} == {2}


@pytest.mark.slow
def test_widths_outside_of_the_space_are_kept_too(tmp_path, run_with_fakes):
    path = tmp_path / "five.yaml"
    path.write_text("name: five\nsettings:\n  width: {range: [0.5, 1.0], per_stage: true}\n  kernel_size: 5\n")
    run_with_fakes("--space", str(path))
    proxy = FormulaProxy()
    done = run_with_fakes("--space", str(path), device=UPDATED, proxy=proxy, flags=ALLOWED)
    assert done.exit_code == 0, done.output
    assert open_study(tmp_path / "results" / "test").outside()
    assert proxy.trained == []


@pytest.mark.slow
def test_what_a_device_in_between_could_not_use_is_kept_for_the_next(tmp_path, run_with_fakes):
    run_with_fakes("--latency-budget", "20ms")
    trials = open_study(tmp_path / "results" / "test").trials()
    slower = macs_device("slower")
    usual = slower.script
    slower.script = lambda artifact, i: 20 * usual(artifact, i)
    run_with_fakes("--latency-budget", "20ms", device=slower, flags=ALLOWED)
    proxy = FormulaProxy()
    done = run_with_fakes("--latency-budget", "20ms", device=macs_device("a third"), proxy=proxy, flags=ALLOWED)
    assert done.exit_code == 0, done.output
    assert not {t.arch.key for t in trials if t.is_trained_candidate} & trained_here(proxy)


@pytest.mark.slow
def test_a_slower_device_takes_over_what_still_fits_and_trains_the_rest(tmp_path, run_with_fakes):
    run_with_fakes("--latency-budget", "20ms", "--trials", "8")
    slower = macs_device("slower")
    usual = slower.script
    slower.script = lambda artifact, i: 4 * usual(artifact, i)
    proxy = FormulaProxy()
    done = run_with_fakes("--latency-budget", "20ms", "--trials", "8", device=slower, proxy=proxy, flags=ALLOWED)
    assert done.exit_code == 0, done.output
    study = open_study(tmp_path / "results" / "test")
    candidates = [t for t in study.trials() if t.published is None]
    assert sum(t.is_trained_candidate for t in candidates) == 8
    taken = {t.arch.key for t in candidates if t.accuracy_from}
    assert taken
    assert not taken & trained_here(proxy)
    assert trained_here(proxy)
    assert Infeasible in {type(t.outcome) for t in candidates[:8]}
    assert all(t.latency.latency_ms <= 20 for t in candidates if isinstance(t.outcome, Finished))


@pytest.mark.slow
@pytest.mark.parametrize("stop", range(1, 8, 3))
def test_a_change_that_is_interrupted_goes_on_with_the_same_command(
    tmp_path, first_study, run_with_fakes, monkeypatch, stop
):
    class Killed(BaseException):
        pass

    import mvit2_search.search.driver as driver
    from mvit2_search.store import Study

    left, tell = [stop], Study.tell

    def dying(self, trial, **rest):
        left[0] -= 1
        if not left[0]:
            raise Killed
        return tell(self, trial, **rest)

    def nothing(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*((driver, "create_study", nothing) if stop == 1 else (Study, "tell", dying)))
        with pytest.raises(Killed):
            run_with_fakes(device=UPDATED, flags=ALLOWED)
    proxy = FormulaProxy()
    done = run_with_fakes(device=UPDATED, proxy=proxy, flags=ALLOWED)
    assert done.exit_code == 0, done.output
    assert proxy.trained == []
    assert sum(t.is_trained_candidate for t in open_study(tmp_path / "results" / "test").trials()) == 4


@pytest.mark.slow
def test_a_change_that_is_interrupted_keeps_the_accuracies_without_the_option_too(
    first_study, run_with_fakes, monkeypatch
):
    class Killed(BaseException):
        pass

    def nothing(*_, **__):
        raise Killed

    import mvit2_search.search.driver as driver

    with monkeypatch.context() as patch:
        patch.setattr(driver, "create_study", nothing)
        with pytest.raises(Killed):
            run_with_fakes(device=UPDATED, flags=ALLOWED)
    proxy = FormulaProxy()
    done = run_with_fakes(device=UPDATED, proxy=proxy)
    assert done.exit_code == 0, done.output
    assert "the accuracies of 4 candidates" in done.output
    assert proxy.trained == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"no database any more" * 300], ids=["empty", "text"])
def test_a_damaged_study_that_was_set_aside_does_not_hinder_the_one_in_its_place(
    run_with_fakes, updated_study, damage
):
    old = updated_study
    (old / "study.db").write_bytes(damage)
    done = run_with_fakes("--trials", "6", device=UPDATED)
    assert done.exit_code == 0, done.output
    assert f"{old} cannot be read" in done.output
    assert "to go on from it: mkdir" in invoke("status", old).stderr
    proxy = FormulaProxy()
    done = run_with_fakes("--trials", "6", device=macs_device("a third"), proxy=proxy, flags=ALLOWED)
    assert done.exit_code == 0, done.output
    assert f"{old} cannot be read" in done.output
    assert "the accuracies of 6 candidates" in done.output
    assert proxy.trained == []


def test_the_images_are_read_once_where_the_device_is_the_same(run_with_fakes, monkeypatch):
    import mvit2_search.search.tools as tools

    reads, usual = [], tools.load_dataset

    def counted(*arguments, **options):
        reads.append(arguments)
        return usual(*arguments, **options)

    monkeypatch.setattr(tools, "load_dataset", counted)
    for _ in range(2):
        assert run_with_fakes(flags=ALLOWED).exit_code == 0
    assert len(reads) == 2


@pytest.mark.slow
def test_a_study_is_not_set_aside_for_one_that_could_keep_nothing_of_it(tmp_path, first_study, run_with_fakes):
    """A mistyped seed would hide a good study among those of other devices."""
    for option, value, said in (("--seed", "1", "seed: was 0, now 1"), ("--space", "width", "space.axes")):
        wrong = run_with_fakes(option, value, device=UPDATED, flags=ALLOWED)
        assert wrong.exit_code == 3
        assert said in wrong.stderr
    assert not (tmp_path / "results" / "other-devices").exists()
    proxy = FormulaProxy()
    other_budget = run_with_fakes(
        "--latency-budget", "mobilevitv2-1.0", device=UPDATED, proxy=proxy, flags=ALLOWED
    )
    assert other_budget.exit_code == 0, other_budget.output
    assert [t for t in open_study(tmp_path / "results" / "test").trials() if t.accuracy_from]


@pytest.mark.slow
def test_a_stopped_training_is_stopped_again_or_trained(tmp_path, run_with_fakes, monkeypatch):
    """What it reached is known as far as it went: whether that is enough follows from the latencies here."""
    import mvit2_search.search.runner as runner
    from mvit2_search.stopping import Verdict, make_stopping_rule

    class Rule:
        stops_dominated = False
        stops = True

        def judge(self, candidate, past, *, lot):
            return Verdict() if self.stops else None

    monkeypatch.setattr(runner, "make_stopping_rule", lambda name: Rule())
    run_with_fakes()
    proxy = FormulaProxy()
    assert run_with_fakes(device=UPDATED, proxy=proxy, flags=ALLOWED).exit_code in (0, 1)
    study = open_study(tmp_path / "results" / "test")
    stopped = [t for t in study.trials() if isinstance(t.outcome, Stopped)]
    assert len(stopped) == 4
    assert all(t.accuracy_from for t in stopped)
    assert trained_here(proxy) == set()
    monkeypatch.setattr(runner, "make_stopping_rule", make_stopping_rule)
    assert run_with_fakes(device=macs_device("a third"), proxy=proxy, flags=ALLOWED).exit_code == 0
    study = open_study(tmp_path / "results" / "test")
    assert {t.arch.key for t in study.trials() if t.is_trained_candidate} == trained_here(proxy)
    assert not [t for t in study.trials() if t.is_trained_candidate and t.accuracy_from]


@pytest.mark.slow
def test_a_study_of_this_device_is_not_set_aside(tmp_path):
    asked = request(tmp_path, allow_device_change=True)
    first = len(search(asked).trials())
    assert len(search(replace(asked, trials=5)).trials()) > first > 0
    assert not (tmp_path / "results" / "other-devices").exists()


@pytest.mark.slow
def test_a_study_that_has_only_just_begun_is_no_other_devices(tmp_path):
    asked = request(tmp_path, allow_device_change=True)
    asked.folder.mkdir(parents=True)
    (asked.folder / "study.db").write_bytes(b"")  # killed before there was a table
    assert search(asked).fact("ended")


@pytest.mark.slow
def test_a_study_in_use_is_not_set_aside(tmp_path, finished_results):
    a_finished_study(tmp_path, finished_results)
    asked = request(tmp_path, allow_device_change=True)
    with driver_lock(asked.folder), pytest.raises(StudyConflict, match="is in use"):
        search(asked, device=macs_device("another"))
    assert (asked.folder / "study.db").is_file()


def test_an_estimate_refuses_a_space_that_it_knows_nothing_of(tmp_path):
    asked = request(tmp_path, space="attention")
    with pytest.raises(
        SpecError, match=r"networks of space 'attention' are refused: .* attention: expected separable"
    ):
        search(asked, device=make_estimate("iphone12"))
    assert not asked.folder.exists()


@pytest.mark.slow
def test_latencies_of_an_estimate_are_called_predicted_everywhere(tmp_path):
    study = search(request(tmp_path), device=make_estimate("iphone12"))
    kinds = {type(t.latency) for t in study.trials() if t.latency is not None}
    assert kinds == {Prediction}
    summary = refresh(study)
    assert set(trials_frame(summary)["latency_kind"].dropna()) == {"predicted"}
    assert summary.verdict.best.latency_text.endswith(" ms (predicted)")
    page = (study.folder / "report.html").read_text()
    assert "Latencies are predicted for iPhone 12; nothing was measured" in page
    assert "predicted ms" in page
    assert "measured ms" not in page
    assert "latency in ms, predicted" in page
