"""What a sampler reads of a trial has to be what its record says: a driver refuses anything else."""

import re
import shutil
import sqlite3
import subprocess
from dataclasses import replace

import pytest

from fakes import request, search
from mvit2_search.errors import StorageError
from mvit2_search.store import backup_path, database_path

pytestmark = pytest.mark.usefixtures("images")

DAMAGES = {
    "settings changed": "UPDATE trial_params SET param_value = 0.5",
    "settings gone": "DELETE FROM trial_params",
    "one setting gone": "DELETE FROM trial_params WHERE param_id = (SELECT max(param_id) FROM trial_params)",
    "domains broken": "UPDATE trial_params SET distribution_json = 'zz'",
    "domains no text": "UPDATE trial_params SET distribution_json = CAST(x'22ff' AS TEXT)",
    "domains emptied": "UPDATE trial_params SET distribution_json = '{}'",
    "values changed": "UPDATE trial_values SET value = 5",
    "values gone": "DELETE FROM trial_values",
    "values infinite": "UPDATE trial_values SET value_type = 'INF_POS'",
    "all failed": "UPDATE trials SET state = 'FAIL'",
    "all done": "UPDATE trials SET state = 'COMPLETE'",
    "no directions": "DELETE FROM study_directions",
    "odd attributes": "UPDATE trial_system_attributes SET value_json = 'x'",
}


@pytest.fixture(scope="module")
def finished_results(tmp_path_factory):
    """A results folder with a finished study, to be copied."""
    return tmp_path_factory.mktemp("finished")


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_driver_refuses_what_differs_from_the_records_and_keeps_the_backup(tmp_path, finished_results, damage):
    asked = request(tmp_path, latency_budget="12ms")
    if not (finished_results / "results").exists():
        search(replace(asked, results=finished_results / "results"))
    shutil.copytree(finished_results / "results", asked.results)
    backup = backup_path(asked.folder).read_bytes()
    with sqlite3.connect(database_path(asked.folder)) as connection:
        assert connection.execute(DAMAGES[damage]).rowcount > 0
    connection.close()
    with pytest.raises(StorageError, match=r"is damaged; .*to go on from it") as refused:
        search(replace(asked, trials=5))
    assert "\n" not in str(refused.value)
    assert backup_path(asked.folder).read_bytes() == backup
    (command,) = re.findall("to go on from it: ([^;]*)", str(refused.value))
    subprocess.run(command, shell=True, check=True)
    assert len(search(replace(asked, trials=5)).trials()) > 5
