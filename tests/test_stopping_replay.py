"""Replays of stopping rules on curves whose truth is known."""

import json

import numpy as np
import pytest
import stopping as replays

from mvit2_search.arch import ArchConfig
from mvit2_search.stopping.curves import Size

WIDTHS = [0.5 + i / 16 for i in range(12)]


def write_curves(folder, *, noise=0.0, bonus=0.0):
    """Twelve widths; every second is 5 points worse than it could be, the curves say so from the second epoch."""
    rng = np.random.default_rng(0)
    for i, width in enumerate(WIDTHS):
        arch = ArchConfig.mobilevitv2(width)
        for seed in range(3):
            last = 70 + i / 2 - 5 * (i % 2) + seed * bonus
            curve = [10.0, last - 10 + rng.normal(0, noise), last - 5 + rng.normal(0, noise), last]
            row = {"arch": arch.to_json(), "seed": seed, "curve_pct": curve}
            (folder / f"{arch.key}-{seed}.json").write_text(json.dumps(row))
    return folder


def test_only_architectures_with_all_seeds_are_read_and_multiply_adds_say_so(tmp_path):
    write_curves(tmp_path)
    (tmp_path / f"{ArchConfig.mobilevitv2(0.5).key}-1.json").unlink()
    trained = replays.read_trained(tmp_path)
    assert trained.pct_ASE.shape == (11, 3, 4)
    assert trained.latencies_are == "multiply-adds, not measured"


def test_measured_latencies_are_used_where_they_are(tmp_path):
    write_curves(tmp_path)
    keys = [ArchConfig.mobilevitv2(width).key for width in WIDTHS]
    found = {
        "passport": {"device": "host", "chip": "some chip"},
        "measurements": {key: {"latency_ms": 3.0 + i} for i, key in enumerate(keys)},
    }
    (tmp_path / "latencies.json").write_text(json.dumps(found))
    trained = replays.read_trained(tmp_path)
    assert sorted(trained.latency_A) == [3.0 + i for i in range(12)]
    assert trained.latencies_are == "measured in ms: host, some chip"


def test_clear_curves_save_epochs_and_cost_nothing(tmp_path):
    table = replays.table(replays.read_trained(write_curves(tmp_path)), 30, one_seed=False, salt=0)
    assert table["none"]["epochs_pct"] == table["none"]["hypervolume_kept_pct"] == 100
    assert table["none"]["own_front_pct"] == 100
    for name in ("before", "dominance", "oracle"):
        row = table[name]
        assert row["own_front_pct"] == row["true_front_pct"] == 100
        assert row["hypervolume_kept_pct"] == pytest.approx(100)
    assert table["oracle"]["epochs_pct"] < table["before"]["epochs_pct"] < 95
    assert table["halving"]["epochs_pct"] < 70


def test_wrong_stops_are_counted(tmp_path):
    """Halving stops slow networks at a first epoch that says nothing; the fronts hold six of the twelve."""
    table = replays.table(replays.read_trained(write_curves(tmp_path)), 30, one_seed=False, salt=0)
    assert table["halving"]["own_front_pct"] < 50
    assert table["halving"]["true_front_pct"] < 50
    assert table["halving"]["hypervolume_kept_pct"] < 100


def test_the_oracle_is_told_of_the_candidate_alone(tmp_path):
    trained = replays.read_trained(write_curves(tmp_path))
    fastest_first = np.argsort(trained.latency_A)
    one = replays.replay(trained, replays.Oracle(), fastest_first, np.zeros(12, int), np.ones(12))
    assert one.epochs_A[fastest_first].tolist() == [4] * 5 + [1, 4, 1, 4, 1, 4, 1]


@pytest.mark.slow
def test_the_seed_interval_is_that_of_other_seeds(tmp_path):
    trained = replays.read_trained(write_curves(tmp_path, bonus=1.0))
    mixed = replays.table(trained, 60, one_seed=False, salt=0)
    same = replays.table(trained, 60, one_seed=True, salt=0)
    assert mixed["none"]["within_seed_interval_pct"] > 85
    assert same["none"]["within_seed_interval_pct"] < 85  # all lucky or all unlucky is further out


def test_bounds_cover_what_they_say_on_curves_that_are_normal(tmp_path):
    trained = replays.read_trained(write_curves(tmp_path, noise=1.0))
    found = replays.coverage(trained)
    assert found["all others, 0.9"][0] == 0  # at chance everywhere: no bound
    assert max(found["five others, 0.99"]) <= 6  # one of the 18 curves


def test_clopper_and_pearson():
    """Newcombe 1998, table I: 0 of 20 gives 0.0000 to 0.1684, 81 of 263 gives 0.2527 to 0.3676."""
    assert replays.proportion_interval_pct(0, 20) == pytest.approx((0, 16.84), abs=0.005)
    assert replays.proportion_interval_pct(81, 263) == pytest.approx((25.27, 36.76), abs=0.005)


def test_rules_see_no_later_epochs(tmp_path):
    trained = replays.read_trained(write_curves(tmp_path))
    seen = []

    class Watching:
        def judge(self, candidate, past, *, lot):
            seen.append((len(candidate.scores), len(past)))

    replays.replay(trained, Watching(), np.arange(12), np.zeros(12, int), np.ones(12))
    assert seen == [(epoch, before) for before in range(12) for epoch in (1, 2, 3)]


def test_the_true_front_is_that_of_the_mean_over_seeds():
    """The slower network is ahead on the mean, but not with the seed of this replay: one front loses it."""
    last_AS = np.array([[70.0, 70.0, 70.0], [60.0, 80.0, 80.0]])
    trained = replays.Trained(
        keys=("a", "b"),
        pct_ASE=np.stack([last_AS - 5, last_AS], -1),
        latency_A=np.array([1.0, 2.0]),
        sizes=(Size(0, 0, 0),) * 2,
        latencies_are="made up",
    )
    one = replays.Replay(order_A=np.arange(2), seeds_A=np.zeros(2, int), epochs_A=np.array([2, 1]))
    row = replays.scored(trained, [one], np.ones(1), np.array([0.0, 9.0]))
    assert (row["own_front_pct"], row["true_front_pct"], row["epochs_pct"]) == (100, 0, 75)
