"""What runs each time that the driver is killed is given up after three times, and the study says so."""

import json

import pytest
from click.testing import CliRunner

from fakes import FormulaProxy, scattered_device
from mvit2_search.arch import published
from mvit2_search.cli import cli
from mvit2_search.errors import BackendUnavailable, StorageError, TrainingError
from mvit2_search.records import Failed, Finished
from mvit2_search.store import open_study
from mvit2_search.system.signals import Terminated

ONE = ("--trials", "1")  # where no candidate is what is tested
FIVE = "name: five\nsettings:\n  width: {range: [0.5, 1.0], per_stage: true}\n  kernel_size: 5\n"


class Killed(BaseException):
    """Ends the driver as a kill does: nothing catches it."""


class Deadly(FormulaProxy):
    """Ends the driver in the trainings for which `kills` holds, of a key, a seed and a part."""

    def __init__(self, kills, error=Killed):
        super().__init__()
        self.kills, self.error, self.deaths = kills, error, 0

    def run(self, arch, dataset, *, seed, test_on):
        if self.kills(arch.key, seed, test_on):
            self.deaths += 1
            raise self.error("killed")
        yield from super().run(arch, dataset, seed=seed, test_on=test_on)


def device_that_raises(error, key):
    """A device that raises `error` where it times the network `key`, and the passes in which it did."""
    device, raised = scattered_device(), []
    usual = device.script

    def script(artifact, i):
        if artifact.path.name.startswith(key):
            raised.append(i)
            raise error
        return usual(artifact, i)

    device.script = script
    return device, raised


def run_on(run_with_fakes, proxy, *arguments, starts=6):
    """The same command until it ends by itself, at most `starts` times."""
    for _ in range(starts):
        try:
            return run_with_fakes(*arguments, proxy=proxy)
        except Killed:
            pass
    raise AssertionError(f"still killed after {proxy.deaths} times")


def say_so(tmp_path, done, words):
    """`words` stand in what the run printed, in the status and in the report."""
    study = tmp_path / "results" / "test"
    told = CliRunner().invoke(cli, ["status", str(study)])
    assert told.exit_code == 0
    for text in (done.output, told.output, (study / "report.html").read_text()):
        for word in words:
            assert word in text
        assert "differs from one that was never stopped" in text


@pytest.mark.slow
@pytest.mark.parametrize("space", ["blocks", "five"])
def test_a_width_whose_training_kills_the_driver_is_given_up(tmp_path, run_with_fakes, space):
    (tmp_path / "five.yaml").write_text(FIVE)
    deadly = published("mobilevitv2-0.5").key
    proxy = Deadly(lambda key, *_: key == deadly)
    done = run_on(
        run_with_fakes, proxy, *ONE, "--space", str(tmp_path / "five.yaml") if space == "five" else space
    )
    assert proxy.deaths == 3
    assert done.exit_code == 0, done.output
    say_so(tmp_path, done, ["mobilevitv2-0.5 was stopped 3 times"])
    status = json.loads(CliRunner().invoke(cli, ["status", str(tmp_path / "results" / "test"), "--json"]).output)
    assert status["given_up"] == ["mobilevitv2-0.5"]


@pytest.mark.slow
def test_a_candidate_whose_training_kills_the_driver_is_given_up(tmp_path, run_with_fakes):
    widths = [published(f"mobilevitv2-{width}").key for width in ("0.5", "0.75", "1.0")]
    first = []

    def kills(key, seed, part):
        if key not in widths and not first:
            first.append(key)
        return key in first

    proxy = Deadly(kills)
    done = run_on(run_with_fakes, proxy)
    assert proxy.deaths == 3
    assert done.exit_code == 0, done.output
    say_so(tmp_path, done, ["Trial ", f"({first[0]}) was stopped 3 times"])
    study = open_study(tmp_path / "results" / "test")
    assert [t.tries for t in study.trials() if t.arch.key == first[0]] == [1, 2, 3]
    assert sum(t.is_trained_candidate for t in study.trials()) == 4


@pytest.mark.slow
def test_a_random_architecture_whose_training_kills_the_driver_is_given_up(tmp_path, run_with_fakes):
    first = []
    proxy = Deadly(lambda key, *_: key in first)
    assert run_on(run_with_fakes, proxy, "--control", "1").exit_code == 0
    (drawn,) = [t for t in open_study(tmp_path / "results" / "test").controls() if isinstance(t.outcome, Finished)]
    again = tmp_path / "again"
    first.append(drawn.arch.key)
    done = run_on(run_with_fakes, proxy, "--control", "1", "--results", str(again))
    assert done.exit_code == 0, done.output
    assert proxy.deaths == 3
    assert f"({drawn.arch.key}) was stopped 3 times" in done.output
    controls = open_study(again / "test").controls()
    assert [t.is_given_up for t in controls if t.arch.key == drawn.arch.key] == [True]
    assert isinstance(controls[-1].outcome, Finished)


@pytest.mark.slow
def test_a_confirmation_that_kills_the_driver_is_given_up(tmp_path, run_with_fakes):
    deadly = published("mobilevitv2-0.75").key
    proxy = Deadly(lambda key, seed, _: (key, seed) == (deadly, 1001))
    done = run_on(run_with_fakes, proxy, *ONE)
    assert proxy.deaths == 3
    assert done.exit_code == 0, done.output
    say_so(tmp_path, run_with_fakes("--trials", "2"), ["confirmation of mobilevitv2-0.75 with seed 1001"])
    scores = open_study(tmp_path / "results" / "test").scores()
    assert [s.is_given_up for s in scores if (s.subject, s.seed) == (deadly, 1001)] == [True]


@pytest.mark.slow
def test_a_confirmation_that_fails_is_tried_again_twice(tmp_path, run_with_fakes):
    deadly = published("mobilevitv2-0.75").key
    proxy = Deadly(lambda key, seed, _: (key, seed) == (deadly, 1001), error=TrainingError)
    for trials in ("1", "2", "3", "4", "5"):
        assert run_with_fakes("--trials", trials, proxy=proxy).exit_code == 0
    assert proxy.deaths == 3


@pytest.mark.slow
def test_a_network_whose_timing_before_a_choice_kills_the_driver_is_given_up(tmp_path, run_with_fakes):
    """The trial that it is to be chosen for has no settings yet, so nothing but the timing tells of it."""
    assert run_with_fakes("--trials", "14", device=scattered_device()).exit_code == 0
    study = open_study(tmp_path / "results" / "test")
    chosen = {t.arch.key for t in study.trials()}
    probed = [probe.arch.key for probes in study.probes().values() for probe in probes]
    deadly = next(key for key in probed if key not in chosen)
    device, deaths = device_that_raises(Killed(), deadly)
    again = ("--trials", "14", "--results", str(tmp_path / "again"))
    for _ in range(6):
        try:
            done = run_with_fakes(*again, device=device)
            break
        except Killed:
            pass
    assert done.exit_code == 0, done.output
    assert len(deaths) == 3
    assert f"The timing of {deadly}" in done.output
    assert f"The timing of {deadly}" in (tmp_path / "again" / "test" / "report.html").read_text()


@pytest.mark.slow
def test_a_network_that_gives_the_budget_and_kills_the_driver_is_given_up(tmp_path, run_with_fakes):
    device, deaths = device_that_raises(Killed(), published("mobilevitv2-0.75").key)
    for _ in range(3):
        with pytest.raises(Killed):
            run_with_fakes(device=device)
    done = run_with_fakes(device=device)
    assert (done.exit_code, len(deaths)) == (4, 3)
    assert "mobilevitv2-0.75, has no latency here: the search was stopped each time" in done.stderr
    assert "give a new --study and its --latency-budget as a time" in done.stderr
    advised = ("--study", "new", "--latency-budget", "12ms")
    assert run_with_fakes(*ONE, *advised, device=scattered_device()).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("error", [BackendUnavailable("unplugged"), StorageError("disk"), Terminated()])
def test_what_is_no_kill_does_not_count_as_one_while_the_budget_is_timed(run_with_fakes, error):
    device, raised = device_that_raises(error, published("mobilevitv2-0.75").key)
    for _ in range(3):
        assert run_with_fakes(device=device).exit_code in (4, 143)
    assert len(raised) == 3
    assert run_with_fakes(*ONE, device=scattered_device()).exit_code == 0


@pytest.mark.slow
def test_two_kills_are_no_reason_to_give_up(tmp_path, run_with_fakes):
    deadly = published("mobilevitv2-0.75").key
    proxy = Deadly(lambda key, *_: key == deadly and proxy.deaths < 2)
    done = run_on(run_with_fakes, proxy, *ONE)
    assert done.exit_code == 0
    told = CliRunner().invoke(cli, ["status", str(tmp_path / "results" / "test")]).output
    assert "tried" not in told
    study = open_study(tmp_path / "results" / "test")
    found = [t for t in study.trials() if t.published == "mobilevitv2-0.75"]
    assert [type(t.outcome) for t in found] == [Failed, Failed, Finished]


@pytest.mark.slow
@pytest.mark.parametrize("space", ["blocks", "five"])
def test_a_width_that_failed_is_tried_again_after_the_end(tmp_path, run_with_fakes, space):
    (tmp_path / "five.yaml").write_text(FIVE)
    space = str(tmp_path / "five.yaml") if space == "five" else space
    deadly = published("mobilevitv2-0.75").key
    proxy = Deadly(lambda key, *_: key == deadly and proxy.deaths < 1, error=TrainingError)
    assert run_with_fakes(*ONE, "--space", space, proxy=proxy).exit_code == 0
    assert run_with_fakes(*ONE, "--space", space, proxy=proxy).exit_code == 0
    assert deadly in {s.subject for s in open_study(tmp_path / "results" / "test").scores()}
    trained = len(proxy.trained)
    assert run_with_fakes(*ONE, "--space", space, proxy=proxy).exit_code == 0
    assert len(proxy.trained) == trained


@pytest.mark.slow
def test_a_width_that_was_killed_and_then_fails_is_tried_once_at_a_start(run_with_fakes):
    def kills(key, *_):
        return key == published("mobilevitv2-0.5").key

    with pytest.raises(Killed):
        run_with_fakes(*ONE, proxy=Deadly(kills))
    proxy = Deadly(kills, error=TrainingError)
    done = run_with_fakes(*ONE, proxy=proxy)
    assert done.exit_code == 0, done.output
    assert proxy.deaths == 1


@pytest.mark.slow
def test_a_confirmation_that_failed_is_tried_at_three_starts(tmp_path, run_with_fakes):
    proxy = Deadly(lambda key, seed, part: part == "confirmation", error=TrainingError)
    deaths = []
    for _ in range(4):
        done = run_with_fakes(*ONE, proxy=proxy)
        assert done.exit_code == 1
        deaths.append(proxy.deaths)
        assert ("tries them again" in done.output) == (len(deaths) < 3)
    assert deaths[0] * 3 == deaths[1] * 1.5 == deaths[2] == deaths[3]
