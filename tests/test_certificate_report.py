"""What a check of a proxy shows: on the terminal, as JSON, on its page, and in the searches that it holds for."""

import csv
import json
import re
from dataclasses import replace
from html import unescape

import pytest

import fakes
from conftest import write_images
from fakes import FormulaProxy, fake_exporter, macs_device, measurement, request, search
from mvit2_search.analysis.checked import certificate_sentence, findings_of, truth_pct
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.records import DataInputs, StudyDevice
from mvit2_search.records.certificate import Band, Check, CheckedNetwork, CheckedScore, CheckInputs
from mvit2_search.report.certificate import (
    certificate_html,
    certificate_json,
    certificate_lines,
    network_rows,
    write_certificate_files,
)
from mvit2_search.report.html import report_html
from mvit2_search.report.tables import summarise
from mvit2_search.search.certificates import fitting_certificate
from mvit2_search.search.certify import CheckRequest, run_check
from mvit2_search.search.events import Listener
from mvit2_search.store import open_study
from mvit2_search.store.certificates import read_check, write_check
from mvit2_search.system.signals import Interrupt

SPACE = {
    "name": "mine",
    "axes": {"width": {"low": 0.5, "high": 2.0}, "attention": ["separable", "linformer"]},
    "fixed": {},
}
TRAINING = {"epochs": 3, "images_per_epoch": 1500}


@pytest.fixture
def passport():
    return macs_device().passport()


@pytest.fixture
def check(passport):
    """Twelve networks, which short and longer trainings order alike."""
    networks = [
        CheckedNetwork(
            arch=ArchConfig.mobilevitv2(0.5 + i / 20),
            latency=measurement(10.0 - i * 5 % 12 / 4),
            params=1_000_000 + i % 5,
            macs=500_000_000 + i % 7,
            synflow=float(i % 3),
            published="mobilevitv2-0.5" if i == 0 else None,
            settings={"width": 0.5 + i / 20, "attention": ("separable", "linformer")[i % 2]},
        )
        for i in range(12)
    ]
    data = DataInputs(name="d", fingerprint="f", classes=("a", "b"), train=9, selection=9, confirmation=9)
    keys = [one.arch.key for one in networks]
    return Check(
        inputs=CheckInputs(
            space=SPACE,
            data=data,
            latency_budget="mobilevitv2-0.5",
            band=Band(),
            training=TRAINING,
            truth={**TRAINING, "epochs": 30},
            truth_data="g",
            truth_train=9,
            networks=12,
            task="classification",
            formulation="rank5",
            seed=0,
        ),
        versions={"torch": "2"},
        device_name="host",
        device=StudyDevice(passport=passport, reference_ms=10.0, budget_ms=10.0),
        truth_seeds=(1000, 1001),
        networks=tuple(networks),
        proxy=tuple(CheckedScore(key=key, seed=0, score=50.0 + i) for i, key in enumerate(keys)),
        truth=tuple(
            CheckedScore(key=key, seed=seed, score=70.0 + i + seed % 2 / 10)
            for i, key in enumerate(keys)
            for seed in (1000, 1001)
        ),
    )


def test_a_perfect_order_is_said_to_rank(check):
    found = findings_of(check)
    assert (found.verdict, found.tau.value, found.networks) == ("ranks", 1.0, 12)
    assert abs(found.baselines["latency"].value) < 0.5
    lines = certificate_lines(check)
    assert lines[0].startswith("Verdict: ranks.")
    assert any("4,500 images" in line and "45,000" in line and "5.0 %" in line for line in lines)
    assert not any("of the best 16" in line for line in lines), "there are only twelve"


def test_a_baseline_in_reverse_order_counts(check):
    fast = tuple(replace(one, latency=measurement(20.0 - i)) for i, one in enumerate(check.networks))
    found = findings_of(replace(check, networks=fast))
    assert (found.verdict, found.baselines["latency"].value) == ("coarse", -1.0)
    assert "small latency" in found.sentence


def test_a_shuffled_order_is_useless(check):
    places = [5, 0, 9, 3, 11, 1, 7, 2, 10, 4, 8, 6]
    shuffled = tuple(replace(one, score=50.0 + place) for one, place in zip(check.proxy, places, strict=True))
    found = findings_of(replace(check, proxy=shuffled))
    assert found.verdict == "useless"
    assert found.separable.holds
    assert "chance" in found.sentence


def test_architectures_that_seeds_do_not_tell_apart_are_useless(check):
    noise = [0.0, 1.0, 1.0, 0.0, 0.5, 0.2, 0.9, 0.1, 0.4, 0.6, 0.3, 0.8]
    scores = [noise[i // 2] if one.seed == 1000 else noise[(i // 2 + 5) % 12] for i, one in enumerate(check.truth)]
    flat = tuple(replace(one, score=70.0 + score) for one, score in zip(check.truth, scores, strict=True))
    found = findings_of(replace(check, truth=flat))
    assert found.verdict == "useless"
    assert "take the fastest" in found.sentence


def test_axes_are_read_as_numbers(check):
    bias = findings_of(check).bias
    assert set(bias) == {"width", "attention"}
    assert (bias["attention"].low_end, bias["attention"].high_end) == (0.0, 1.0)
    outside = replace(check.networks[0], settings=None)
    assert set(findings_of(replace(check, networks=(outside, *check.networks[1:]))).bias) == {"width", "attention"}


def test_a_network_without_all_its_scores_is_left_out(check):
    key = check.networks[3].arch.key
    some = tuple(one for one in check.truth if (one.key, one.seed) != (key, 1001))
    part = replace(check, truth=some)
    assert key not in truth_pct(part)
    assert findings_of(part).networks == 11
    assert not part.is_complete
    assert certificate_lines(part) == ["Done: 12 of 12 short trainings, 23 of 24 longer ones."]


def test_the_json_has_every_network_and_finding(check):
    found = json.loads(json.dumps(certificate_json(check), allow_nan=False))
    assert found["complete"]
    assert found["findings"]["verdict"] == "ranks"
    assert len(found["networks"]) == 12
    assert found["networks"][0]["truth"] == pytest.approx(70.05)
    assert certificate_json(replace(check, truth=()))["findings"] is None


def test_the_files_hold_the_table_and_an_offline_page(check, tmp_path):
    page, table = write_certificate_files(tmp_path / "mine", check)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["network"] for row in rows][:1] == ["mobilevitv2-0.5"]
    assert float(rows[4]["proxy"]) == 54.0
    text = page.read_text()
    assert 'id="certificate"' in text
    assert "Verdict: ranks" in text
    assert not re.search(r"<(script|link)[^>]+(src|href)=", text)
    assert certificate_html("mine", check) == text


def test_a_page_of_a_check_that_is_not_finished_says_so(check):
    assert "0 of 24 longer ones" in certificate_html("mine", replace(check, truth=()))


def test_rows_of_networks_have_their_settings(check):
    row = network_rows(check)[2]
    assert row["width"] == pytest.approx(0.6)
    assert row["truth_2"] == pytest.approx(72.1)


class Settled(FormulaProxy):
    """The same formula with settings of its own."""

    def settings(self):
        return {"proxy": "formula", "epochs": 20}


@pytest.fixture
def certified(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mvit2_search.search.band.synflow", lambda arch, head: float(network_cost(arch, head).params)
    )
    write_images(tmp_path / "images", {"blue": 20, "red": 20})
    asked = CheckRequest(search=request(tmp_path, study="trusted"), networks=9)
    run_check(
        asked,
        Listener(),
        Interrupt(),
        source=macs_device(),
        proxy=FormulaProxy(),
        truth=Settled(),
        exporter=fake_exporter,
    )
    return asked


class Notes(Listener):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.slow
def test_a_search_shows_the_certificate_that_holds_for_it(certified, tmp_path):
    notes = Notes()
    study = search(request(tmp_path), listener=notes)
    kept = study.fact("certificate")
    assert kept.study == "trusted"
    assert certificate_sentence(kept) in notes.notes
    assert kept.verdict in notes.notes[-1]


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"latency_budget": "40ms"}, {"space": "attention"}])
def test_a_search_for_something_else_has_none(certified, tmp_path, change):
    notes = Notes()
    study = search(request(tmp_path, trials=1, confirm_seeds=1, **change), listener=notes)
    assert study.fact("certificate") is None
    assert any("proxy check" in note for note in notes.notes)


@pytest.mark.slow
def test_only_a_complete_certificate_of_the_same_device_and_versions_holds(certified, tmp_path):
    search(request(tmp_path))
    folder = tmp_path / "results" / "trusted"
    study, check = open_study(tmp_path / "results" / "test"), read_check(folder)
    for changed, holds in (
        (check, True),
        (replace(check, truth=check.truth[:-1]), False),
        (replace(check, versions={**check.versions, "torch": "0"}), False),
        (replace(check, device=replace(check.device, passport=macs_device("another").passport())), False),
        (replace(check, inputs=replace(check.inputs, band=Band(low=0.1))), True),
        (replace(check, inputs=replace(check.inputs, band=Band(low=2, high=4))), False),
        (replace(check, inputs=replace(check.inputs, band=Band(low=0.1, high=0.9))), False),
    ):
        write_check(folder, changed)
        assert (fitting_certificate(study, tmp_path / "results", pytest.fail) is not None) == holds


@pytest.mark.slow
def test_the_report_of_a_search_has_the_certificate(certified, tmp_path):
    study = search(request(tmp_path))
    text = report_html(summarise(study))
    assert certificate_sentence(study.fact("certificate")) in unescape(text)
    assert 'id="certificate"' in text
    (tmp_path / "results" / "trusted" / "certificate.json").unlink()
    text = report_html(summarise(study))
    assert certificate_sentence(study.fact("certificate")) in unescape(text)
    assert 'id="certificate"' not in text


@pytest.mark.slow
def test_the_strongest_of_several_certificates_is_shown(certified, tmp_path):
    results = tmp_path / "results"
    check = read_check(results / "trusted")
    for name, seeds in (("aaa", (1000, 1001)), ("more", (1000, 1001, 1002))):
        third = tuple(replace(one, seed=1002) for one in check.truth if one.seed == 1001)
        kept = replace(check, truth_seeds=seeds, truth=(*check.truth, *(third if len(seeds) == 3 else ())))
        (results / name).mkdir()
        write_check(results / name, kept)
    (results / "zzz").mkdir()
    failed = tuple(replace(one, score=None, tries=3, failure="no") for one in check.proxy)
    write_check(results / "zzz", replace(check, proxy=failed, truth=(), truth_seeds=tuple(range(9))))
    assert search(request(tmp_path)).fact("certificate").study == "more"


@pytest.mark.slow
def test_a_finished_search_gets_a_certificate_that_is_made_later(tmp_path, monkeypatch, request):
    write_images(tmp_path / "images", {"blue": 20, "red": 20})
    asked = fakes.request(tmp_path)
    assert search(asked).fact("certificate") is None
    request.getfixturevalue("certified")
    notes = Notes()
    assert search(asked, listener=notes).fact("certificate").study == "trusted"
    assert any("trusted" in note for note in notes.notes)


@pytest.mark.slow
def test_a_limit_of_parameters_is_not_certified(certified, tmp_path):
    assert search(request(tmp_path, max_params=10**9)).fact("certificate") is None


@pytest.mark.slow
def test_a_damaged_certificate_is_told_of(certified, tmp_path):
    (tmp_path / "results" / "trusted" / "certificate.json").write_text("{}")
    notes = Notes()
    search(request(tmp_path), listener=notes)
    assert any("certificate.json" in note for note in notes.notes)
