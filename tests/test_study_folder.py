"""A study's folder is renamed, copied, or cannot be written; and which names a study may have."""

import ast
import ctypes
import json
import os
import re
import shutil
import sqlite3
import sys
import traceback
from contextlib import closing
from functools import partial
from pathlib import Path

import optuna
import pytest

import mvit2_search
from commands import invoke
from fakes import request, search
from forks import in_fork
from mvit2_search.errors import SpecError, StorageError
from mvit2_search.search.events import Listener
from mvit2_search.store import create_study, database_path, driver_lock, open_study
from mvit2_search.store.folders import BENCH, EXPORTS, LATENCIES, OTHER_DEVICES
from mvit2_search.store.sqlite import reading
from mvit2_search.system.signals import Interrupt

pytestmark = pytest.mark.usefixtures("images")


@pytest.fixture
def run(run_with_fakes):
    """`mvit2-search run` on a formula."""

    return partial(run_with_fakes, "--image-size", "32", "--study")


class StopsAfter(Listener):
    def __init__(self, interrupt, trials):
        self.interrupt, self.left = interrupt, trials

    def trial_ended(self, study, trial):
        self.left -= 1
        self.interrupt.requested = self.left <= 0


def stopped_search(asked, trials):
    interrupt = Interrupt()
    return search(asked, listener=StopsAfter(interrupt, trials), interrupt=interrupt)


def optuna_studies(folder):
    with sqlite3.connect(database_path(folder)) as connection:
        names = [name for (name,) in connection.execute("SELECT study_name FROM studies")]
    connection.close()
    return names


@pytest.mark.slow
@pytest.mark.parametrize("move", [shutil.copytree, shutil.move])
def test_a_study_goes_on_in_a_folder_of_another_name(tmp_path, run, move):
    first = stopped_search(request(tmp_path), 5)
    done = first.trials()
    other = first.folder.with_name("other")
    move(first.folder, other)
    assert invoke("status", other).output.startswith("Study other: ")
    result = run("other")
    assert result.exit_code == 0, result.output
    assert optuna_studies(other) == ["test"]
    study = open_study(other)
    assert study.trials()[: len(done)] == done
    assert study.fact("ended")
    (printed,) = re.findall(r"Export: .* (export other .*)", result.output)
    assert invoke(*printed.split()).output.startswith(str(other / "exports"))
    assert "Study other is finished" in run("other").output


@pytest.mark.slow
def test_a_database_of_two_studies_is_refused_with_a_command_that_mends_it(tmp_path, run):
    folder = stopped_search(request(tmp_path), 3).folder
    url = f"sqlite:///{database_path(folder)}"
    optuna.create_study(study_name="second", storage=url, directions=["maximize"] * 2)
    for result in (run("test"), invoke("status", folder), invoke("report", folder), invoke("export", folder)):
        assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
        assert "holds 2 Optuna studies ('test', 'second')" in result.stderr
    assert f"optuna delete-study --storage {url} --study-name NAME" in result.stderr
    optuna.delete_study(study_name="second", storage=url)
    assert run("test").exit_code == 0


@pytest.mark.parametrize(
    "name",
    [
        "bench",
        "Bench",
        "EXPORTS",
        "exports",
        "other-devices",
        ".latencies",
        "CON",
        "nul.txt",
        "com1",
        "a.",
        "..",
        ".",
    ],
)
def test_names_that_are_used_or_no_folders_are_refused(tmp_path, run, name):
    result = run(name)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "results" / name / "driver.lock").exists()
    with pytest.raises(SpecError):
        request(tmp_path, study=name)


@pytest.mark.parametrize("name", ["bench", "exports", "b (copy)", "con"])
def test_no_command_is_named_that_would_be_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    result = invoke("status", tmp_path / name)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "no study here" in result.stderr
    assert "makes one" not in result.stderr


def test_a_copy_with_a_name_that_run_refuses_is_to_be_renamed(tmp_path, run):
    folder = stopped_search(request(tmp_path), 1).folder
    shutil.copytree(folder, folder.with_name("b (copy)"))
    assert invoke("status", folder.with_name("b (copy)")).exit_code == 0
    result = run("b (copy)")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "renamed" in result.stderr


@pytest.mark.parametrize("name", ["bench2", "my-exports", "con1", "a.b", "_", "x" * 64])
def test_names_that_are_like_those_are_fine(tmp_path, name):
    assert request(tmp_path, study=name).study == name


def test_a_name_that_differs_by_case_alone_is_refused(tmp_path, run):
    stopped_search(request(tmp_path), 1)
    result = run("Test")
    assert result.exit_code == 2
    assert "'test'" in result.stderr
    assert not (tmp_path / "results" / "Test").exists()


@pytest.mark.parametrize(("results", "study"), [("images", "red"), (".", "images")])
def test_a_folder_that_holds_something_else_takes_no_study(tmp_path, run_with_fakes, results, study):
    before = sorted(tmp_path.rglob("*"))
    done = run_with_fakes("--results", str(tmp_path / results), "--study", study)
    assert done.exit_code == 2
    assert f"study {study!r}: {tmp_path / results / study} is no study, it holds " in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_folder_that_holds_a_log_takes_a_study(tmp_path, run):
    (tmp_path / "results" / "new").mkdir(parents=True)
    for name in (".DS_Store", "run.log", "progress.json"):
        (tmp_path / "results" / "new" / name).touch()
    assert run("new").exit_code == 0


def test_every_folder_that_the_program_makes_in_the_results_is_on_the_list():
    """`results / "name"` stands nowhere: a new folder needs a constant, and a constant stands beside the list."""
    written = []
    for path in Path(mvit2_search.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_join = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            if is_join and ast.unparse(node.left) in ("results", "request.results", "folder.parent"):
                written.append((path.name, ast.unparse(node.right)))
    literals = [name for _, name in written if name[0] in "'\""]
    assert literals == []
    used = {name for _, name in written}
    assert {"LATENCIES", "BENCH", "EXPORTS", "OTHER_DEVICES"} <= used
    for name in (LATENCIES, BENCH, EXPORTS, OTHER_DEVICES):
        with pytest.raises(SpecError):
            request(Path(), study=name)


def as_a_user(folder, work):
    """What `work` gives in a process that may only read `folder`, whoever runs the tests."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            drop_privileges()
            assert not os.access(folder, os.W_OK)
            result = work()
            known = isinstance(result.exception, SystemExit | None)
            error = result.stderr if known else "".join(traceback.format_exception(result.exception))
            text = json.dumps([result.exit_code, result.stdout, error])
        except BaseException as err:
            text = json.dumps([type(err).__name__, str(err), ""])
        with os.fdopen(writer, "w") as pipe:
            pipe.write(text)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


def drop_privileges():
    """Permissions are to hold for root too, whose files these are."""
    if sys.platform != "linux":
        return
    version, whole_process, nothing = 0x20080522, 0, (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version, whole_process), nothing) == 0


@pytest.fixture
def archive():
    """Makes a folder readable only; undone at the end."""
    if sys.platform != "linux" and os.getuid() == 0:
        pytest.skip("root may write everywhere on this system")
    closed = []

    def close(folder):
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        closed.append(folder)
        return folder

    yield close
    for folder in closed:
        folder.chmod(0o755)


@pytest.mark.slow
def test_a_finished_study_in_a_folder_that_cannot_be_written_is_read(tmp_path, archive):
    study = search(request(tmp_path))
    whole = invoke("status", study.folder, "--json").output
    folder = archive(study.folder)
    before = sorted(path.name for path in folder.iterdir())
    assert as_a_user(folder, lambda: invoke("status", folder, "--json")) == [0, whole, ""]
    for command in ("report", "export"):
        code, _, error = as_a_user(folder, lambda: invoke(command, folder))  # noqa: B023
        assert (code, error.count("\n")) == (4, 1)
        assert "cannot write: Permission denied" in error
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.slow
def test_a_study_that_stayed_in_its_log_mode_is_read_where_nothing_can_be_written(tmp_path, archive):
    study = search(request(tmp_path))
    with sqlite3.connect(database_path(study.folder)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    folder = archive(study.folder)
    assert as_a_user(folder, lambda: invoke("status", folder))[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("shared_memory", [True, False])
def test_the_log_of_a_killed_driver_is_never_left_out(tmp_path, archive, shared_memory):
    asked = request(tmp_path)

    class Dies(StopsAfter):
        def trial_ended(self, study, trial):
            if trial.number == 4:
                os._exit(9)

    assert in_fork(lambda: search(asked, listener=Dies(Interrupt(), 99))) == 9
    assert (asked.folder / "study.db-wal").stat().st_size
    if not shared_memory:
        (asked.folder / "study.db-shm").unlink()
    folder = archive(asked.folder)
    code, text, error = as_a_user(folder, lambda: invoke("status", folder, "--json"))
    assert code == 0, error
    assert json.loads(text)["trials"] == 5


def test_reading_leaves_what_a_killed_driver_left(tmp_path):
    asked = request(tmp_path)

    class Dies(StopsAfter):
        def trial_ended(self, study, trial):
            os._exit(9)

    assert in_fork(lambda: search(asked, listener=Dies(Interrupt(), 99))) == 9

    def kept():
        return {path.name: path.read_bytes() for path in asked.folder.glob("study.*") if path.suffix != ".db-shm"}

    before = kept()
    assert before["study.db-wal"]
    assert invoke("status", asked.folder).exit_code == 0
    assert kept() == before


@pytest.mark.slow
@pytest.mark.parametrize("writable", [True, False])
def test_what_another_program_was_killed_at_is_not_read(tmp_path, archive, writable):
    """One that keeps the database as it was in a journal while it changes it."""
    folder = search(request(tmp_path)).folder
    whole = invoke("status", folder, "--json").output

    def die():
        connection = sqlite3.connect(database_path(folder), isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")  # what is changed is written at once
        connection.execute("BEGIN")
        connection.execute("DELETE FROM study_user_attributes")
        connection.execute("UPDATE trial_user_attributes SET value_json = upper(value_json)")
        os._exit(9)

    assert in_fork(die) == 9
    assert (folder / "study.db-journal").stat().st_size
    if writable:
        assert invoke("status", folder, "--json").stdout == whole
    else:
        archive(folder)
        assert as_a_user(folder, lambda: invoke("status", folder, "--json")) == [0, whole, ""]


def test_a_reader_sees_a_study_at_one_moment(tmp_path):
    with (
        driver_lock(tmp_path),
        closing(create_study(tmp_path)) as study,
        reading(database_path(tmp_path)) as reader,
    ):
        facts = "SELECT key FROM study_user_attributes"
        before = reader.execute(facts).fetchall()
        study.set_fact("another", 1)
        assert reader.execute(facts).fetchall() == before
    assert open_study(tmp_path).fact("another") == 1


@pytest.mark.slow
def test_a_study_that_ended_is_one_file(tmp_path):
    folder = search(request(tmp_path)).folder
    assert not list(folder.glob("study.db-*"))
    with sqlite3.connect(database_path(folder)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_reader_at_the_end_keeps_nobody_waiting_and_a_driver_starts_beside_one(tmp_path):
    """While it reads, SQLite's files stay; the next driver goes on with them."""
    folder = stopped_search(request(tmp_path), 3).folder
    reader = sqlite3.connect(database_path(folder), isolation_level=None)
    with driver_lock(folder):
        study = create_study(folder)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM trials").fetchone()
        study.set_fact("a", 1)
        study.close()
        again = create_study(folder)
        again.set_fact("b", 2)
        reader.close()
        again.close()
    assert (open_study(folder).fact("a"), open_study(folder).fact("b")) == (1, 2)


@pytest.mark.slow
def test_a_file_that_may_not_be_read_is_one_line(tmp_path, archive):
    study = search(request(tmp_path))
    folder = archive(study.folder)
    database_path(folder).chmod(0o000)
    code, _, error = as_a_user(folder, lambda: invoke("status", folder))
    assert (code, error.count("\n")) == (4, 1)
    assert "study.db: cannot be read: " in error
    assert "to go on" not in error


@pytest.mark.slow
def test_a_folder_that_is_renamed_while_its_study_runs_ends_the_run_and_goes_on_under_its_name(tmp_path):
    class Renames(Listener):
        def trial_ended(self, study, trial):
            if trial.number == 2:
                study.folder.rename(study.folder.with_name("moved"))

    asked = request(tmp_path)
    with pytest.raises(StorageError, match="moved or deleted while its study ran"):
        search(asked, listener=Renames())
    assert not asked.folder.exists()
    assert len(open_study(asked.folder.with_name("moved")).trials()) == 3
    assert search(request(tmp_path, study="moved")).fact("ended")
