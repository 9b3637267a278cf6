"""A study that was damaged from outside: it is refused, with what can be restored and how, and nothing is lost."""

import json
import re
from contextlib import closing
from dataclasses import replace

import pytest

import mvit2_search.store.integrity as integrity
from commands import invoke
from damaged_studies import READERS, a_finished_study, carry_out, contents, killed_search, records, refusal
from damages import DAMAGES, change_an_accuracy, execute, truncate
from fakes import request, search
from mvit2_search.errors import StorageError
from mvit2_search.records import Score
from mvit2_search.search.events import Listener
from mvit2_search.store import backup_path, create_study, database_path, driver_lock, lock_path, open_study

pytestmark = pytest.mark.usefixtures("images")


@pytest.mark.slow
@pytest.mark.parametrize("break_it", DAMAGES, ids=lambda break_it: break_it.__name__)
def test_damage_is_refused_and_the_backup_restores_the_study(tmp_path, finished_results, resume, break_it):
    folder = a_finished_study(tmp_path, finished_results)
    whole, scores = records(folder), open_study(folder).scores()
    break_it(folder)
    damaged = contents(folder)
    line = refusal(folder, resume)
    assert f"holds {len(whole)} trials and {len(scores)} scores" in line
    assert "Could not decode" not in line
    carry_out(line)
    assert records(folder) == whole
    assert resume().exit_code == 0
    aside = contents(folder / "damaged")
    assert aside.get("study.db") == damaged.get("study.db")


FACTS = {
    "accuracies_from": "[7]",
    "devices": '{"host": {"reference_ms": -1}}',
    "ended": "7",
    "finalists": '{"keys": [1]}',
    "goals": '{"trials": "4", "confirm_seeds": 2}',
    "inputs": "{}",
    "published:mobilevitv2-0.5": "null",
    "probing": '"abc"',
    "request": "3",
    "score:abc:5": '{"subject": "abc", "seed": "5", "result": 70.0}',
    "versions": "[]",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_a_fact_of_another_kind_is_damage_also_where_no_digest_says_so(tmp_path, finished_results, resume, name):
    folder = a_finished_study(tmp_path, finished_results)
    (folder / "study.digests").unlink()
    whole = records(folder)
    change = "INSERT OR REPLACE INTO study_user_attributes (study_id, key, value_json) VALUES (1, ?, ?)"
    execute(folder, change, (name, FACTS[name]))
    line = refusal(folder, resume)
    assert f"fact {name} is damaged; study.backup.db holds" in line
    carry_out(line)
    assert records(folder) == whole
    assert resume().exit_code == 0


def test_a_budget_without_the_inputs_is_damage(tmp_path, finished_results, resume):
    folder = a_finished_study(tmp_path, finished_results)
    (folder / "study.digests").unlink()
    execute(folder, "DELETE FROM study_user_attributes WHERE key = 'inputs'")
    assert "fact inputs is damaged" in refusal(folder, resume)


@pytest.mark.slow
def test_what_was_measured_to_choose_a_trial_is_read_before_the_backup_is_replaced(tmp_path, resume):
    folder = search(request(tmp_path)).folder
    backup = backup_path(folder).read_bytes()
    for text in ("'{}'", "x'ff'", "CAST(x'22ff' AS TEXT)"):
        change = f"INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (3, 'probe:0', {text})"
        execute(folder, change)
        result = resume()
        assert (result.exit_code, result.stderr.count("\n")) == (4, 1), result.output
        assert "to go on from it" in result.stderr
        execute(folder, "DELETE FROM trial_user_attributes WHERE key = 'probe:0'")
    assert backup_path(folder).read_bytes() == backup


@pytest.mark.slow
def test_the_way_back_holds_when_the_driver_that_is_to_be_stopped_has_ended(tmp_path, resume):
    """SQLite's own files beside the database go with it."""
    folder = search(request(tmp_path)).folder
    whole = records(folder)
    with driver_lock(folder), closing(create_study(folder)) as study:
        study.set_fact("another", 1)
        assert (folder / "study.db-wal").exists()
        change_an_accuracy(folder)
        line = invoke("status", folder).stderr
    assert not (folder / "study.db-wal").exists()
    carry_out(line)
    assert records(folder) == whole


@pytest.mark.slow
def test_the_way_back_takes_the_log_of_a_killed_driver_along(tmp_path):
    """Beside the backup it would be taken for changes of that."""
    asked = request(tmp_path, trials=9)
    killed_search(asked, 12)
    digests = asked.folder / "study.digests"
    digests.write_text(re.sub(r"[0-9a-f]{16} trial 3\n", f"{'0' * 16} trial 3\n", digests.read_text()))
    line = invoke("status", asked.folder).stderr
    assert (asked.folder / "study.db-wal").stat().st_size
    carry_out(line)
    assert (asked.folder / "damaged" / "study.db-wal").stat().st_size
    assert len(records(asked.folder)) == 10


@pytest.mark.slow
def test_a_broken_record_without_digests_is_one_line_too(tmp_path):
    folder = search(request(tmp_path)).folder
    (folder / "study.digests").unlink()
    for text in ('{"number": 1', '{"number": 1}', "[1]", "null"):
        execute(folder, "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = 2", (text,))
        for command in READERS:
            result = invoke(command, folder)
            assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
            assert "trial 1 is damaged" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("first", ["driver", "reader"])
def test_what_a_driver_writes_while_the_study_is_read_is_no_damage(tmp_path, monkeypatch, first):
    folder = search(request(tmp_path)).folder
    real, left = integrity.read_sound, [3]

    def read_beside_a_driver(path):
        before = real(path)
        if path == database_path(folder) and left:
            study.set_fact("ended", replace(study.fact("ended"), why=f"another reason {left}"))
            study.set_fact(f"new {left}", left.pop())
            study.add_score(Score(subject="a", seed=7, result=70.0))
            study.back_up()
        return real(path) if first == "driver" else before

    with driver_lock(folder), closing(create_study(folder)) as study:
        monkeypatch.setattr(integrity, "read_sound", read_beside_a_driver)
        assert open_study(folder).fact("ended")
    assert left == []


@pytest.mark.slow
def test_the_backup_is_kept_when_the_study_has_less_than_it(tmp_path, resume):
    """Whoever deletes the log may delete the digests too."""
    asked = request(tmp_path)
    folder = search(asked).folder
    (folder / "study.digests").unlink()
    execute(folder, "DELETE FROM trial_user_attributes WHERE trial_id > 5")
    backup = backup_path(folder).read_bytes()
    line = refusal(folder, resume)
    assert "fewer than the backup" in line
    assert backup_path(folder).read_bytes() == backup
    carry_out(line, "that are left")
    assert len(records(folder)) == 5
    assert (folder / "damaged" / "study.backup.db").read_bytes() == backup
    assert resume().exit_code == 0


def test_fewer_scores_than_the_backup_has_are_refused_too(tmp_path, finished_results, resume):
    folder = a_finished_study(tmp_path, finished_results)
    (folder / "study.digests").unlink()
    scores = open_study(folder).scores()
    execute(
        folder,
        "DELETE FROM study_user_attributes WHERE key = (SELECT max(key) FROM study_user_attributes "
        "WHERE key LIKE 'score:%')",
    )
    line = refusal(folder, resume)
    assert f"and {len(scores) - 1} scores, fewer than the backup" in line
    carry_out(line)
    assert open_study(folder).scores() == scores


@pytest.mark.slow
def test_a_finished_study_gets_a_backup_that_was_deleted(tmp_path):
    folder = search(request(tmp_path)).folder
    backup_path(folder).unlink()
    search(request(tmp_path))
    assert backup_path(folder).is_file()


@pytest.mark.slow
def test_a_damaged_study_is_not_backed_up(tmp_path):
    asked = request(tmp_path)
    folder = search(asked).folder
    backup = backup_path(folder).read_bytes()
    with driver_lock(folder):
        study = create_study(folder)
        change_an_accuracy(folder)
        with pytest.raises(StorageError, match="no backup was made"):
            study.back_up()
    assert backup_path(folder).read_bytes() == backup


@pytest.mark.slow
def test_a_running_driver_is_to_be_stopped_first(tmp_path):
    folder = search(request(tmp_path)).folder
    truncate(folder)
    with driver_lock(folder):
        lock = json.loads(lock_path(folder).read_text())
        lock_path(folder).write_text(json.dumps(lock | {"pid": lock["pid"] + 1}))
        line = invoke("status", folder).stderr
    assert re.search(rf"; stop process {lock['pid'] + 1} on \S+ since \S+ first; study.backup.db holds", line)


@pytest.mark.slow
def test_without_a_backup_it_says_so(tmp_path, resume):
    folder = search(request(tmp_path)).folder
    backup_path(folder).write_bytes(b"")
    truncate(folder)
    assert "there is no backup" in refusal(folder, resume)


@pytest.mark.slow
def test_a_backup_that_cannot_be_written_is_noted_and_the_search_goes_on(tmp_path):
    notes = []

    class Notes(Listener):
        def note(self, text):
            notes.append(text)

    asked = request(tmp_path)
    (asked.folder / "study.backup.db").mkdir(parents=True)  # nothing can be renamed over a folder
    assert search(asked, listener=Notes()).fact("ended")
    assert any("no backup was made" in note for note in notes)
