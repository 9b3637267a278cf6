"""Tables of names whose code is imported when it is used, and not before."""

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

from mvit2_search.errors import SpecError

Loaded_co = TypeVar("Loaded_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Entry(Generic[Loaded_co]):
    """Where something is: `package.module:name`. Subclasses add fields that are known without importing it."""

    where: str

    def load(self) -> Loaded_co:
        """Import the module and return what is called so in it."""
        loaded: Loaded_co = resolve_name(self.where)
        return loaded


EntryT = TypeVar("EntryT", bound=Entry[Any])


class Registry(dict[str, EntryT]):
    """Entries by name, in the order in which help and errors list them. Errors call a name `what`."""

    def __init__(self, what: str, entries: Mapping[str, EntryT]) -> None:
        super().__init__(entries)
        self._what = what

    def entry(self, name: str) -> EntryT:
        """The entry called `name`. Where there is none, raises SpecError, which lists those that exist."""
        if name not in self:
            raise SpecError(f"{self._what} {name!r}: expected one of {', '.join(self)}")
        return self[name]
