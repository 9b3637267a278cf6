"""The published network that gives the budget: one measurement serves both, so it is within by definition."""

import numpy as np
import pytest

from fakes import FormulaProxy, macs_device, request, search
from mvit2_search.arch import published
from mvit2_search.predict.estimate import make_estimate
from mvit2_search.records import Failed, Finished, Infeasible
from mvit2_search.report.tables import summarise
from mvit2_search.search.events import Listener
from mvit2_search.store import open_study

pytestmark = pytest.mark.usefixtures("images")

NAME = "mobilevitv2-0.75"
KEY = published(NAME).key


class Unrest:
    """A device whose measurements never settle, and on which the network of the budget is slower each time.

    Attributes:
        timed: artifacts, visit by visit.
    """

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.device, self.timed = macs_device(), []
        self.device.weather = lambda _, one: float(rng.lognormal(0, 0.3)) * self.slower(one)
        whole = self.device.time

        def time(candidate, reference, plan):
            if candidate is not reference:
                self.timed.append(candidate.sha256)
            return whole(candidate, reference, plan)

        self.device.time = time

    def slower(self, artifact):
        return 2 ** (self.measurements - 1) if artifact.sha256.startswith(KEY) else 1.0

    @property
    def measurements(self):
        """How often the network of the budget was measured: visits to it without another one in between."""
        mine = [sha256.startswith(KEY) for sha256 in self.timed]
        return sum(now and not before for before, now in zip([False, *mine], mine, strict=False))


def baseline(study):
    (found,) = [t for t in [*study.trials(), *study.outside()] if t.published == NAME and is_timed(t)]
    return found


def is_timed(trial):
    return not isinstance(trial.outcome, Failed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("inside", [True, False], ids=["in the space", "beside it"])
def test_it_is_measured_once_and_within_its_budget_although_it_never_settles(tmp_path, seed, inside):
    path = tmp_path / "five.yaml"
    path.write_text("name: five\nsettings:\n  width: {range: [0.5, 1.0], per_stage: true}\n  kernel_size: 5\n")
    unrest = Unrest(seed)
    changes = {} if inside else {"space": str(path)}
    study = search(request(tmp_path, trials=1, **changes), device=unrest.device)
    trial = baseline(study)
    assert (trial.number is not None) == inside
    assert "unsettled" in trial.latency.flags
    assert trial.latency.latency_ms == study.limits.latency_ms
    assert study.limits.allow_trial(trial)
    assert isinstance(trial.outcome, Finished)
    assert unrest.measurements == 1
    assert summarise(study).verdict.published.trial.published == NAME


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["the study is opened", "it is trained"])
def test_a_resumed_search_has_the_one_measurement_too(tmp_path, moment):
    unrest, proxy = Unrest(), FormulaProxy()

    def dies(*_, **__):
        raise Killed

    class Dies(Listener):
        opened = dies if moment == "the study is opened" else Listener.opened

    if moment == "it is trained":
        run = proxy.run
        proxy.run = lambda arch, *a, **k: dies() if arch.key == KEY else run(arch, *a, **k)
    with pytest.raises(Killed):
        search(request(tmp_path, trials=1), device=unrest.device, proxy=proxy, listener=Dies())
    assert unrest.measurements == 1
    kept = open_study(tmp_path / "results" / "test").device.budget_network
    study = search(request(tmp_path, trials=1), device=unrest.device)
    assert unrest.measurements == 1
    assert study.device.budget_network == kept
    assert baseline(study).latency.latency_ms == study.limits.latency_ms
    assert isinstance(baseline(study).outcome, Finished)


def test_an_estimate_gives_both_too(tmp_path):
    study = search(request(tmp_path, trials=1), device=make_estimate("iphone12"))
    assert baseline(study).latency.latency_ms == study.limits.latency_ms


def test_more_parameters_than_allowed_are_still_too_many(tmp_path):
    unrest = Unrest()
    study = search(request(tmp_path, trials=1, max_params=1_000_000), device=unrest.device)
    assert isinstance(baseline(study).outcome, Infeasible)
    assert unrest.measurements == 1


@pytest.mark.slow
def test_the_command_compares_with_the_width_that_gave_the_budget(tmp_path, run_with_fakes):
    asked = ("--latency-budget", NAME, "--trials", "2", "--image-size", "32")
    ran = run_with_fakes(*asked, device=Unrest(1).device)
    assert ran.exit_code == 0, ran.output
    assert f"over {NAME} (" in ran.output
    assert open_study(tmp_path / "results" / "test").limits.latency_ms
