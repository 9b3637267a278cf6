"""What TensorBoard's own reader finds in the folder of a training: each epoch once, however the training went."""

import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from mvit2_search.errors import StorageError
from mvit2_search.records import EpochRow
from mvit2_search.report.events import TensorBoardEvents

ROWS = [
    EpochRow(epoch=1, learning_rate=0.5, loss=2.25, score=40.0, seconds=9.0),
    EpochRow(epoch=2, learning_rate=0.25, loss=1.75, score=66.125, seconds=8.5),
    EpochRow(epoch=3, learning_rate=0.0, loss=1.5, score=60.5, seconds=8.25),
]
ALL = {
    "loss": {1: 2.25, 2: 1.75, 3: 1.5},
    "learning_rate": {1: 0.5, 2: 0.25, 3: 0.0},
    "score": {1: 40.0, 2: 66.125, 3: 60.5},
}


def shown(what):
    """Values by epoch and name, of a folder or of a reader that has read before; an epoch twice fails."""
    reader = what if isinstance(what, EventAccumulator) else EventAccumulator(str(what))
    reader.Reload()
    curves = {name: reader.Scalars(name) for name in reader.Tags()["scalars"]}
    for curve in curves.values():
        assert len({event.step for event in curve}) == len(curve)
    return {name: {event.step: event.value for event in curve} for name, curve in curves.items()}


def test_each_epoch_is_shown_when_it_has_ended(tmp_path):
    events = TensorBoardEvents(tmp_path)
    for count in (1, 2, 3):
        events.write(ROWS[:count])
        assert shown(tmp_path) == {name: dict([*curve.items()][:count]) for name, curve in ALL.items()}
    (file,) = tmp_path.iterdir()
    assert len([*EventFileLoader(str(file)).Load()]) == 2 + 3  # the head, and one for each epoch


def test_a_training_that_goes_on_shows_no_epoch_twice(tmp_path):
    TensorBoardEvents(tmp_path).write(ROWS[:2])
    TensorBoardEvents(tmp_path).write(ROWS[:2])
    again = TensorBoardEvents(tmp_path)
    again.write(ROWS[:2])  # killed before it wrote the third, which it had saved
    again.write(ROWS)
    assert shown(tmp_path) == ALL


def test_a_tensorboard_that_runs_meanwhile_shows_no_epoch_twice(tmp_path):
    TensorBoardEvents(tmp_path).write(ROWS[:2])
    reader = EventAccumulator(str(tmp_path))
    assert shown(reader)["loss"] == {1: 2.25, 2: 1.75}
    TensorBoardEvents(tmp_path).write(ROWS)
    assert shown(reader) == ALL


def test_the_time_of_an_epoch_is_when_it_ended_also_when_it_is_written_again(tmp_path):
    TensorBoardEvents(tmp_path).write(ROWS)
    reader = EventAccumulator(str(tmp_path))
    reader.Reload()
    first, second, third = (event.wall_time for event in reader.Scalars("loss"))
    assert (second - first, third - second) == pytest.approx((8.5, 8.25), abs=1e-5)


@pytest.mark.parametrize("fault", ["ImportError", "TypeError"])  # as with another protobuf than it needs
def test_nothing_is_written_or_said_without_tensorboard(tmp_path, monkeypatch, capfd, fault):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "__init__.py").write_text(f"raise {fault}")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "out").mkdir()
    TensorBoardEvents(tmp_path / "out").write(ROWS)
    assert [*(tmp_path / "out").iterdir()] == []
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    with pytest.raises(StorageError, match=r"^[^\n]*cannot write: No such file or directory$"):
        TensorBoardEvents(tmp_path / "gone").write(ROWS)
