"""Every error this package raises on purpose.

MVit2SearchError
├── SpecError            you asked for something impossible           (fix the YAML or the call; exit 2)
├── StudyConflict        the study is in use, or has other inputs     (wait, or name a new one;  exit 3)
├── DataError            the images are missing, broken or too few    (look at the named files;  exit 4)
├── StorageError         the study cannot be read or written          (disk, lock, permission;   exit 4)
├── BackendUnavailable   this machine lacks a tool or device          (install or connect it;    exit 4)
├── MeasurementError     the tool ran and the number is bad           (retry, then look;         exit 4)
└── TrainingError        the training gave no usable number           (look at the trial;        exit 1)

`ValueError`, `TypeError` and `AssertionError` never stand for any of these: they mean a bug in
this package. Errors of other libraries are translated where they enter, with `raise ... from err`.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class MVit2SearchError(Exception):
    """Base class: `except MVit2SearchError` catches everything above and nothing else."""

    exit_code = 1


class SpecError(MVit2SearchError):
    """An architecture, search space or setting contradicts itself or names something unknown."""

    exit_code = 2


class StudyConflict(MVit2SearchError):
    """Another driver holds the study, or its inputs differ from what was asked."""

    exit_code = 3


class DataError(MVit2SearchError):
    """The images cannot be used: none, one class, or too many that do not open."""

    exit_code = 4


class StorageError(MVit2SearchError):
    """The study's files cannot be read or written."""

    exit_code = 4


class BackendUnavailable(MVit2SearchError):
    """A device or exporter cannot run here; the message says what to install or plug in."""

    exit_code = 4


class MeasurementError(MVit2SearchError):
    """A measurement ran but must not be recorded."""

    exit_code = 4


class TrainingError(MVit2SearchError):
    """A training ran and gave no usable accuracy, for instance because the loss was not finite."""


@contextmanager
def translated(what: str, kinds: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Inside, another library's exception becomes a MeasurementError that says `what`, and why in one line.

    By default any exception but this package's: few libraries have a class of their own for all that they raise.
    """
    try:
        yield
    except kinds as err:
        if isinstance(err, MVit2SearchError) and kinds == (Exception,):
            raise
        raise MeasurementError(f"{what}: {first_line(err)}") from err


def first_line(err: BaseException) -> str:
    """What an error of another library says, in one line; its class where it says nothing."""
    text = str(err).strip()
    return text.splitlines()[0] if text else type(err).__name__
