"""The epochs of a full training for TensorBoard, where that is installed."""

import os
import time
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.records import EpochRow

_SHOWN = ("loss", "learning_rate", "score")


class TensorBoardEvents:
    """Files in the folder of a training, which TensorBoard shows; the step is the epoch.

    Each process writes one with all epochs, which tells TensorBoard to forget what it read in earlier ones: so no
    epoch is shown twice, or missing, however those ended. Earlier files stay: a TensorBoard that reads them
    does not get over it if they go.
    """

    def __init__(self, folder: Path) -> None:
        self._written = 0
        self._path = folder / f"events.out.tfevents.{time.time_ns():020}.{os.getpid()}"  # read in this order

    def write(self, rows: Sequence[EpochRow]) -> None:
        """Add those of all epochs so far that the file lacks; raises StorageError if the disk takes no more."""
        if not _is_importable():
            return
        try:
            with self._path.open("ab") as file:
                file.write(_records(rows, self._written))
        except OSError as err:
            raise StorageError(f"{self._path}: cannot write: {err.strerror}") from err
        self._written = len(rows)


def _is_importable() -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            import tensorboard.summary.writer.record_writer  # noqa: F401
    except Exception:  # not installed, or made for another protobuf
        return False
    return True


def _records(rows: Sequence[EpochRow], written: int) -> bytes:
    """What follows in a file with so many of the rows, as a TFRecord for each event."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    now, events = time.time(), []
    if not written:
        start = SessionLog(status=SessionLog.START)  # forget all steps from this one on
        events = [
            Event(wall_time=now, file_version="brain.Event:2"),
            Event(wall_time=now, step=0, session_log=start),
        ]
    for i, row in enumerate(rows[written:], written):
        values = [Summary.Value(tag=name, simple_value=getattr(row, name)) for name in _SHOWN]
        ended = now - sum(later.seconds for later in rows[i + 1 :])
        events.append(Event(wall_time=ended, step=row.epoch, summary=Summary(value=values)))
    buffer = BytesIO()
    for event in events:
        RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
