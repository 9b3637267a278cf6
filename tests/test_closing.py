"""Whoever opens a study closes it, also where that fails."""

import sqlite3
from dataclasses import replace

import pytest
from click.testing import CliRunner

import mvit2_search.api as api
import mvit2_search.search.driver as driver
from fakes import request, search
from mvit2_search.api import export_architecture, read_study
from mvit2_search.arch.config import read_arch
from mvit2_search.cli import cli
from mvit2_search.errors import MVit2SearchError
from mvit2_search.report.tables import summarise
from mvit2_search.store import create_study, open_study


@pytest.fixture
def left_open(monkeypatch):
    """How many connections to a database are open, of those that were made, and how many were made."""
    made, connect = [], sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: made.append(connect(*args, **more)) or made[-1])
    return lambda: (sum(map(is_open, made)), len(made))


def is_open(connection):
    try:
        connection.cursor()
    except sqlite3.ProgrammingError:
        return False
    return True


@pytest.fixture
def study(tmp_path, images):
    asked = request(tmp_path)
    search(asked)
    return asked


@pytest.mark.slow
def test_an_open_study_is_seen(study, left_open):
    kept = create_study(study.folder)
    assert left_open()[0]
    kept.close()
    assert not left_open()[0]


@pytest.mark.slow
@pytest.mark.parametrize("use", [read_study, export_architecture])
def test_the_library_closes_what_it_opens(use, study, left_open):
    use(study.folder)
    still, made = left_open()
    assert made
    assert not still


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_commands_close_what_they_open(command, study, left_open):
    ran = CliRunner().invoke(cli, [command, str(study.folder)])
    assert ran.exit_code == 0, ran.output
    still, made = left_open()
    assert made
    assert not still


@pytest.mark.slow
def test_a_run_closes_what_it_opens(study, left_open, monkeypatch):
    monkeypatch.setattr(driver, "run_search", lambda *_: None)
    told = ["--space", study.space, "--data", study.data, "--latency-budget", study.latency_budget]
    ran = CliRunner().invoke(cli, ["run", *told, "--study", study.study, "--results", str(study.results)])
    assert ran.exit_code == 0, ran.output
    still, made = left_open()
    assert made
    assert not still


@pytest.mark.parametrize("schema", [None, 99])
def test_a_study_that_is_refused_is_closed(tmp_path, left_open, schema):
    create_study(tmp_path).close()
    with_another = create_study(tmp_path)
    with_another.set_fact("schema", schema)
    with_another.close()
    with pytest.raises(MVit2SearchError):
        open_study(tmp_path)
    assert not left_open()[0]


def test_an_exported_width_outside_of_the_space_is_called_by_its_name(tmp_path, images, monkeypatch):
    path = tmp_path / "five.yaml"
    path.write_text("name: five\nsettings:\n  width: {range: [0.6, 1.0]}\n  kernel_size: 5\n")
    study = search(request(tmp_path, space=str(path), trials=1))

    def without_candidates(study):
        summary = summarise(study)
        (width,) = [c for c in summary.confirmed if c.trial.published == "mobilevitv2-0.75"]
        return replace(summary, verdict=replace(summary.verdict, best=width, fastest=width))

    monkeypatch.setattr(api, "summarise", without_candidates)
    exported = export_architecture(study.folder)
    assert (exported.trial.number, exported.trial.published) == (None, "mobilevitv2-0.75")
    text = exported.path.read_text()
    assert "Trial" not in text
    assert f"# {exported.trial.published}, a published width outside" in text
    assert read_arch(exported.path) == exported.trial.arch
    told = CliRunner().invoke(cli, ["export", str(study.folder), "--json"])
    assert '"trial": null' in told.output
