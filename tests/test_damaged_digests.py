"""The digests of a study: damaged, missing, or a write behind the records."""

import re
from dataclasses import replace

import pytest

from damaged_studies import a_finished_study, carry_out, killed_search, records, refusal
from fakes import request, search
from mvit2_search.store import backup_path, open_study
from mvit2_search.store.integrity import Digests

pytestmark = pytest.mark.usefixtures("images")


def no_digests(path):
    path.write_bytes(bytes(range(256)) * 3)


def a_folder_of_digests(path):
    path.unlink()
    path.mkdir()


def a_note(path):
    path.write_text("to be looked at")


def half_of_each_digest(path):
    path.write_text("".join(line[:9] + "\n" for line in path.read_text().splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("break_them", [no_digests, a_note, a_folder_of_digests, half_of_each_digest])
def test_digests_that_are_none_are_not_written_over(tmp_path, finished_results, resume, break_them):
    folder = a_finished_study(tmp_path, finished_results)
    whole = records(folder)
    break_them(folder / "study.digests")
    line = refusal(folder, resume)
    assert "study.digests is damaged, by which it is checked" in line
    carry_out(line, "if study.digests is what is wrong")
    assert records(folder) == whole
    assert resume().exit_code == 0


@pytest.mark.slow
def test_a_deleted_log_after_a_kill_is_refused_and_what_is_left_can_be_chosen(tmp_path, resume):
    asked = request(tmp_path, trials=9)
    killed_search(asked, 12)
    whole = records(asked.folder)
    (wal,) = asked.folder.glob("study.db-wal")
    wal.unlink()
    line = refusal(asked.folder, resume)
    assert "holds no study, beside study.digests" in line
    assert "study.backup.db holds 10 trials; to go on from it: " in line
    carry_out(line)
    assert records(asked.folder).items() <= whole.items()
    assert len(records(asked.folder)) == 10
    finished = search(asked)
    assert finished.fact("ended")
    assert records(asked.folder).items() >= {n: whole[n] for n in range(10)}.items()


@pytest.mark.slow
def test_a_kill_at_any_time_is_no_damage(tmp_path):
    asked = request(tmp_path)
    for trials in (1, 2, 3):
        killed_search(asked, trials)
        assert open_study(asked.folder).trials()
    assert search(asked).fact("ended")


@pytest.mark.slow
def test_a_write_that_a_crash_cut_short_is_no_damage(tmp_path):
    """The digest is written before the record; either may be the last thing that was."""
    folder = search(request(tmp_path)).folder
    path = folder / "study.digests"
    with path.open("a") as file:
        file.write(f"? {'0' * 16} trial 99\n? {'0' * 16} fact budget_ms\n! 0123")
    assert open_study(folder).fact("ended")
    path.write_text(
        "".join(line for line in path.read_text().splitlines(keepends=True) if " trial 3\n" not in line)
    )
    assert 3 in records(folder)
    assert search(request(tmp_path)).fact("ended")
    assert " trial 3\n" in path.read_text()


@pytest.mark.slow
def test_a_study_from_before_there_were_digests_opens_and_gets_them(tmp_path):
    asked = request(tmp_path)
    folder = search(asked).folder
    for name in ("study.digests", "study.backup.db"):
        (folder / name).unlink()
    assert open_study(folder).fact("ended")
    search(replace(asked, trials=5))
    assert backup_path(folder).is_file()
    assert (folder / "study.digests").is_file()


def test_what_was_written_last_is_what_a_fact_has_to_be(tmp_path):
    digests = Digests(tmp_path)
    for text in ("1", "2"):
        digests.coming("a", text)
        digests.written("a", text)
    assert digests.differing({"a": "1"}, digests.known()) == ([], ["a"])
    digests.coming("a", "3")
    for text in ("2", "3"):
        assert digests.differing({"a": text}, digests.known()) == ([], [])


@pytest.mark.parametrize("backed_up", [True, False])
def test_a_sound_database_beside_damaged_digests_can_be_kept(tmp_path, resume, backed_up):
    folder = search(request(tmp_path)).folder
    whole, digests = records(folder), folder / "study.digests"
    digests.write_text(re.sub(r"[0-9a-f]{16} trial 3\n", f"{'0' * 16} trial 3\n", digests.read_text()))
    damaged = digests.read_bytes()
    if not backed_up:
        backup_path(folder).unlink()
    line = refusal(folder, resume)
    assert "trial 3 is changed since written" in line
    carry_out(line, "if study.digests is what is wrong")
    assert records(folder) == whole
    assert (folder / "damaged" / "study.digests").read_bytes() == damaged
    assert resume().exit_code == 0
