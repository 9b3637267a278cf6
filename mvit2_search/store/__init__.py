"""The study on disk: one Optuna study in one SQLite file, and who may write to it."""

from mvit2_search.store.lock import driver_lock
from mvit2_search.store.sqlite import database_path
from mvit2_search.store.study import Proposal, Study, create_study, open_study

__all__ = ["Proposal", "Study", "create_study", "database_path", "driver_lock", "open_study"]
