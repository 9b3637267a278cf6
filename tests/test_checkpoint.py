"""Checkpoints are whole or not there, whenever their writing ends."""

import errno
import os
import resource
import subprocess

import pytest
import torch

from forks import in_fork
from mvit2_search.errors import StorageError
from mvit2_search.train import checkpoint
from mvit2_search.train.checkpoint import (
    newest_checkpoint,
    read_state,
    read_tensors,
    remove_unfinished,
    write_checkpoint,
)
from trainings import damage, die_at

LAST, BEST = "checkpoint-last", "checkpoint-best"


def write(path, number):
    tensors = {name: {"a": torch.full((300,), float(number))} for name in ("model", "averaged")}
    write_checkpoint(path, tensors, {"number": number})


def number_of(path):
    """Of the write that it is of, once all of it has been read."""
    number = read_state(path)["number"]
    assert torch.equal(read_tensors(path, "model")["a"], torch.full((300,), float(number)))
    return number


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_what_is_written_is_read_again(tmp_path):
    tensors = {"one": {"a.b": torch.arange(6.0).reshape(2, 3), "c": torch.tensor(7)}, "none": {}}
    write_checkpoint(tmp_path / "new" / LAST, tensors, {"state": [1, None]})
    path, faults = newest_checkpoint(tmp_path / "new")
    assert (path, faults) == (tmp_path / "new" / LAST, [])
    assert read_state(path) == {"state": [1, None]}
    found = read_tensors(path, "one")
    assert found.keys() == {"a.b", "c"}
    assert all(torch.equal(found[key], tensors["one"][key]) for key in found)
    assert read_tensors(path, "none") == {}


def test_a_convolution_in_another_memory_layout_is_read_again(tmp_path):
    weight = torch.rand(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    write_checkpoint(tmp_path / LAST, {"one": {"a": weight}}, {})
    assert torch.equal(read_tensors(tmp_path / LAST, "one")["a"], weight)


def test_sha256sum_checks_a_checkpoint(tmp_path):
    write(tmp_path / LAST, 1)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / LAST, capture_output=True, text=True)
    assert done.stdout == "averaged.safetensors: OK\nmodel.safetensors: OK\nstate.json: OK\n"


def test_others_may_read_a_checkpoint(tmp_path):
    write(tmp_path / LAST, 1)
    assert (tmp_path / LAST).stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / LAST).iterdir()} == {0o644}


def test_the_one_before_is_kept_of_the_last_alone(tmp_path):
    for number in (1, 2, 3):
        write(tmp_path / LAST, number)
        write(tmp_path / BEST, number)
    assert names(tmp_path) == {LAST, "checkpoint-previous", BEST}
    assert [number_of(tmp_path / name) for name in (LAST, "checkpoint-previous", BEST)] == [3, 2, 3]


def test_a_damaged_last_one_never_takes_the_place_of_a_whole_one(tmp_path):
    for number in (1, 2):
        write(tmp_path / LAST, number)
    (tmp_path / LAST / "model.safetensors").write_bytes(b"")
    write(tmp_path / LAST, 3)
    assert [number_of(tmp_path / name) for name in (LAST, "checkpoint-previous")] == [3, 1]


@pytest.mark.parametrize("name", ["model.safetensors", "averaged.safetensors", "state.json", "SHA256SUMS"])
@pytest.mark.parametrize("kind", ["truncated", "flipped", "emptied", "missing"])
def test_the_one_before_is_taken_where_the_last_is_damaged(tmp_path, name, kind):
    for number in (1, 2):
        write(tmp_path / LAST, number)
    damage(tmp_path / LAST / name, kind)
    path, (fault,) = newest_checkpoint(tmp_path)
    assert number_of(path) == 1
    assert fault.startswith(f"{tmp_path / LAST}: damaged: ")
    assert name == "SHA256SUMS" or fault.endswith(f": {name}")


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_a_process_may_die_at_any_operation_while_it_writes(tmp_path, damaged):
    """One before the damaged one is what is left then."""
    died, operation, seen = True, 0, set()
    while died:
        folder = tmp_path / str(operation)
        for number in (1, 2):
            write(folder / LAST, number)
        write(folder / BEST, 2)
        if damaged:
            (folder / LAST / "model.safetensors").write_bytes(b"")

        def both(folder=folder, operation=operation):
            die_at(operation, folder)
            write(folder / LAST, 3)
            write(folder / BEST, 3)

        died = in_fork(both) == 137
        remove_unfinished(folder)
        assert names(folder) <= {LAST, "checkpoint-previous", BEST}, operation
        found, _ = newest_checkpoint(folder)
        numbers = (number_of(found), number_of(folder / BEST))
        seen.add(numbers)
        assert checkpoint.checkpoint_fault(folder / BEST) is None
        operation += 1
    before = 1 if damaged else 2
    assert seen == {(before, 2), (3, 2), (3, 3)}
    assert operation > 20


def test_what_was_being_written_is_removed(tmp_path):
    write(tmp_path / LAST, 1)
    (tmp_path / ".unfinished-abc").mkdir()
    (tmp_path / ".unfinished-abc" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".metrics.csv.123.tmp").write_text("epo")
    (tmp_path / "my.tmp").write_text("mine")
    remove_unfinished(tmp_path)
    assert names(tmp_path) == {LAST, "my.tmp"}


def test_a_full_disk_leaves_what_was_there(tmp_path):
    """A limit on the size of files, which the tensors exceed."""
    write(tmp_path / LAST, 1)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))
        with pytest.raises(StorageError) as raised:
            write_checkpoint(tmp_path / LAST, {"model": {"a": torch.zeros(100_000)}}, {"number": 2})
        message = str(raised.value)
        assert message.startswith(f"{tmp_path / LAST}: cannot write: ")
        assert "File too large" in message
        assert message.endswith("; what was saved before is kept: once there is room, repeat the command")
        assert "\n" not in message

    assert in_fork(limited) == 0
    assert names(tmp_path) == {LAST}
    assert number_of(tmp_path / LAST) == 1


@pytest.mark.parametrize("fails_at", range(3))
def test_a_move_that_fails_leaves_a_whole_checkpoint(tmp_path, monkeypatch, fails_at):
    for number in (1, 2):
        write(tmp_path / LAST, number)
    real, calls = os.fsync if fails_at == 2 else os.rename, 0

    def failing(*arguments):
        nonlocal calls
        calls += 1
        if fails_at == 2 or calls > fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, "fsync" if fails_at == 2 else "rename", failing)
    with pytest.raises(StorageError, match="checkpoint-last: cannot write: No space left on device; what was"):
        write(tmp_path / LAST, 3)
    path, faults = newest_checkpoint(tmp_path)
    assert (number_of(path), faults) == (2, [])
    assert names(tmp_path) <= {LAST, "checkpoint-previous"}


def test_tensors_that_cannot_be_read_are_an_error(tmp_path):
    write(tmp_path / LAST, 1)
    (tmp_path / LAST / "model.safetensors").write_bytes(b"")
    for name in ("model", "none"):
        with pytest.raises(StorageError, match=f"{name}.safetensors: cannot read: "):
            read_tensors(tmp_path / LAST, name)
