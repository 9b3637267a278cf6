"""The published widths of a search: which are timed and trained, and what happens where one cannot be."""

import json
from dataclasses import replace

import pytest

from fakes import MS_PER_GMAC, FormulaProxy, macs_device, request, search
from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published, published_name
from mvit2_search.arch.cost import network_cost
from mvit2_search.errors import MeasurementError, TrainingError
from mvit2_search.measure.devices.scripted import ScriptedDevice
from mvit2_search.records import Failed, Finished, Infeasible, Published
from mvit2_search.report.tables import summarise
from mvit2_search.store import create_study, open_study

NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]
FIVE = "name: five\nsettings:\n  width: {range: [0.5, 1.0], per_stage: true}\n  kernel_size: 5\n"

pytestmark = pytest.mark.usefixtures("images")


def refusing(*names):
    """A device that does not take these published widths; `all` is every one. Keeps what it timed."""
    refused = {published(name).key for name in (NAMES if names == ("all",) else names)}
    device = macs_device()
    device.timed = []

    class Refusing(ScriptedDevice):
        def time(self, candidate, reference, plan):
            key = json.loads(candidate.path.read_text())
            key = ArchConfig.from_json(key).key
            device.timed.append(key)
            if key in refused and not candidate.sha256.startswith(f"{key}-1000"):
                raise MeasurementError("too large for this device")
            return super().time(candidate, reference, plan)

    return Refusing(script=device.script)


class Untrainable(FormulaProxy):
    """Some published widths do not fit into memory."""

    def __init__(self, *names):
        super().__init__()
        self.keys = {published(name).key for name in names}

    def run(self, arch, dataset, *, seed, test_on):
        if arch.key in self.keys:
            self.trained.append((arch.key, seed, test_on))
            raise TrainingError("OutOfMemoryError: 40 GiB")
        yield from super().run(arch, dataset, seed=seed, test_on=test_on)


def folder(tmp_path):
    return tmp_path / "results" / "test"


def baselines(study):
    return {t.published: type(t.outcome) for t in [*study.trials(), *study.outside()] if t.published}


def candidates(study):
    return [t for t in study.trials() if t.is_trained_candidate]


@pytest.mark.parametrize(
    ("budget", "timed", "trained"),
    [
        ("mobilevitv2-0.5", 3, 2),
        ("mobilevitv2-0.75", 4, 3),
        ("mobilevitv2-1.5", 7, 6),
        ("mobilevitv2-2.0", 7, 7),
        ("3ms", 2, 1),  # below all of them
    ],
)
def test_widths_are_timed_up_to_the_second_above_the_budget_and_trained_up_to_the_first(
    tmp_path, budget, timed, trained
):
    study = search(request(tmp_path, latency_budget=budget, trials=1))
    assert list(baselines(study)) == NAMES[:timed]
    assert list(baselines(study).values()) == [Finished] * trained + [Infeasible] * (timed - trained)


def test_widths_over_the_parameters_are_above_too(tmp_path):
    study = search(request(tmp_path, latency_budget="mobilevitv2-2.0", max_params=2_000_000, trials=1))
    assert baselines(study) == {NAMES[0]: Finished, NAMES[1]: Finished, NAMES[2]: Infeasible}


@pytest.mark.slow
def test_what_is_neither_timed_nor_trained_costs_nothing_and_is_no_part_of_the_report(tmp_path, run_with_fakes):
    assert run_with_fakes("--trials", "1").exit_code == 0
    (kept,) = (tmp_path / "results" / ".latencies").iterdir()
    timed = {path.name.split("-")[0] for path in kept.glob("*-2-*.json")}
    assert [name for name in NAMES if published(name).key in timed] == NAMES[:4]
    assert NAMES[4] not in (folder(tmp_path) / "pareto.csv").read_text()


@pytest.mark.slow
def test_a_study_that_has_all_seven_goes_on(tmp_path, run_with_fakes):
    """Older versions timed them all."""
    assert run_with_fakes("--trials", "1").exit_code == 0
    study = create_study(folder(tmp_path))
    (old,) = [t for t in study.trials() if t.published == NAMES[3]]
    for name in NAMES[4:]:
        study.add_beside(replace(old, number=None, role=Published(name), arch=published(name)))
    study.close()
    done = run_with_fakes("--trials", "3")
    assert done.exit_code == 0, done.output
    assert list(baselines(open_study(folder(tmp_path)))) == NAMES
    assert len(candidates(open_study(folder(tmp_path)))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("space", ["blocks", "five"])
@pytest.mark.parametrize(
    ("too_large", "tried"),
    [
        (NAMES, NAMES[:2]),  # within the budget; none beyond it, as the smaller ones are not trained
        (NAMES[1:], NAMES[1:2]),
        (NAMES[2:], NAMES[2:3]),  # the first beyond, and not the next one instead
        (NAMES[3:], []),
    ],
)
def test_a_width_that_cannot_be_trained_is_noted_and_the_search_goes_on(
    tmp_path, run_with_fakes, space, too_large, tried
):
    path = tmp_path / "five.yaml"
    path.write_text(FIVE)
    proxy = Untrainable(*too_large)
    done = run_with_fakes("--trials", "2", "--space", str(path) if space == "five" else space, proxy=proxy)
    assert done.exit_code == 0, done.output
    study = open_study(folder(tmp_path))
    assert len(candidates(study)) == 2
    assert [key for key, _, _ in proxy.trained if key in proxy.keys] == [published(one).key for one in tried]
    for one in tried:
        assert f"{one} failed in training" in done.output
    assert NAMES[6] not in baselines(study)


@pytest.mark.slow
def test_no_width_can_be_trained_or_timed_beyond_the_budget(tmp_path, run_with_fakes):
    done = run_with_fakes("--trials", "2", device=refusing(*NAMES[2:]))
    assert done.exit_code == 0, done.output
    summary = summarise(open_study(folder(tmp_path)))
    assert summary.verdict.published.trial.published == "mobilevitv2-0.75"
    assert len(candidates(open_study(folder(tmp_path)))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("space", ["blocks", "five"])
@pytest.mark.parametrize(
    ("budget", "refused", "tried"),
    [
        ("mobilevitv2-0.75", NAMES[2:], NAMES[:4]),
        ("mobilevitv2-0.75", NAMES[3:], NAMES[:4]),
        ("mobilevitv2-1.25", NAMES[1:3], NAMES[:6]),  # within the budget: the larger ones are still needed
        ("60ms", NAMES[1:2], NAMES[:6]),
        ("60ms", NAMES[:2], NAMES[:6]),
    ],
)
def test_what_a_device_refuses_beyond_the_budget_is_tried_twice_at_most(
    tmp_path, run_with_fakes, space, budget, refused, tried
):
    (tmp_path / "five.yaml").write_text(FIVE)
    path = str(tmp_path / "five.yaml") if space == "five" else space
    done = run_with_fakes("--latency-budget", budget, "--space", path, "--trials", "1", device=refusing(*refused))
    assert done.exit_code == 0, done.output
    study = open_study(folder(tmp_path))
    assert sorted(baselines(study)) == sorted(tried)
    assert {name for name, kind in baselines(study).items() if kind is Failed} == set(tried) & set(refused)


@pytest.mark.slow
def test_a_search_without_a_single_width_goes_on_where_the_budget_is_a_time(tmp_path, run_with_fakes):
    done = run_with_fakes("--latency-budget", "20ms", "--control", "2", device=refusing("all"))
    assert done.exit_code == 0, done.output
    study = open_study(folder(tmp_path))
    assert set(baselines(study).values()) == {Failed}
    assert len(candidates(study)) == 4
    assert summarise(study).verdict.published is None
    assert "mobilevitv2-0.5 failed in measurement: too large" in done.output


@pytest.mark.slow
def test_a_search_in_which_nothing_can_be_timed_ends_with_the_cause(tmp_path, run_with_fakes):
    def script(artifact, _):
        arch = ArchConfig.from_json(json.loads(artifact.path.read_text()))
        if artifact.sha256.startswith(f"{arch.key}-1000"):  # the reference
            return MS_PER_GMAC * network_cost(arch).macs / 1e9
        raise MeasurementError("no driver for this chip")

    done = run_with_fakes("--latency-budget", "20ms", device=ScriptedDevice(script=script))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the last 5 trials all failed in measurement: no driver for this chip;")


def test_a_budget_whose_network_cannot_be_timed_is_one_line_with_the_remedy(run_with_fakes):
    done = run_with_fakes(device=refusing("mobilevitv2-0.75"))
    assert done.exit_code == 4
    assert "mobilevitv2-0.75" in done.stderr
    assert "too large for this device" in done.stderr
    assert "12ms" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_width_that_failed_is_tried_again_at_a_later_start_and_after_three_tries_no_more(
    tmp_path, run_with_fakes
):
    proxy = Untrainable("mobilevitv2-1.0")
    for trials in ("1", "2", "3", "4", "5"):
        done = run_with_fakes("--trials", trials, proxy=proxy)
        assert done.exit_code == 0, done.output
    assert len(proxy.trained) - len(set(proxy.trained)) == 2
    assert "mobilevitv2-1.0 failed 3 times" in done.output


@pytest.mark.slow
def test_a_width_that_failed_once_is_mended_at_the_next_start(tmp_path, run_with_fakes):
    assert run_with_fakes("--trials", "1", proxy=Untrainable("mobilevitv2-0.75")).exit_code == 0
    done = run_with_fakes("--trials", "2")
    assert done.exit_code == 0, done.output
    assert summarise(open_study(folder(tmp_path))).verdict.published.trial.published == "mobilevitv2-0.75"
    assert "failed in" not in done.output
