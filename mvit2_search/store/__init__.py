"""A study's records, wherever they are kept, and who may write to them."""

from mvit2_search.store.folders import backup_path, database_path
from mvit2_search.store.lease import (
    Activity,
    Holder,
    driver_lock,
    find_holder,
    forget_activity,
    lock_path,
    read_activity,
    write_activity,
)
from mvit2_search.store.reader import StoredStudy, find_study, open_study
from mvit2_search.store.storage import Storage
from mvit2_search.store.study import Proposal, Study, create_study
