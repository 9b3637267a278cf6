"""What lies where a study should be, and is none."""

import sqlite3

import pytest

from commands import invoke
from damaged_studies import READERS, contents
from fakes import request
from mvit2_search.store import database_path

pytestmark = pytest.mark.usefixtures("images")


def a_folder(path):
    path.mkdir()


def a_text(path):
    path.write_text("these are my notes\n" * 200)


def another_programs(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()


def a_link(path):
    path.symlink_to(path.with_name("elsewhere.db"))


@pytest.mark.parametrize("thing", [a_folder, a_text, another_programs, a_link], ids=lambda thing: thing.__name__)
def test_what_is_no_study_is_refused_and_left_alone(tmp_path, resume, thing):
    folder = request(tmp_path).folder
    folder.mkdir(parents=True)
    thing(database_path(folder))
    before = contents(folder)
    result = resume()
    assert (result.exit_code, result.stderr.count("\n")) == (4, 1), result.output
    assert "study.db" in result.stderr
    assert contents(folder) == before
    for command in READERS if thing is not a_link else ():
        result = invoke(command, folder)
        assert (result.exit_code, result.stderr.count("\n")) == (4, 1), result.output
