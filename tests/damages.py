"""What may happen to the files of a study from outside, each as a function of its folder."""

import sqlite3

from mvit2_search.store import database_path


def truncate(folder):
    database_path(folder).write_bytes(b"")


def delete(folder):
    database_path(folder).unlink()


def overwrite_a_page(folder):
    """One that holds records, by noise."""
    pages = database_path(folder).read_bytes()
    at = pages.rindex(b'"curve"') // 4096 * 4096
    database_path(folder).write_bytes(pages[:at] + b"\xa5" * 4096 + pages[at + 4096 :])


def zero_the_header(folder):
    database_path(folder).write_bytes(bytes(100) + database_path(folder).read_bytes()[100:])


def cut_in_half(folder):
    whole = database_path(folder).read_bytes()
    database_path(folder).write_bytes(whole[: len(whole) // 2])


def execute(folder, *statement):
    with sqlite3.connect(database_path(folder)) as connection:
        connection.execute(*statement)
    connection.close()


def break_a_record(folder):
    execute(folder, "UPDATE trial_user_attributes SET value_json = '{\"number\": 1' WHERE trial_id = 2")


def change_an_accuracy(folder):
    change = "value_json = replace(value_json, '\"score\": 7', '\"score\": 8')"
    execute(folder, f"UPDATE trial_user_attributes SET {change}")


def change_a_score(folder):
    execute(
        folder,
        "UPDATE study_user_attributes SET value_json = replace(value_json, '8', '9') WHERE key LIKE 'score%'",
    )


def change_the_budget(folder):
    execute(
        folder,
        "UPDATE study_user_attributes SET value_json = replace(value_json, '\"budget_ms\": ', '\"budget_ms\": 9')",
    )


def delete_a_trial(folder):
    execute(folder, "DELETE FROM trial_user_attributes WHERE trial_id = 3")


def make_a_byte_no_utf8(folder):
    pages = bytearray(database_path(folder).read_bytes())
    pages[pages.rindex(b'"curve"') + 3] = 0xFF
    database_path(folder).write_bytes(pages)


def make_a_record_bytes(folder):
    execute(folder, "UPDATE trial_user_attributes SET value_json = x'ff00fe' WHERE trial_id = 3")


def make_a_fact_bytes(folder):
    execute(folder, "UPDATE study_user_attributes SET value_json = x'ff' WHERE key = 'schema'")


def break_the_schema(folder):
    execute(folder, "UPDATE study_user_attributes SET value_json = '{}' WHERE key = 'schema'")


def drop_a_column(folder):
    execute(folder, "ALTER TABLE trial_user_attributes RENAME COLUMN value_json TO value")


def put_a_folder_there(folder):
    database_path(folder).unlink()
    database_path(folder).mkdir()


def add_a_score(folder):
    execute(folder, "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'score:a:5', '{}')")


def begin_a_trial_anew(folder):
    execute(folder, "UPDATE trials SET state = 'WAITING' WHERE trial_id = 5")


def break_a_state(folder):
    execute(folder, "UPDATE trials SET state = 'DONE' WHERE trial_id = 5")


def number_a_trial_as_another(folder):
    (folder / "study.digests").unlink()  # which would miss the other one
    execute(folder, "UPDATE trials SET number = 3 WHERE trial_id = 5")


def turn_the_objectives(folder):
    execute(folder, "UPDATE study_directions SET direction = 'MINIMIZE'")


def empty_its_tables(folder):
    for table in ("studies", "trials", "study_user_attributes", "trial_user_attributes"):
        execute(folder, f"DELETE FROM {table}")


DAMAGES = [
    truncate,
    delete,
    overwrite_a_page,
    zero_the_header,
    cut_in_half,
    break_a_record,
    change_an_accuracy,
    change_a_score,
    change_the_budget,
    delete_a_trial,
    empty_its_tables,
    make_a_byte_no_utf8,
    make_a_record_bytes,
    make_a_fact_bytes,
    break_the_schema,
    drop_a_column,
    put_a_folder_there,
    add_a_score,
    begin_a_trial_anew,
    break_a_state,
    number_a_trial_as_another,
    turn_the_objectives,
]
