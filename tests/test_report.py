"""What a study says of itself: rows, sentences, figures, one offline file."""

import io
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from fakes import finished, measurement, request, search, trial
from mvit2_search.analysis.confirmation import Confirmed
from mvit2_search.analysis.paired import sampling_error_pct
from mvit2_search.analysis.verdict import Verdict
from mvit2_search.api import export_architecture, read_study, refresh
from mvit2_search.arch import ArchConfig, published
from mvit2_search.arch.config import read_arch
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli.read import _status_json
from mvit2_search.errors import SpecError
from mvit2_search.records import Failed, Infeasible, Published
from mvit2_search.report.figures import confirmation_figure, curves_figure, front_figure
from mvit2_search.report.html import report_html
from mvit2_search.report.tables import trials_frame
from mvit2_search.store import create_study, open_study
from summaries import BEST, TRIALS, WIDTH, inputs, summary


def test_every_trial_is_one_row():
    frame = pd.read_csv(io.StringIO(trials_frame(summary()).to_csv(index=False)))
    assert frame.trial.tolist() == list(range(8))
    assert frame.outcome.tolist() == ["finished"] * 2 + ["infeasible"] + ["finished"] * 2 + [
        "failed",
        "finished",
        "failed",
    ]
    assert frame.on_front.tolist()[:7] == [True, False, False, True, False, False, False]
    assert frame.within_budget.tolist()[:5] == [True, True, False, True, True]
    row = frame.iloc[3]
    assert (row.accuracy_pct, row.latency_ms, row.params, row.confirmed_pct, row.confirmed_seeds) == (
        76,
        15,
        10**6,
        76.5,
        2,
    )
    assert ArchConfig.from_json(json.loads(row.architecture)) == TRIALS[3].arch
    assert frame.message[5] == TRIALS[5].outcome.message
    assert frame["flags"][2] == "unsettled"
    assert frame.reason[7] == "interrupted"


@pytest.mark.slow
def test_the_front_of_the_csv_can_be_recomputed(tmp_path, images):
    """By the definition, from nothing but the file."""
    study = search(request(tmp_path, trials=8))
    refresh(study)
    frame = pd.read_csv(study.folder / "pareto.csv")
    rows = frame[(frame.outcome == "finished") & (frame.within_budget == True)]  # noqa: E712

    def dominated(row):
        better = (rows.accuracy_pct >= row.accuracy_pct) & (rows.latency_ms <= row.latency_ms)
        strictly = (rows.accuracy_pct > row.accuracy_pct) | (rows.latency_ms < row.latency_ms)
        return (better & strictly).any()

    expected = {row.trial for row in rows.itertuples() if not dominated(row)}
    assert set(frame[frame.on_front].trial) == expected
    assert len(expected) > 1


@pytest.mark.slow
def test_widths_outside_of_the_space_are_on_the_front_if_nothing_dominates_them(tmp_path, images):
    path = tmp_path / "five.yaml"
    path.write_text("name: five\nsettings:\n  width: {range: [0.6, 1.0]}\n  kernel_size: 5\n")
    study = search(request(tmp_path, space=str(path)))
    frame = trials_frame(read_study(study.folder))
    (width,) = frame[frame.trial.isna() & (frame.published == "mobilevitv2-0.5")].itertuples()
    assert width.on_front


def test_the_figure_shows_the_tables_and_nothing_else():
    figure = front_figure(summary())
    shown = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert shown == {
        "candidates": ([25, 18], [80, 74]),
        "published widths": ([10, 20], [70, 75]),
        "front under the budget": ([10, 15], [70, 76]),
    }
    front = figure.data[2]
    assert front.line.shape == "hv"
    assert list(front.error_x.array) == pytest.approx([0.1, 0.15])
    assert front.error_y.array[1] == pytest.approx(sampling_error_pct(76, 5000))
    assert "attention layers (2, 4, 3)" in front.text[0]
    assert figure.data[1].mode == "lines+markers"
    assert figure.layout.shapes[0].x0 == 20.0
    assert [trace.name for trace in confirmation_figure(summary()).data] == ["one seed", "mean"]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_the_report_is_one_offline_file_without_what_the_data_says():
    html = report_html(summary())
    parser = Tags()
    parser.feed(html)
    assert parser.links == []
    assert "b" not in parser.tags
    assert parser.tags.count("script") == 5  # Plotly and four figures
    assert "default-src 'none'" in html
    assert "a test&#x27;s device" in html
    assert len(html) < 10_000_000


def test_the_report_can_reach_no_address():
    """Plotly's own text names many; what it may use of them is decided by the configuration and the policy."""
    html = report_html(summary())
    assert re.findall(r"https?:|wss?:|[\"'(=]//", html.replace(get_plotlyjs(), "")) == []
    (shared,) = re.findall(r"Plotly\.setPlotConfig\((.*?)\)</script>", html)
    assert json.loads(shared) == {
        "displaylogo": False,
        "showSendToCloud": False,
        "plotlyServerURL": "",
        "topojsonURL": "",
    }
    own = re.findall(r"Plotly\.newPlot\(.*?(\{[^{}]*\})\s*\)", html.replace(get_plotlyjs(), ""), re.DOTALL)
    assert [json.loads(config).keys() & json.loads(shared).keys() for config in own] == [set()] * 4
    policy = dict(part.split(maxsplit=1) for part in re.search(r'Policy" content="(.*?)"', html)[1].split("; "))
    assert [policy[name] for name in ("default-src", "form-action", "base-uri")] == ["'none'"] * 3
    allowed = {source for sources in policy.values() for source in sources.split()}
    assert allowed == {"'none'", "'unsafe-inline'", "data:", "blob:"}


@pytest.mark.slow
def test_a_study_of_ten_thousand_trials_fits_in_ten_megabytes():
    many = [trial(i, finished(60 + i % 200 / 10, 10 + i % 97 / 10), arch=TRIALS[0].arch) for i in range(10_000)]
    html = report_html(summary(trials=many, front=many[:50]))
    assert len(html) < 10_000_000
    assert "1,000 of 10,001 trials" in html


LARGE = [
    *(trial(i, finished(40 + i / 10, 1 + i), arch=TRIALS[0].arch) for i in range(22)),  # the front
    trial(22, finished(30, 5), role=Published("mobilevitv2-0.5")),
    trial(23, Infeasible(latencies={"host": measurement(60)}), role=Published("mobilevitv2-1.5")),
    trial(24, finished(41, 30), arch=TRIALS[3].arch),  # confirmed
    *(trial(i, finished(50 + i / 1000, 40), arch=TRIALS[0].arch) for i in range(25, 2025)),
]
LARGE_OUTSIDE = [trial(None, finished(20, 5), role=Published("mobilevitv2-2.0"), arch=TRIALS[0].arch)]


def rows_of(html):
    """The cells of the table of trials."""
    table = html[html.index("<h2>Trials") : html.index("<h2>Inputs")]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    return [cells for cells in rows if cells]  # the head has none


@pytest.mark.slow
def test_a_large_table_keeps_the_front_the_published_widths_and_what_is_confirmed():
    whole = summary(trials=LARGE, outside=LARGE_OUTSIDE, front=LARGE[:22], lost=[3000])
    rows = rows_of(report_html(whole))
    assert len(rows) == 1000
    shown = {row[0] for row in rows}
    assert shown >= {str(i) for i in range(25)}
    assert {row[2] for row in rows} >= {"mobilevitv2-0.5", "mobilevitv2-1.5", "mobilevitv2-2.0"}
    assert "2024" in shown  # then the most accurate
    assert "25" not in shown
    assert [row[2] for row in rows if not row[0]] == ["mobilevitv2-2.0"]  # which is no trial


def test_curves_of_a_large_study_keep_the_front():
    figure = curves_figure(summary(trials=LARGE, outside=LARGE_OUTSIDE, front=LARGE[:22]))
    ends = {trace.name: sum(size > 0 for size in trace.marker.size) for trace in figure.data}
    assert ends["front under the budget"] == 22
    assert ends["published widths"] == 2
    assert ends["candidates"] == 1000


@pytest.mark.parametrize("confirmed", [[], [BEST, WIDTH]])
@pytest.mark.parametrize("trials", [TRIALS, TRIALS[3:4], TRIALS[5:6], []])
@pytest.mark.parametrize("lost", [[], [7]])
def test_what_is_not_known_is_an_empty_cell(confirmed, trials, lost):
    unset = inputs(max_params=None)
    html = report_html(
        summary(trials=trials, front=[], confirmed=confirmed, verdict=None, lost=lost, inputs=unset)
    )
    cells = re.findall(r"<td>(.*?)</td>", html, re.DOTALL)
    assert not {"None", "nan", "NaN", "&lt;NA&gt;", "NaT"} & set(cells)
    assert len(rows_of(html)) == len(trials) + len(lost)


def test_the_same_records_give_the_same_bytes():
    assert report_html(summary()) == report_html(summary())


def test_a_report_can_be_made_before_anything_is_finished():
    empty = summary(trials=[], front=[], confirmed=[], verdict=None, ended=None, lost=[])
    html = report_html(empty)
    assert "Nothing has been confirmed yet." in html
    assert len(trials_frame(empty)) == 0


@pytest.fixture
def study(tmp_path, images):
    return search(request(tmp_path)).folder


@pytest.mark.slow
def test_the_exported_yaml_is_the_best_with_the_stated_parameters(study):
    from mvit2_search.models import build_model

    exported = export_architecture(study)
    assert exported.trial == read_study(study).verdict.best.trial
    arch = read_arch(exported.path)
    assert arch == exported.trial.arch
    text = exported.path.read_text()
    for classes in (2, 1000):
        params = sum(p.numel() for p in build_model(arch, ClassifierHead(classes)).parameters())
        assert f"{params:,}" in text


def test_any_trial_can_be_exported_and_another_is_an_error(study):
    assert export_architecture(study, 0).trial.published == "mobilevitv2-0.5"
    with pytest.raises(SpecError, match="has no trial 99; the last is"):
        export_architecture(study, 99)


def test_a_study_without_a_verdict_says_how_to_export_all_the_same(tmp_path, images):
    study = search(request(tmp_path, latency_budget="0.5ms"))
    with pytest.raises(SpecError, match="name one with `trial`"):
        export_architecture(study.folder)


def test_a_study_that_has_only_begun_has_nothing_to_read(tmp_path):
    (tmp_path / "new").mkdir()
    create_study(tmp_path / "new")
    with pytest.raises(SpecError, match="only just begun"):
        read_study(tmp_path / "new")


@pytest.mark.slow
def test_refreshing_writes_every_input(study):
    import yaml

    refresh(open_study(study))
    told = yaml.safe_load((study / "study.yaml").read_text())
    assert told["inputs"]["data"]["classes"] == ["blue", "red"]
    assert told["devices"]["host"]["passport"]["device"] == "a script, not a device"
    assert told["devices"]["host"]["budget_ms"] == open_study(study).limits.latency_ms
    assert {"torch", "optuna", "onnxruntime"} <= told["versions"].keys()


def test_a_width_outside_of_the_space_has_a_name_and_no_number_in_the_status():
    wide = trial(None, finished(70, 9), role=Published("mobilevitv2-0.5"), arch=published("mobilevitv2-0.5"))
    one = Confirmed(trial=wide, scores={1000: 71.0, 1001: 72.0})
    verdict = Verdict(best=one, searched=BEST, fastest=one, published=one, gain=None)
    told = _status_json(summary(outside=[wide], front=[wide, TRIALS[3]], confirmed=[one, BEST], verdict=verdict))
    assert told["front"] == ["mobilevitv2-0.5", 3]
    assert [told[name]["trial"] for name in ("best", "export", "published", "fastest")] == [None] * 4
    assert told["best"]["published"] == "mobilevitv2-0.5"
    assert told["searched"]["trial"] == BEST.trial.number


def test_of_a_width_that_failed_and_then_succeeded_the_success_alone_is_on_the_front():
    role = Published("mobilevitv2-0.5")
    failed = trial(None, Failed(reason="training", message="lost"), role=role)
    done = trial(None, finished(70, 9), role=role)
    rows = trials_frame(summary(trials=[], outside=[failed, done], front=[done], lost=[]))
    assert rows.set_index("outcome").on_front.to_dict() == {"failed": False, "finished": True}
