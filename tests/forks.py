"""Work in a forked process, which never outlives it: what dies there leaves the tests alone."""

import os
from collections.abc import Callable


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; its number. The exit code is 1 where it raised."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as err:
            print(f"{type(err).__name__}: {err}", flush=True)
            os._exit(1)
        os._exit(0)
    return child


def exit_code(child: int) -> int:
    """Of a forked process, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_fork(work: Callable[[], None]) -> int:
    """The exit code of a forked process that runs `work`."""
    return exit_code(fork(work))
