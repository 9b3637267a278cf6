"""Simulated searches whose curves are of more than one kind."""

import numpy as np
import pytest
import stopping_kinds as kinds


def draft(seed=0, count=400, epochs=5):
    return kinds.Draft(np.random.default_rng(seed), count, epochs)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_curves_end_where_they_are_to_end(kind):
    made = draft()
    kinds.KINDS[kind](made)
    curves_NE = made.candidates(noise=1.0).curves_NE
    assert curves_NE[:, -1] == pytest.approx(made.last_N)
    assert (curves_NE[:, 0] < curves_NE[:, -1] - 10).all()


@pytest.mark.parametrize(("kind", "share"), [("late bloomers", 1 / 8), ("late jumps", 0.1)])
def test_some_by_no_sign_are_lower_on_the_way(kind, share):
    made, plain = draft(), draft()
    kinds.KINDS[kind](made)
    lower_N = (made.missing_NE > plain.missing_NE + 1e-9).any(1)
    assert lower_N.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 400) ** 0.5)
    assert (made.missing_NE[lower_N, 0] > plain.missing_NE[lower_N, 0] + 5).all()
    assert (made.layers_N == plain.layers_N).all()


def test_the_slow_kind_is_large_and_comes_later():
    made, plain = draft(), draft()
    kinds.slow_kind(made)
    slow_N = made.layers_N > plain.layers_N
    assert not slow_N[:160].any()
    assert slow_N[160:].mean() == pytest.approx(0.6, abs=0.13)
    assert made.macs_N[slow_N] == pytest.approx(2 * plain.macs_N[slow_N])


def test_the_rule_keeps_what_the_bound_alone_loses():
    lost = {
        rule: [kinds.one_search(i, kind="slow kind comes later", count=25, rule=rule)[0] for i in range(8)]
        for rule in kinds.RULES
    }
    assert sum(map(bool, lost["before"])) >= 4
    assert sum(lost["dominance"]) == 0


def test_the_rule_saves_where_curves_are_alike():
    runs = [kinds.one_search(i, kind="alike", count=40, rule="dominance") for i in (1, 2)]
    assert all(lost == 0 and share < 0.95 for lost, _, share in runs)


def test_a_row_counts_searches_and_members():
    row = kinds.row([(0, 4, 0.5), (2, 4, 0.7), (0, 2, 0.9)])
    assert row["searches_that_lose_pct"] == pytest.approx(100 / 3)
    assert row["members_lost_pct"] == pytest.approx(20)
    assert row["epochs_pct"] == pytest.approx(70)
    assert row["interval_pct"] == pytest.approx([0.84, 90.57], abs=0.01)  # one of three, by Clopper and Pearson
