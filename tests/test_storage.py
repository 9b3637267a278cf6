"""What every storage promises: one contract for a file in the study's folder and for a database at a URL."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

from fakes import OUTCOMES, trial
from mvit2_search.errors import BackendUnavailable, SpecError, StorageError
from mvit2_search.records import Score
from mvit2_search.store import create_study, find_study, open_study
from mvit2_search.store.folders import backup_path, database_path
from mvit2_search.store.lease import driver_lock
from mvit2_search.store.storage import SqliteStorage, UrlStorage

AXES = {"width": FloatDistribution(0.5, 2.0)}


@pytest.fixture
def folder(tmp_path):
    with driver_lock(tmp_path / "one"):
        yield tmp_path / "one"


def elsewhere(tmp_path):
    """A database in another folder, whose readers and writers do not wait for each other, as a server's."""
    path = tmp_path / "server" / "all.db"
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return path


def ask(study):
    return study.ask(RandomSampler(), AXES)


@pytest.mark.parametrize("kind", ["file", "url"])
class TestStorage:
    @pytest.fixture
    def path(self, kind, folder, tmp_path):
        """The database's file."""
        return database_path(folder) if kind == "file" else elsewhere(tmp_path)

    @pytest.fixture
    def storage(self, kind, folder, path):
        return SqliteStorage(folder) if kind == "file" else UrlStorage(f"sqlite:///{path}", "mine")

    @pytest.fixture
    def study(self, folder, storage):
        with closing(create_study(folder, storage)) as made:
            yield made

    def test_before_anything_is_recorded_there_is_nothing(self, folder, storage):
        assert storage.read_checked() is None
        assert find_study(folder, storage) is None
        with pytest.raises(StorageError), storage.reading():
            pass
        with pytest.raises(SpecError, match="no study here"):
            find_study(folder.with_name("two"), UrlStorage("sqlite://", "two"))

    def test_what_is_written_is_read_and_goes_on(self, folder, storage, path):
        study = create_study(folder, storage)
        study.set_fact("probing", {"abc": 1})
        score = Score(subject="abc", seed=1, result=70.5)
        study.add_score(score)
        told = trial(ask(study).number, OUTCOMES[0])
        study.tell(told, violations={})
        left = ask(study)
        study.close()
        assert path.is_file()
        for again in (open_study(folder, storage), create_study(folder, storage)):
            assert (again.trials(), again.scores(), again.fact("probing")) == ([told], [score], {"abc": 1})
            assert again.settings()[left.number] == left.params
        assert again.unfinished() == [left]
        again.close()

    def test_two_proposals_may_get_their_outcomes_in_any_order(self, folder, storage, study):
        study.queue({"width": 1.25})
        first, second = ask(study), ask(study)
        assert (first.number, second.number, first.params) == (0, 1, {"width": 1.25})
        study.tell(trial(second.number, OUTCOMES[1]), violations={"latency_ms": 25.0})
        assert [t.number for t in study.trials()] == [1]
        assert [t.state.name for t in study._study.get_trials()] == ["RUNNING", "PRUNED"]
        study.tell(trial(first.number, OUTCOMES[0]), violations={"latency_ms": -3.0})
        seen = study._study.get_trials()
        assert [t.constraints for t in seen] == [{"latency_ms": -3.0}, {"latency_ms": 25.0}]
        assert [t.params for t in seen] == [first.params, second.params]
        assert open_study(folder, storage).trials() == [trial(0, OUTCOMES[0]), trial(1, OUTCOMES[1])]

    def test_a_reader_sees_one_moment_and_nobody_waits(self, storage, study):
        with storage.reading() as snapshot:
            before = snapshot.contents("")
            study.set_fact("probing", {})
            ask(study)
            assert snapshot.contents("") == before
        assert "probing" in storage.read_checked().facts

    def test_reading_changes_no_byte(self, folder, storage, study, path):
        study.tell(trial(ask(study).number), violations={})
        study.close()
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        read = open_study(folder, storage)
        assert (len(read.trials()), read.probes()) == (1, {})
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE trial_user_attributes SET value_json = '{'",
            "UPDATE trial_user_attributes SET value_json = x'ff'",
            "UPDATE study_user_attributes SET value_json = '{}' WHERE key = 'schema'",
            "UPDATE trials SET state = 'DONE'",
            "UPDATE study_directions SET direction = 'MINIMIZE'",
            "ALTER TABLE trials RENAME COLUMN number TO numbers",
        ],
    )
    def test_damage_is_refused_by_the_storages_name(self, folder, storage, study, path, change):
        study.tell(trial(ask(study).number), violations={})
        study.close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute(change)
            connection.commit()
        for use in (create_study, lambda *where: open_study(*where).trials()):
            with pytest.raises(StorageError) as refused:
                use(folder, storage)
            assert str(refused.value).startswith(f"{storage.name}: ")
            assert "\n" not in str(refused.value)

    def test_what_the_sampler_sees_is_compared_with_the_records(self, storage, study, path):
        told = trial(ask(study).number)
        study.tell(told, violations={})
        study.check_seen(lambda _: told.arch.key)
        with pytest.raises(StorageError, match="what the sampler reads of trial 0 is damaged; "):
            study.check_seen(lambda _: "another")

    def test_another_programs_study_is_refused(self, folder, storage, path):
        made = optuna.create_study(study_name="mine", storage=f"sqlite:///{path}", directions=["maximize"] * 2)
        made.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
        with pytest.raises(StorageError, match="that this program did not make"):
            create_study(folder, storage)

    def test_a_backup_is_the_storages_own_matter(self, kind, folder, study):
        study.back_up()
        assert backup_path(folder).is_file() == (kind == "file")

    def test_reading_imports_no_optuna(self, kind, folder, storage, study):
        how = "" if kind == "file" else f", UrlStorage({storage._url!r}, 'mine')"
        code = (
            "import sys; from pathlib import Path\n"
            "from mvit2_search.store import open_study; from mvit2_search.store.storage import UrlStorage\n"
            f"open_study(Path(sys.argv[1]){how}).trials(); sys.exit('optuna' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code, folder]).returncode == 0


def test_studies_in_one_database_are_apart(folder, tmp_path):
    url = f"sqlite:///{elsewhere(tmp_path)}"
    kept = [UrlStorage(url, name) for name in ("mine", "yours")]
    studies = [create_study(folder, storage) for storage in kept]
    for number, study in enumerate(studies):
        study.set_fact("accuracies_from", [str(number)])
        for _ in range(number + 1):
            study.tell(trial(ask(study).number, OUTCOMES[number]), violations={})
        study.close()
    for number, storage in enumerate(kept):
        read = open_study(folder, storage)
        assert read.fact("accuracies_from") == [str(number)]
        assert read.trials() == [trial(n, OUTCOMES[number]) for n in range(number + 1)]
        assert len(read.settings()) == number + 1
        with storage.reading() as snapshot:
            assert snapshot.amount() == storage.read_checked().amount == (number + 1, 0)


def test_a_url_is_named_without_its_password():
    storage = UrlStorage("postgresql+nothing://me:secret@host/db", "mine")
    assert storage.name == "study 'mine' at postgresql+nothing://me:***@host/db"
    for bad in ("me:secret@host", "postgresql://me:secret@host:port/db"):
        with pytest.raises(SpecError) as refused:
            UrlStorage(bad, "mine")
        assert "secret" not in str(refused.value)
        assert refused.value.__suppress_context__


@pytest.mark.parametrize("url", ["mssql+nothing://me:secret@host/db", "sqlite:////no/such/folder/study.db"])
def test_a_database_that_cannot_be_opened_is_one_line(folder, url):
    storage = UrlStorage(url, "mine")
    for use in (find_study, create_study):
        with pytest.raises((StorageError, BackendUnavailable)) as refused:
            use(folder, storage)
        assert str(refused.value).startswith(f"{storage.name}: ")
        assert "secret" not in str(refused.value)


def test_a_driver_for_a_database_that_is_not_installed_is_named(folder):
    with pytest.raises(BackendUnavailable, match="No module named 'cx_Oracle'; install"):
        find_study(folder, UrlStorage("oracle+cx_oracle://me@host/db", "mine"))
