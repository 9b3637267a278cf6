"""A check of a proxy from start to end, on stand-ins for device and trainings; where it is stopped or refused."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from conftest import write_images
from fakes import FormulaProxy, fake_exporter, macs_device, request
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError, StorageError, StudyConflict, TrainingError
from mvit2_search.records import Recipe
from mvit2_search.records.certificate import Band
from mvit2_search.search.certify import CheckRequest, run_check
from mvit2_search.search.events import Listener
from mvit2_search.space import load_space
from mvit2_search.store.certificates import all_checks, certificate_path, read_check, write_check
from mvit2_search.system.signals import Interrupt

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick_synflow(monkeypatch):
    monkeypatch.setattr(
        "mvit2_search.search.band.synflow", lambda arch, head: float(network_cost(arch, head).params)
    )


@pytest.fixture
def asked(tmp_path):
    write_images(tmp_path / "images", {"blue": 20, "red": 20})
    return CheckRequest(search=request(tmp_path, study="trusted"), networks=9)


class Truth(FormulaProxy):
    """Scores of other seeds than the proxy's, with settings of its own."""

    def settings(self):
        return {"proxy": "formula", "epochs": 20}


def checked(asked, *, proxy=None, truth=None, listener=None, interrupt=None, device=None):
    return run_check(
        asked,
        listener or Listener(),
        interrupt or Interrupt(),
        source=device or macs_device(),
        proxy=proxy or FormulaProxy(),
        truth=truth or Truth(),
        exporter=fake_exporter,
    )


def test_a_check_has_its_networks_scores_and_seeds(asked):
    proxy, truth = FormulaProxy(), Truth()
    check = checked(asked, proxy=proxy, truth=truth)
    assert check.is_complete
    assert len(check.networks) == 9
    budget = next(one.latency.latency_ms for one in check.networks if one.published == "mobilevitv2-0.75")
    assert all(0.5 * budget <= one.latency.latency_ms <= budget for one in check.networks)
    keys = [one.arch.key for one in check.networks]
    assert len(set(keys)) == 9
    assert proxy.trained == [(key, 0, "selection") for key in keys]
    assert truth.trained == [(key, seed, "confirmation") for seed in (1000, 1001) for key in keys]
    assert set(check.proxy_pct) == set(keys)
    for one in check.networks:
        cost = network_cost(one.arch, ClassifierHead(2))
        assert (one.params, one.macs) == (cost.params, cost.macs)
        assert one.settings is None or load_space("blocks").decode(one.settings) == one.arch


def test_it_is_read_back_as_it_was_written(asked):
    check = checked(asked)
    assert read_check(asked.search.folder) == check
    assert [found for _, found in all_checks(asked.search.results, pytest.fail)] == [check]


def test_nothing_is_trained_twice(asked):
    first = checked(asked)
    proxy, truth = FormulaProxy(), Truth()
    assert checked(asked, proxy=proxy, truth=truth) == first
    assert proxy.trained == truth.trained == []


def test_more_seeds_are_added_to_a_finished_check(asked):
    first, truth = checked(asked), Truth()
    check = checked(replace(asked, truth_seeds=3), truth=truth)
    assert {seed for _, seed, _ in truth.trained} == {1002}
    assert check.networks == first.networks
    assert Counter(one.seed for one in check.truth) == {1000: 9, 1001: 9, 1002: 9}


class StopAfter(Listener):
    def __init__(self, count, interrupt):
        self.left, self.interrupt = count, interrupt

    def told(self, text):
        if not text.startswith("drawn"):
            self.left -= 1
            self.interrupt.requested = self.left <= 0


@pytest.mark.parametrize("count", [1, 9, 11])
def test_a_check_that_was_stopped_goes_on_to_the_same_end(asked, tmp_path, count):
    whole = checked(replace(asked, search=replace(asked.search, study="whole")))
    interrupt = Interrupt()
    part = checked(asked, listener=StopAfter(count, interrupt), interrupt=interrupt)
    assert not part.is_complete
    assert len(part.proxy) + len(part.truth) == count
    assert part.truth == () or len(part.proxy) == 9, "the proxy is whole before the truth begins"
    assert checked(asked) == replace(whole, device=part.device)


def test_a_killed_check_keeps_its_networks(asked):
    class Killed(BaseException):
        pass

    class Dies(FormulaProxy):
        def run(self, *arguments, **options):
            raise Killed

    with pytest.raises(Killed):
        checked(asked, proxy=Dies())
    kept = read_check(asked.search.folder)
    assert len(kept.networks) == 9
    assert kept.proxy == ()
    assert checked(asked).networks == kept.networks


def test_a_training_that_fails_three_times_leaves_its_network_out(asked):
    class Diverges(FormulaProxy):
        def run(self, arch, dataset, *, seed, test_on):
            self.trained.append((arch.key, seed, test_on))
            if arch == ArchConfig.mobilevitv2(0.75):
                raise TrainingError("the loss is not finite in epoch 1")
            yield from super().run(arch, dataset, seed=seed, test_on=test_on)

    proxy, truth = Diverges(), Truth()
    check = checked(asked, proxy=proxy, truth=truth)
    (failed,) = [one for one in check.proxy if one.score is None]
    assert (failed.tries, failed.failure) == (3, "the loss is not finite in epoch 1")
    assert check.failures == {"mobilevitv2-0.75": "the loss is not finite in epoch 1"}
    assert check.is_complete
    assert len(truth.trained) == 2 * 8
    again = Diverges()
    assert checked(asked, proxy=again) == check
    assert again.trained == []


def test_a_truth_has_to_be_longer_than_the_proxy(asked):
    with pytest.raises(SpecError, match="`truth_epochs`"):
        replace(asked, truth=replace(asked.search.recipe, epochs=3))
    replace(asked, truth=replace(asked.search.recipe, epochs=4))


def test_a_check_goes_on_elsewhere_but_not_on_a_device_of_another_name(asked):
    check = checked(asked)
    assert checked(asked, device=macs_device("another chip")) == check
    with pytest.raises(StudyConflict, match="device: was"):
        checked(replace(asked, search=replace(asked.search, device="executorch")))


def test_fewer_seeds_than_are_there_change_nothing_and_are_told(asked):
    whole, notes = checked(replace(asked, truth_seeds=3)), []

    class Notes(Listener):
        def note(self, text):
            notes.append(text)

    assert checked(asked, listener=Notes()) == whole
    assert any("3 longer trainings" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"band": Band(low=0.6)}, "band.low: was 0.5, now 0.6"),
        ({"networks": 10}, "networks: was 9, now 10"),
    ],
)
def test_other_inputs_are_refused(asked, change, said):
    checked(asked)
    with pytest.raises(StudyConflict, match=said):
        checked(replace(asked, **change))


def test_other_searches_are_refused(asked):
    checked(asked)
    for change, said in (({"seed": 1}, "seed: was 0, now 1"), ({"latency_budget": "9ms"}, "latency_budget")):
        with pytest.raises(StudyConflict, match=said):
            checked(replace(asked, search=replace(asked.search, **change)))


def test_another_version_of_torch_is_refused(asked):
    check = checked(asked)
    write_check(asked.search.folder, replace(check, versions={**check.versions, "torch": "1.0"}))
    with pytest.raises(StudyConflict, match=r"versions.torch: was 1\.0"):
        checked(asked)


@pytest.mark.parametrize("damage", ["cut", "changed", "no digest", "no JSON"])
def test_a_damaged_file_is_refused_with_its_name(asked, damage):
    checked(asked)
    path = certificate_path(asked.search.folder)
    text = path.read_text()
    if damage == "cut":
        path.write_text(text[:-100])
    elif damage == "changed":
        row = json.loads(text)
        row["check"]["proxy"][0]["score"] += 1
        path.write_text(json.dumps(row))
    elif damage == "no digest":
        path.write_text(json.dumps({"check": json.loads(text)["check"]}))
    else:
        path.write_text("[]")
    with pytest.raises(StorageError, match=r"certificate\.json"):
        checked(asked)
    said = []
    assert list(all_checks(asked.search.results, said.append)) == []
    assert "certificate.json" in said[0]


def test_a_band_without_networks_says_so(asked):
    with pytest.raises(SpecError, match=r"only \d networks of space .* `band`"):
        checked(replace(asked, band=Band(low=0.001, high=0.002)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"networks": 8}, "`networks` 8: expected at least 9"),
        ({"truth_seeds": 1}, "`truth_seeds` 1: expected at least 2"),
        ({"truth": Recipe(epochs=30, test_crop=0.9)}, "test_crop"),
    ],
)
def test_settings_out_of_range_are_refused(asked, change, said):
    with pytest.raises(SpecError, match=said):
        replace(asked, **change)


def test_a_band_is_two_shares():
    for low, high in ((1.0, 0.5), (-0.1, 1.0), (0.5, 0.5)):
        with pytest.raises(SpecError, match="`band`"):
            Band(low=low, high=high)


def test_the_truth_is_ten_times_as_long_unless_it_is_told(asked):
    recipe = asked.search.recipe
    assert asked.longer == replace(recipe, epochs=10 * recipe.epochs)
    assert replace(asked, truth=Recipe(epochs=7)).longer.epochs == 7
