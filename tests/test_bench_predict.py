"""The benchmark of predictions on devices that are formulas, and the networks that it draws."""

import json

import pandas as pd
import predictor_bench.run as predict_bench
import pytest
from click.testing import CliRunner
from predictor import predictor
from predictor_bench.run import bench_predict
from predictor_bench.tables import held_out_rows, hits_rows, hits_table, predict_report

from formula_devices import mixed_ms, silent
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.space import draw_networks, draw_up_to, load_space


def predicted(folder, **changes):
    settings = {"space": "blocks", "measured": 30, "held_out": 12, "seed": 0} | changes
    return bench_predict("mixed", results=folder, tell=silent, **settings)


class TestPredict:
    def test_a_lawful_device_is_predicted_and_repeated(self, devices, tmp_path):
        devices.again_factor = 1.07
        bench = predicted(tmp_path)
        assert [hits.measured for hits in bench.hits] == [25, 30]
        assert bench.hits[-1].within[5].hits == 12
        assert (bench.repeats.within[5].hits, bench.repeats.within[10].hits, bench.repeats.within[10].n) == (
            0,
            10,
            10,
        )
        assert [again for _, again in devices.asked] == [False] * 42 + [True] * 10

    def test_each_step_is_fitted_to_so_many(self, devices, tmp_path, monkeypatch):
        fitted = []

        class Recorder(predict_bench.LatencyPredictor):
            def __init__(self, archs, latencies_ms, *, head):
                fitted.append(list(archs))
                super().__init__(archs, latencies_ms, head=head)

        monkeypatch.setattr(predict_bench, "LatencyPredictor", Recorder)
        predicted(tmp_path)
        drawn = draw_networks(load_space("blocks"), 30, seed=0)
        assert fitted == [drawn[:25], drawn]

    def test_the_held_out_are_not_the_measured(self, devices, tmp_path):
        bench = predicted(tmp_path)
        drawn = draw_networks(load_space("blocks"), 42, seed=0)
        assert [row.arch for row in bench.held_out] == drawn[30:]
        for row in bench.held_out:
            assert row.measurement.latency_ms == pytest.approx(mixed_ms(row.arch))

    def test_failed_and_unsettled_networks_are_left_out_and_counted(self, devices, tmp_path):
        drawn = draw_networks(load_space("blocks"), 42, seed=0)
        devices.fails.add(drawn[0].key)
        devices.flags = {drawn[1].key: ("unsettled",), drawn[40].key: ("unsettled",), drawn[2].key: ("slow",)}
        bench = predicted(tmp_path)
        assert bench.left_out == 3
        assert bench.hits[-1].measured == 28
        assert len(bench.held_out) == 11

    def test_nothing_settled(self, devices, tmp_path):
        devices.flags = {arch.key: ("unsettled",) for arch in draw_networks(load_space("blocks"), 42, seed=0)[30:]}
        with pytest.raises(MeasurementError, match="no held-out network settled"):
            predicted(tmp_path)

    @pytest.mark.parametrize("changes", [{"measured": 19}, {"held_out": 0}])
    def test_too_few_are_refused(self, devices, tmp_path, changes):
        with pytest.raises(SpecError, match="at least 20 measured networks and 1 held out"):
            predicted(tmp_path, **changes)

    def test_rows(self, devices, tmp_path):
        bench = predicted(tmp_path)
        *_, fitted, repeated = hits_rows(bench)
        assert (fitted["of"], fitted["measured"], fitted["within_5_pct_n"]) == ("predictions", 30, 12)
        assert (repeated["of"], repeated["measured"], repeated["covered_n"]) == (
            "repeated measurements",
            None,
            None,
        )
        assert hits_table(bench)[-1]["within 5 %"].startswith("10 of 10 (100 %")
        row, held = held_out_rows(bench)[0], bench.held_out[0]
        assert row["error_pct"] == pytest.approx(
            100 * (held.prediction.latency_ms / held.measurement.latency_ms - 1)
        )

    def test_files_and_command(self, devices, tmp_path, monkeypatch):
        hits, found, html = predict_report(predicted(tmp_path)).write(tmp_path)
        assert len(pd.read_csv(found)) == 12
        assert set(pd.read_csv(hits)["chip"]) == {"scripted chip"}
        assert "95 % interval" in html.read_text()
        monkeypatch.setattr("predictor.make_device", lambda name: name)
        asked = ["--device", "mixed", "--measured", "20", "--held-out", "5"]
        ran = CliRunner().invoke(predictor, [*asked, "--results", str(tmp_path)])
        assert ran.exit_code == 0, ran.output
        assert "5 of 5 (100 %" in ran.output
        ran = CliRunner().invoke(predictor, [*asked, "--results", str(tmp_path), "--json"])
        assert len(json.loads(ran.stdout)["networks"]) == 5

    @pytest.mark.slow
    def test_a_space_that_is_too_small_is_named_with_what_it_has(self, devices, tmp_path, monkeypatch):
        monkeypatch.setattr("predictor.make_device", lambda name: name)
        path = tmp_path / "small.yaml"
        path.write_text("name: small\nsettings:\n  expand_ratio: {choices: [1.0, 1.5, 2.0]}\n")
        asked = ["--device", "mixed", "--space", str(path), "--results", str(tmp_path)]
        ran = CliRunner().invoke(predictor, asked)
        assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
        assert "'small': 150 different networks asked for, only 3 found; --measured may be 20 and" in ran.stderr
        assert devices.asked == []


class TestDraw:
    def test_a_longer_draw_goes_on_after_a_shorter(self):
        space = load_space("blocks")
        assert draw_networks(space, 9, seed=4)[:5] == draw_networks(space, 5, seed=4)
        assert draw_networks(space, 5, seed=4) != draw_networks(space, 5, seed=5)

    def test_every_network_is_of_the_space_and_different(self):
        archs = draw_networks(load_space("blocks"), 60, seed=0)
        assert len({arch.key for arch in archs}) == 60
        assert {layers for arch in archs for layers in arch.attention_layers} == {0, 1, 2, 3, 4}

    def test_a_small_space_runs_out(self, tmp_path):
        path = tmp_path / "small.yaml"
        path.write_text("name: small\nsettings:\n  expand_ratio: {choices: [1.0, 2.0]}\n")
        with pytest.raises(SpecError, match="space 'small': 3 different networks asked for, only 2 found"):
            draw_networks(load_space(str(path)), 3, seed=0)
        assert len(draw_up_to(load_space(str(path)), 3, seed=0)) == 2
        assert draw_up_to(load_space("blocks"), 3, seed=0) == draw_networks(load_space("blocks"), 3, seed=0)
