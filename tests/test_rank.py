"""Rank correlations with a known truth, and the benchmark of orders on devices that are formulas."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import kendalltau, linregress, spearmanr

from fakes import measurement
from formula_devices import elements_ms, macs_ms, mixed_ms, silent
from mvit2_search.analysis.correlation import agreeing_share, rank_correlation, residuals, share_interval
from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.errors import SpecError
from mvit2_search.measure.rank import Pair, bench_rank, compare, differ_in_width_alone
from mvit2_search.records import AboutMixer, AboutNetwork, Kept
from mvit2_search.report.bench_files import rank_report
from mvit2_search.report.bench_tables import correlation_rows, pair_rows, phones_table, rank_tables
from mvit2_search.space import draw_networks, load_space
from mvit2_search.store.measurements import Measurements

NETWORKS = 12
PATTERNS = ("*", "/x", "**x", "[0]", "?123", "../0123")  # patterns and paths, which name no passport


class TestCorrelation:
    def test_four_networks_by_hand(self):
        found = rank_correlation([1, 2, 3, 4], [10, 30, 20, 40])  # five of six pairs agree
        assert found.kendall == pytest.approx(2 * 5 / 6 - 1)
        assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))
        assert found.p_value == pytest.approx(8 / 24)  # of 24 orders, 4 have at most one pair swapped, either way

    @pytest.mark.parametrize("n", [3, 8, 40])
    def test_it_is_scipys(self, n):
        rng = np.random.default_rng(n)
        x = rng.normal(size=n)
        y = x + rng.normal(size=n)
        found = rank_correlation(x, y)
        assert found.kendall == pytest.approx(kendalltau(x, y).statistic)
        assert found.spearman == pytest.approx(spearmanr(x, y).statistic)
        assert found.low <= found.kendall <= found.high

    def test_ties_count_half(self):
        assert agreeing_share([1, 1, 2], [1, 2, 3]) == pytest.approx(2.5 / 3)

    def test_equal_values_order_nothing(self):
        found = rank_correlation([1, 2, 3], [5, 5, 5])
        assert (found.kendall, found.p_value, found.spearman) == (0, None, None)
        assert found.low < -0.9 < 0.9 < found.high

    @pytest.mark.parametrize("pairs", [1, 5, 25])
    def test_where_all_pairs_agree_the_interval_is_the_exact_one(self, pairs):
        low, high = share_interval(1.0, pairs)
        assert low == pytest.approx(0.025 ** (1 / pairs))  # Clopper and Pearson's
        assert high == 1
        assert share_interval(0.0, pairs) == pytest.approx((0, 1 - low))

    def test_the_interval_is_where_the_chernoff_bound_is_a_fortieth(self):
        low, high = share_interval(0.8, 20)
        for p in (low, high):
            bound = (p / 0.8) ** (0.8 * 20) * ((1 - p) / 0.2) ** (0.2 * 20)
            assert bound == pytest.approx(0.025)
        assert low < 0.8 < high

    @pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
    @pytest.mark.parametrize("n", [7, 30])
    def test_it_covers_the_truth_of_normal_pairs(self, rho, n):
        truth = 2 / np.pi * np.arcsin(rho)  # Kendall's tau of the bivariate normal distribution
        rng = np.random.default_rng(0)
        inside = 0
        for _ in range(300):
            x, e = rng.normal(size=(2, n))
            low, high = share_interval(agreeing_share(x, rho * x + (1 - rho**2) ** 0.5 * e), n // 2)
            inside += 2 * low - 1 <= truth <= 2 * high - 1
        assert inside >= 285

    @pytest.mark.parametrize(("n", "pairs"), [(8, 4), (9, 4)])
    def test_networks_make_half_as_many_independent_pairs(self, n, pairs):
        found = rank_correlation(range(n), range(n))
        assert found.low == pytest.approx(2 * 0.025 ** (1 / pairs) - 1)
        assert found.high == 1

    def test_two_networks_have_no_order_to_speak_of(self):
        with pytest.raises(ValueError, match="2 networks: a rank correlation needs 3"):
            rank_correlation([1, 2], [1, 2])

    def test_residuals_are_those_of_scipys_line(self):
        rng = np.random.default_rng(2)
        x = rng.uniform(1, 9, 20)
        y = 3 * x**0.7 * rng.lognormal(0, 0.1, 20)
        line = linregress(np.log(x), np.log(y))
        assert residuals(y, x) == pytest.approx(np.log(y) - line.slope * np.log(x) - line.intercept)


class TestWidthAlone:
    def test_published_widths_differ_in_nothing_else(self):
        second = [arch for name, arch in published_networks().items() if name.startswith("mobilevitv2")]
        assert differ_in_width_alone(second)
        assert differ_in_width_alone(second[::-1])

    @pytest.mark.parametrize(
        "other",
        [
            ArchConfig.mobilevitv1("s"),
            ArchConfig.mobilevitv2(0.8, attention_layers=3),
            ArchConfig.mobilevitv2((0.6, 0.6, 0.6, 0.6, 1.6)),
            ArchConfig.mobilevitv2(0.8, inverted_residuals=2),
        ],
        ids=["version", "layers", "one stage", "depth"],
    )
    def test_others_differ_in_more(self, other):
        assert not differ_in_width_alone([ArchConfig.mobilevitv2(0.75), other, ArchConfig.mobilevitv2(1.0)])


def ranked(a, b, folder, **changes):
    settings = {"space": "blocks", "networks": NETWORKS, "seed": 0} | changes
    return bench_rank(a, b, results=folder, tell=silent, **settings)


class TestRank:
    def test_a_device_orders_as_itself(self, devices, tmp_path):
        for comparison in ranked("mixed", "mixed", tmp_path).comparisons:
            assert comparison.plain.kendall == 1
            assert comparison.plain.spearman == pytest.approx(1)
            assert comparison.beyond_macs.kendall == 1

    def test_width_alone_is_called_no_evidence(self, devices, tmp_path):
        both, second, drawn = ranked("macs", "elements", tmp_path).comparisons
        assert (len(both.pairs), len(second.pairs), len(drawn.pairs)) == (10, 7, NETWORKS)
        assert second.width_alone
        assert second.plain.kendall == 1
        assert "no evidence: they differ in width alone" in second.remark
        assert not both.width_alone
        assert not drawn.width_alone

    def test_correlations_are_those_of_the_networks(self, devices, tmp_path):
        drawn = ranked("elements", "mixed", tmp_path).comparisons[2]
        archs = draw_networks(load_space("blocks"), NETWORKS, seed=0)
        a, b, macs = ([law(arch) for arch in archs] for law in (elements_ms, mixed_ms, macs_ms))
        assert drawn.plain.kendall == pytest.approx(kendalltau(a, b).statistic)
        assert drawn.macs_alone.kendall == pytest.approx(kendalltau(macs, b).statistic)
        rest = [np.log(y) - np.polyval(np.polyfit(np.log(macs), np.log(y), 1), np.log(macs)) for y in (a, b)]
        assert drawn.beyond_macs.kendall == pytest.approx(kendalltau(*rest).statistic)

    def test_published_figures_of_a_phone(self, devices, tmp_path):
        bench = ranked("macs", "published:iphone12", tmp_path)
        both, second, drawn = bench.comparisons
        figures = {pair.network: pair.b_ms for pair in both.pairs}
        assert figures["mobilevitv2-1.0"] == 3.4  # the authors', not the later 3.8 of another source
        assert figures["mobilevitv1-s"] == 9.85
        assert (len(figures), len(second.pairs), drawn.pairs) == (7, 4, [])
        archs = published_networks()
        swapped = [
            (x, y)
            for x, y in combinations(figures, 2)
            if (figures[x] < figures[y]) != (network_cost(archs[x]).macs < network_cost(archs[y]).macs)
        ]
        assert both.plain.kendall == pytest.approx(1 - 2 * len(swapped) / 21)
        assert drawn.remark == "both have 0 of these networks; 3 are needed"

    def test_an_estimate_has_only_networks_of_its_kind(self, devices, tmp_path):
        both, second, drawn = ranked("elements", "estimate:iphone12", tmp_path, networks=40).comparisons
        assert len(both.pairs) == len(second.pairs) == 7
        assert 30 <= len(drawn.pairs) <= 40

    def test_kept_measurements_take_the_place_of_drawn_networks(self, devices, tmp_path):
        folder = tmp_path / ".latencies" / "0123456789ab-ffff"
        folder.mkdir(parents=True)
        archs = draw_networks(load_space("blocks"), 5, seed=9)
        named = [(arch, "pixel_unshuffle") for arch in archs] + [(ArchConfig.mobilevitv2(1.1), "rank5")]
        for arch, formulation in named:
            about = AboutNetwork(arch=arch, head=ClassifierHead(1000), formulation=formulation)
            one = measurement(mixed_ms(arch), artifact_sha256=arch.key)
            Measurements(folder).put(Kept(measurement=one, about=about, visits=()))
        bench = ranked("cache:0123", "macs", tmp_path)
        assert {pair.network for pair in bench.comparisons[2].pairs} == {arch.key for arch in archs}
        assert bench.a.kind == "measured"
        assert {key for key, _ in devices.asked} == {arch.key for arch in archs}

    def test_a_network_that_fails_is_left_out(self, devices, tmp_path):
        devices.fails.add(ArchConfig.mobilevitv2(1.0).key)
        assert len(ranked("macs", "mixed", tmp_path).comparisons[1].pairs) == 6

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("cache:77", "expected the passport of one device in .*: 0123-ff"),
            ("cache:", "expected the passport of one device"),
            *((f"cache:{name}", "expected the passport of one device in .*: 0123-ff") for name in PATTERNS),
            ("estimate:pixel", "expected one of iphone12"),
            ("published:nokia", "nothing is published for 'nokia'; devices are iphone12, iphone13"),
        ],
    )
    def test_unknown_sources_are_named(self, devices, tmp_path, name, words):
        (tmp_path / ".latencies" / "0123-ff").mkdir(parents=True)
        with pytest.raises(SpecError, match=words):
            ranked("macs", name, tmp_path)

    def test_where_nothing_is_kept_no_source_is(self, devices, tmp_path):
        with pytest.raises(SpecError, match=r"expected the passport of one device in .*: none"):
            ranked("macs", "cache:77", tmp_path)


class TestRemark:
    @pytest.mark.parametrize(
        ("sign", "words"),
        [(1, "agreement also beyond"), (-1, "disagreement also beyond"), (0, "no evidence of agree")],
    )
    def test_it_says_what_is_left_beyond_multiply_adds(self, sign, words):
        rng = np.random.default_rng(0)
        archs = draw_networks(load_space("blocks"), 40, seed=1)
        pairs = []
        for arch, a, noise in zip(archs, rng.normal(size=40), rng.normal(size=40), strict=True):
            macs = network_cost(arch).macs
            b = sign * a if sign else noise
            pairs.append(
                Pair(network=arch.key, arch=arch, macs=macs, a_ms=macs * np.exp(a), b_ms=macs * np.exp(b))
            )
        assert compare("drawn", pairs, predicted=False).remark.startswith(words)


class TestRankTables:
    def test_kinds_never_share_a_column(self, devices, tmp_path):
        rows = pair_rows(ranked("macs", "estimate:iphone12", tmp_path))
        assert all(row["a_measured_ms"] and row["b_predicted_ms"] for row in rows)
        assert all(row["b_measured_ms"] is None and row["a_predicted_ms"] is None for row in rows)

    def test_every_comparison_has_its_rows_and_says_what_it_is_worth(self, devices, tmp_path):
        bench = ranked("macs", "published:iphone12", tmp_path)
        rows, table = correlation_rows(bench), rank_tables(bench)[2].table
        assert [row["n"] for row in rows] == [7, 7, 7, 4, 4, 4, 0]
        assert table[3]["remark"].startswith("no evidence: they differ in width alone")
        assert table[-1]["Kendall's tau"] == ""

    def test_phones_disagree_beside(self):
        rows = phones_table()
        assert {"9.47", "Failed"} <= {row["latency ms"] for row in rows}
        assert all(row["device"] and row["source"] for row in rows)

    def test_files(self, devices, tmp_path):
        bench = ranked("macs", "estimate:iphone12", tmp_path)
        table, pairs, html = rank_report(bench).write(tmp_path)
        assert table.name == "rank-macs-estimate-iphone12.csv"
        assert list(pd.read_csv(table)["n"]) == [row["n"] for row in correlation_rows(bench)]
        assert set(pd.read_csv(pairs)["seed"]) == {0}
        text = html.read_text()
        assert "Predicted, never measured" in text
        assert "Failed" in text
        assert rank_report(bench).write(tmp_path)[2].read_text() == text

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ("cache:0123", "published:iphone12"),
            ("published:iphone12", "cache:0123"),
            ("cache:0123", "cache:0123"),
            ("macs", "cache:0123"),
        ],
    )
    def test_sources_without_a_common_network(self, devices, tmp_path, a, b):
        """What is kept there is a mixer alone, so it holds no network."""
        about = AboutMixer(mixer="linformer", tokens=64, channels=512)
        folder = Measurements(tmp_path / ".latencies" / "0123456789ab-ffff")
        folder.put(Kept(measurement=measurement(), about=about, visits=()))
        asked = ["bench", "rank", "--device", a, "--against", b, "--results", str(tmp_path)]
        ran = CliRunner().invoke(cli, asked)
        assert ran.exit_code == 0, ran.output
        assert "have no network in common" in ran.stdout
        found = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).stdout)
        assert found["networks"] == []
        assert "no network in common" in found["notes"][0]
        assert {row["n"] for row in found["correlations"]} == {0}
        table, pairs, html = found["files"]
        assert len(pd.read_csv(table)) == 3
        assert len(pd.read_csv(pairs)) == 0
        assert {"network", "macs", "a_source", "b_measured_ms", "space", "seed"} <= set(pd.read_csv(pairs))
        assert "no network in common" in Path(html).read_text()

    def test_files_have_the_same_columns_whether_there_are_networks_or_not(self, devices, tmp_path):
        (tmp_path / ".latencies" / "0123456789ab-ffff").mkdir(parents=True)
        none, some = (
            rank_report(ranked("macs", b, tmp_path)).write(tmp_path)[1] for b in ("cache:0123", "elements")
        )
        assert set(pd.read_csv(none)) == set(pd.read_csv(some)) - {"passport of elements"}

    def test_equal_latencies_are_no_error(self, devices, tmp_path):
        devices.laws["macs"] = lambda arch: 7.0
        asked = ["bench", "rank", "--device", "macs", "--against", "elements", "--networks", "5"]
        for more in ([], ["--json"]):
            ran = CliRunner().invoke(cli, [*asked, "--results", str(tmp_path), *more])
            assert ran.exit_code == 0, ran.output
        assert {row["spearman"] for row in json.loads(ran.stdout)["correlations"] if row["a"] == "macs"} == {None}

    def test_a_small_space_gives_what_it_has_and_says_so(self, devices, tmp_path):
        path = tmp_path / "small.yaml"
        path.write_text("name: small\nsettings:\n  expand_ratio: {choices: [1.0, 2.0]}\n")
        asked = ["bench", "rank", "--device", "macs", "--against", "elements", "--space", str(path)]
        ran = CliRunner().invoke(cli, [*asked, "--networks", "50", "--results", str(tmp_path)])
        assert ran.exit_code == 0, ran.output
        assert "has 2 networks; 50 were asked for" in ran.stdout
        ran = CliRunner().invoke(cli, [*asked, "--networks", "2", "--json", "--results", str(tmp_path)])
        assert json.loads(ran.stdout)["notes"] == []

    def test_command(self, devices, tmp_path):
        asked = ["bench", "rank", "--device", "macs", "--against", "elements", "--networks", "8"]
        ran = CliRunner().invoke(cli, [*asked, "--results", str(tmp_path)])
        assert ran.exit_code == 0, ran.output
        assert "they differ in width alone" in ran.output
        assert "9.47" in ran.output
        ran = CliRunner().invoke(cli, [*asked, "--results", str(tmp_path), "--json"])
        found = json.loads(ran.stdout)
        assert {row["networks"] for row in found["correlations"]} == {
            row["networks"] for row in found["networks"]
        } | {"published, MobileViTv2 only"}
        assert len(found["files"]) == 3
