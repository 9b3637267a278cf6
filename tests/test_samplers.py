"""What the search tells its sampler: latencies before they are measured, and where stopped trainings would end."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fakes import finished, macs_device, measurement, request, scattered_device, search
from fakes import trial as trial_of
from mvit2_search.arch import ArchConfig, published
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.predict.guess import LatencyGuesses, Network, PowerLaw, fitted_count
from mvit2_search.records import Stopped
from mvit2_search.sampler.optuna import Networks
from mvit2_search.search.proposals import Samplers, ends_pct
from mvit2_search.space import draw_networks, load_space
from mvit2_search.store.measurements import Measurements

BLOCKS = load_space("blocks")
LAW = PowerLaw([10**9], [20.0])


def network(arch):
    return Network(arch, ClassifierHead(10))


def test_a_stopped_training_would_have_gained_what_others_did():
    curves = [(60.0, 70.0, 80.0), (50.0, 66.0, 84.0)]
    trials = [
        trial_of(i, outcome=replace(finished(curve[-1], 10.0), curve=curve)) for i, curve in enumerate(curves)
    ]
    stopped = [
        Stopped(curve=(55.0, pct), latencies={"host": measurement(ms)})
        for pct, ms in ((62, 10), (75, 11), (75, 9))
    ]
    trials += [trial_of(2 + i, outcome=outcome) for i, outcome in enumerate(stopped)]
    # 10 and 18 points on average, but not more than the best that is as fast, if any is
    assert ends_pct(trials, dominated=True) == pytest.approx({0: 80, 1: 84, 2: 62 + 14, 3: 84, 4: 75 + 14})
    assert ends_pct(trials, dominated=False) == pytest.approx({0: 80, 1: 84, 2: 62 + 14, 3: 75 + 14, 4: 75 + 14})
    assert ends_pct(trials[2:3], dominated=True) == {2: 62.0}
    again = [*trials, trial_of(9, outcome=trials[0].outcome, repeats=0)]
    assert ends_pct(again, dominated=True).items() >= ends_pct(trials, dominated=True).items()


class TestLatencyGuesses:
    def test_what_is_known_is_exact_and_the_rest_follows_the_law(self):
        small, large = (network(published(f"mobilevitv2-{width}")) for width in (0.5, 1.0))
        span = LatencyGuesses([(small.arch, measurement(9.5))], ClassifierHead(10)).bounds([small, large], LAW)
        assert span.ms_M[0] == span.high_M[0] == 9.5
        assert span.ms_M[1] == pytest.approx(LAW.latency_ms(large.cost.macs))
        assert span.ms_M[1] < span.high_M[1]

    def test_from_20_networks_on_the_devices_predictor_speaks(self):
        archs = draw_networks(BLOCKS, 40, seed=1)
        known = [(arch, measurement(2 + 11 * network_cost(arch, ClassifierHead(10)).macs / 1e9)) for arch in archs]
        asked = [network(arch) for arch in draw_networks(BLOCKS, 50, seed=2)[40:]]
        truth = np.array([2 + 11 * one.cost.macs / 1e9 for one in asked])
        few, many = (LatencyGuesses(known[:count], ClassifierHead(10)).bounds(asked, LAW) for count in (19, 40))
        assert np.abs(many.ms_M / truth - 1).max() < 0.05 < np.abs(few.ms_M / truth - 1).max()

    def test_multiply_adds_are_not_counted_for_what_the_predictor_covers(self):
        known = [
            (arch, measurement(network_cost(arch, ClassifierHead(10)).macs / 1e8))
            for arch in draw_networks(BLOCKS, 25, seed=1)
        ]
        covered, other = (
            network(ArchConfig.mobilevitv2(1.0, attention=name)) for name in ("separable", "linformer")
        )
        LatencyGuesses(known, ClassifierHead(10)).bounds([covered, other], LAW)
        assert "cost" not in vars(covered)
        assert "cost" in vars(other)

    def test_an_added_latency_is_known(self):
        one = network(published("mobilevitv2-0.75"))
        guesses = LatencyGuesses([(published("mobilevitv2-0.5"), measurement(9.5))], ClassifierHead(10))
        guesses.add(one.arch, measurement(17.0))
        assert guesses.bounds([one], LAW).ms_M.tolist() == [17.0]

    def test_a_mixer_that_was_never_measured_follows_the_law(self):
        known = [
            (arch, measurement(network_cost(arch, ClassifierHead(10)).macs / 1e8))
            for arch in draw_networks(BLOCKS, 25, seed=1)
        ]
        other = network(ArchConfig.mobilevitv2(1.0, attention="linformer"))
        usual = network(published("mobilevitv2-1.0"))
        span = LatencyGuesses(known, ClassifierHead(10)).bounds([other, usual], LAW)
        assert span.ms_M[0] == pytest.approx(LAW.latency_ms(other.cost.macs))
        assert span.ms_M[1] == pytest.approx(usual.cost.macs / 1e8, rel=0.05)

    def test_a_resumed_search_predicts_alike(self):
        """Whenever the search began."""
        rng = np.random.default_rng(0)
        known = [
            (
                arch,
                measurement(20 * network_cost(arch, ClassifierHead(10)).macs / 1e9 * rng.uniform(0.9, 1.1)),
            )
            for arch in draw_networks(BLOCKS, 41, seed=1)
        ]
        asked = [network(arch) for arch in draw_networks(BLOCKS, 60, seed=2)[41:]]
        running = LatencyGuesses(known[:20], ClassifierHead(10))
        for one in known[20:]:
            running.bounds(asked, LAW)
            running.add(*one)
        resumed = LatencyGuesses(known, ClassifierHead(10))
        assert np.array_equal(running.bounds(asked, LAW).ms_M, resumed.bounds(asked, LAW).ms_M)
        assert np.array_equal(running.bounds(asked, LAW).high_M, resumed.bounds(asked, LAW).high_M)
        assert [fitted_count(n) for n in (19, 20, 21, 22, 24, 25, 41)] == [0, 20, 20, 22, 22, 25, 39]


def test_networks_are_found_by_their_settings_in_any_order():
    networks = Networks(BLOCKS, ClassifierHead(10))
    params = BLOCKS.lowest
    turned = dict(reversed(params.items()))
    assert networks.of(params) is networks.of(turned)
    assert networks.of(params).key == networks.cheapest.key


@pytest.mark.slow
def test_networks_are_measured_before_they_are_chosen_only_where_latency_is_hard_to_know(tmp_path, images):
    extra = {}
    for name, device in (("exact", macs_device()), ("scattered", scattered_device())):
        asked = request(tmp_path / name, data=str(tmp_path / "images"), trials=18)
        study = search(asked, device=device)
        proposed = [t for t in study.trials() if t.published is None]
        assert len({t.arch.key for t in proposed}) == len(proposed)
        (folder,) = (asked.results / ".latencies").iterdir()
        timed = {about.arch.key for about, _ in Measurements(folder).networks()}
        assert timed >= {t.arch.key for t in study.trials() if t.latency is not None}
        extra[name] = len(timed - {t.arch.key for t in study.trials()} - {t.arch.key for t in study.outside()})
    assert extra["exact"] == 0
    assert 3 <= extra["scattered"] <= 3 * 18


def proposed(study):
    return [t.arch.key for t in study.trials() if t.published is None]


@pytest.mark.slow
@pytest.mark.usefixtures("images")
def test_a_seed_repeats_a_search_beside_others_that_have_measured(tmp_path):
    """The predictor speaks from 20 networks on: those of another study would give it a start."""
    asked = request(tmp_path, trials=16)
    first = search(asked, device=scattered_device())
    assert first.probes()
    search(replace(asked, study="other", seed=7), device=scattered_device())
    assert proposed(search(replace(asked, study="again"), device=scattered_device())) == proposed(first)


@pytest.mark.slow
@pytest.mark.usefixtures("images")
def test_a_resumed_search_knows_the_latencies_that_it_has_asked_for(tmp_path):
    """Also those of networks that were measured and not chosen, and none of the control."""
    asked = request(tmp_path, trials=16, control=2)
    first = search(asked, device=scattered_device())
    for trials in range(4, 17, 3):
        again = replace(asked, study="again", trials=trials)
        resumed = search(again, device=scattered_device())
    assert proposed(search(replace(again, trials=16), device=scattered_device())) == proposed(first)
    assert resumed.probes().keys() == first.probes().keys()


@pytest.mark.slow
@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("space", "trials", "seed", "kills"),
    [("blocks", 12, 0, (8,)), pytest.param("attention", 20, 3, (19,), marks=pytest.mark.slow)],
)
def test_a_search_killed_before_a_trial_is_chosen_proposes_what_an_unbroken_one_does(
    tmp_path, monkeypatch, space, trials, seed, kills
):
    """What was timed for the lost trial is known from the same place on as in the unbroken search.

    A kill leaves what is on the disk: a copy of it, made while the unbroken search goes on.
    """
    asked = request(tmp_path, space=space, trials=trials, seed=seed, confirm_seeds=1)
    usual, timed = Samplers._measure, itertools.count()
    left = {kill: tmp_path / f"killed-{kill}" for kill in kills}

    def copying(self, params):
        latency_ms = usual(self, params)
        if (kill := next(timed)) in left:
            shutil.copytree(asked.results, left[kill])
        return latency_ms

    with monkeypatch.context() as patch:
        patch.setattr(Samplers, "_measure", copying)
        first = proposed(search(asked, device=scattered_device()))
    for kill, results in left.items():
        assert results.exists(), kill
        resumed = search(replace(asked, results=results), device=scattered_device())
        assert proposed(resumed) == first, kill
