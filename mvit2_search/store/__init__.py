"""The study on disk: one Optuna study in one SQLite file, and who may write to it."""

from mvit2_search.store.lock import Holder, driver_lock, find_holder, lock_path
from mvit2_search.store.sqlite import database_path
from mvit2_search.store.study import Proposal, Study, create_study, open_study

__all__ = [
    "Holder",
    "Proposal",
    "Study",
    "create_study",
    "database_path",
    "driver_lock",
    "find_holder",
    "lock_path",
    "open_study",
]
