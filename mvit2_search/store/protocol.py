"""The one seam that all records of a study pass through, wherever they are kept."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from mvit2_search.errors import StorageError
from mvit2_search.store.database import Contents, Snapshot

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


class Storage(Protocol):
    """Where the records of one study are: Optuna's tables, in a file or on a database server.

    Optuna writes them; reading is by SQL. Implementations promise:

    - Construction opens nothing.
    - Reading imports no Optuna, changes nothing, and waits for no writer.
    - What reading finds wrong is a StorageError whose message begins with `name`. Of damage it says what to do.

    Attributes:
        name: for messages; without a password.
        study_name: which of Optuna's studies in the database; None for the only one, whatever its name.
    """

    @property
    def name(self) -> str: ...

    @property
    def study_name(self) -> str | None: ...

    def reading(self) -> AbstractContextManager[Snapshot]:
        """The study at one moment, also while a driver writes to it."""

    def read_checked(self) -> Contents | None:
        """All facts and trials, once they are known to be sound; None where nothing has been recorded yet."""

    def open(self, found: Contents | None) -> RDBStorage:
        """Optuna's storage, to write to; its tables are made if need be. Errors are Optuna's and SQLAlchemy's own.

        Args:
            found: what `read_checked` gave.
        """

    def close(self, opened: RDBStorage) -> None:
        """What `open` gave is not used any more."""

    def writing(self, name: str, text: str) -> AbstractContextManager[None]:
        """To be held while Optuna writes a record or fact, so that `read_checked` notices damage to it later.

        Args:
            name: for people.
            text: the JSON that Optuna writes.
        """

    def back_up(self) -> None:
        """Keep a copy of the study as it is now, where nobody else does.

        Raises:
            StorageError: that cannot be done; the copy of before stays.
        """

    def refusal(self, what: str) -> StorageError:
        """The refusal to go on because `what` is damaged; it says what can be restored, and how."""
