"""A study on another device than it began on, or on one that only estimates."""

from dataclasses import replace

import pytest

from fakes import macs_device, request, search
from mvit2_search.api import refresh
from mvit2_search.errors import DataError, SpecError, StudyConflict
from mvit2_search.predict import make_estimate
from mvit2_search.records import Prediction
from mvit2_search.report import summarise, trials_frame
from mvit2_search.search import Silent
from mvit2_search.store import driver_lock, open_study

pytestmark = pytest.mark.usefixtures("instant_export", "images")


def test_another_device_is_refused_while_there_is_more_to_do(tmp_path):
    search(request(tmp_path))
    with pytest.raises(StudyConflict, match="chip: another here, scripted chip there"):
        search(request(tmp_path, trials=5), device=macs_device("another"))


def test_another_device_is_refused_by_a_finished_study_too_and_leaves_no_trace(tmp_path):
    study = search(request(tmp_path))
    asked = study.fact("request")
    with pytest.raises(StudyConflict, match="device: iPhone 12 here"):
        search(request(tmp_path, device="estimate:iphone12"), device=make_estimate("iphone12"))
    assert open_study(study.folder).fact("request") == asked


def test_a_study_is_not_set_aside_for_images_that_are_not_there(tmp_path):
    asked = request(tmp_path)
    search(asked)
    wrong = replace(asked, data=str(tmp_path / "nowhere"), allow_device_change=True)
    with pytest.raises(DataError):
        search(wrong, device=macs_device("another"))
    assert (asked.folder / "study.db").is_file()


def test_a_device_may_change_for_a_study_that_starts_anew(tmp_path):
    asked = request(tmp_path)
    first = search(asked)
    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    anew = replace(asked, allow_device_change=True)
    second = search(anew, device=macs_device("another"), listener=Notes())
    assert second.passport.chip == "another"
    (old,) = (tmp_path / "results" / "other-devices").glob("*/test")
    assert old.parent.name == first.passport.digest
    assert any(str(old) in note for note in notes)
    assert open_study(old).passport.chip == "scripted chip"
    assert summarise(open_study(old)).verdict is not None
    search(anew)  # back again: the second is set aside too
    search(anew, device=macs_device("another"))
    places = {path.parent.name for path in (tmp_path / "results" / "other-devices").glob("*/test")}
    assert places == {first.passport.digest, second.passport.digest, f"{first.passport.digest}-2"}


def test_a_study_of_this_device_is_not_set_aside(tmp_path):
    asked = request(tmp_path, allow_device_change=True)
    first = len(search(asked).trials())
    assert len(search(replace(asked, trials=5)).trials()) > first > 0
    assert not (tmp_path / "results" / "other-devices").exists()


def test_a_study_that_has_only_just_begun_is_no_other_devices(tmp_path):
    asked = request(tmp_path, allow_device_change=True)
    asked.folder.mkdir(parents=True)
    (asked.folder / "study.db").write_bytes(b"")  # killed before there was a table
    assert search(asked).fact("ended")


def test_a_study_in_use_is_not_set_aside(tmp_path):
    search(request(tmp_path))
    asked = request(tmp_path, allow_device_change=True)
    with driver_lock(asked.folder), pytest.raises(StudyConflict, match="is in use"):
        search(asked, device=macs_device("another"))
    assert (asked.folder / "study.db").is_file()


def test_an_estimate_refuses_a_space_that_it_knows_nothing_of(tmp_path):
    asked = request(tmp_path, space="attention")
    with pytest.raises(
        SpecError, match=r"networks of space 'attention' are refused: .* attention: expected separable"
    ):
        search(asked, device=make_estimate("iphone12"))
    assert not asked.folder.exists()


def test_latencies_of_an_estimate_are_called_predicted_everywhere(tmp_path):
    study = search(request(tmp_path), device=make_estimate("iphone12"))
    kinds = {type(t.latency) for t in study.trials() if t.latency is not None}
    assert kinds == {Prediction}
    summary = refresh(study)
    assert set(trials_frame(summary)["latency_kind"].dropna()) == {"predicted"}
    assert summary.verdict.best.latency_text.endswith(" ms (predicted)")
    page = (study.folder / "report.html").read_text()
    assert "Latencies are predicted for iPhone 12, and nothing was measured" in page
    assert "predicted ms" in page
    assert "measured ms" not in page
    assert "latency in ms, predicted" in page
