"""A process and all that it starts, watched by Linux: the sockets that it asks for and the files that it writes.

Python's audit hooks do not see what compiled libraries do. A seccomp filter does: the kernel stops a process at
the system calls below, tells us and lets it go on. That needs no rights and no compiler.

    python tests/watched.py CHANNEL COMMAND ...    # installs the filter, sends its listener, becomes COMMAND
"""

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# By machine: AUDIT_ARCH of linux/audit.h and the numbers of system calls.
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP, _SOCKET = {"x86_64": 317, "aarch64": 277}, {"x86_64": 41, "aarch64": 198}
# Which of the arguments are the folder and the path that are written.
_OPENS = {"x86_64": {2: (None, 0), 257: (0, 1)}, "aarch64": {56: (0, 1)}}  # the flags follow the path
_WRITES: dict[str, dict[int, tuple[int | None, int]]] = {
    "x86_64": {
        76: (None, 0),  # truncate
        82: (None, 1),  # rename
        83: (None, 0),  # mkdir
        85: (None, 0),  # creat
        86: (None, 1),  # link
        88: (None, 1),  # symlink
        133: (None, 0),  # mknod
        258: (0, 1),  # mkdirat
        259: (0, 1),  # mknodat
        264: (2, 3),  # renameat
        265: (2, 3),  # linkat
        266: (1, 2),  # symlinkat
        316: (2, 3),  # renameat2
    },
    "aarch64": {33: (0, 1), 34: (0, 1), 36: (1, 2), 37: (2, 3), 38: (2, 3), 45: (None, 0), 276: (2, 3)},
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of the filter
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # in what it looks at
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_CALL = struct.Struct("=QIIiIQ6Q")
_AT_CWD = -100
_NO_NEW_PRIVILEGES, _SET_FILTER, _NEW_LISTENER = 38, 1, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What a process did."""

    returncode: int
    stdout: str
    stderr: str
    sockets: list[str]  # families, "AF_INET"
    written: list[Path]  # whole paths, also of what is gone by now


def run_watched(command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path) -> Watched:
    """Run `command` until it and all that it started have ended.

    Raises:
        OSError: there are no such filters here, or they are not permitted.
    """
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        ThreadPoolExecutor(1) as beside,
        subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), *map(str, command)],
            env=env,
            cwd=cwd,
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        theirs.close()
        _, listeners, _, _ = socket.recv_fds(ours, 1, 1)
        if not listeners:
            raise OSError(process.communicate()[1].strip().splitlines()[-1])
        watching = beside.submit(_watch, listeners[0])
        stdout, stderr = process.communicate()
        sockets, written = watching.result()
    return Watched(returncode=process.returncode, stdout=stdout, stderr=stderr, sockets=sockets, written=written)


def _watch(listener: int) -> tuple[list[str], list[Path]]:
    """Sockets and written files, until nobody is left to make such a call."""
    machine = platform.machine()
    sockets: list[str] = []
    written: list[Path] = []
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    try:
        while poll.poll()[0][1] & select.POLLIN:
            call = bytearray(_CALL.size)
            with suppress(FileNotFoundError):  # it was killed meanwhile
                fcntl.ioctl(listener, _RECEIVE, call)
                identity, task, _, number, _, _, *arguments = _CALL.unpack(call)
                if number == _SOCKET[machine]:
                    sockets.append(socket.AddressFamily(arguments[0]).name)
                else:
                    folder, path = (_OPENS[machine] | _WRITES[machine])[number]
                    whole = _whole(task, folder if folder is None else arguments[folder], arguments[path])
                    written += [] if whole.is_dir() else [whole]  # what is there is not made
                fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", identity, 0, 0, _CONTINUE))
    finally:
        os.close(listener)  # whoever still waits for an answer gets an error
    return sockets, written


def _whole(task: int, folder: int | None, address: int) -> Path:
    with Path(f"/proc/{task}/mem").open("rb", buffering=0) as memory:
        text = os.pread(memory.fileno(), 4096, address).partition(b"\0")[0]
    beside = folder is None or ctypes.c_int(folder).value == _AT_CWD
    start = Path(f"/proc/{task}/cwd" if beside else f"/proc/{task}/fd/{folder}").readlink()
    return Path(os.path.normpath(start / os.fsdecode(text)))


def _filter(machine: str) -> bytes:
    """The program that the kernel runs for each call: tell of some, and of opening if that is to write."""
    calls = [(number, None) for number in (_SOCKET[machine], *_WRITES[machine])]
    calls += [(number, path + 1) for number, (_, path) in _OPENS[machine].items()]
    steps = [(_LOAD, 0, 0, _ARCH_AT), (_EQUAL, 1, 0, _ARCH[machine]), (_RETURN, 0, 0, _ALLOW)]
    for number, flags in calls:
        body = [(_RETURN, 0, 0, _NOTIFY)]
        if flags is not None:
            look = (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * flags)
            body = [look, (_ANY_BIT, 0, 1, _WRITING), *body, (_RETURN, 0, 0, _ALLOW)]
        steps += [(_LOAD, 0, 0, _NUMBER_AT), (_EQUAL, 0, len(body), number), *body]
    return b"".join(struct.pack("=HBBI", *step) for step in [*steps, (_RETURN, 0, 0, _ALLOW)])


def _become(channel: int, command: list[str]) -> None:
    """Install the filter, send its listener, run `command` instead of this."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCH:
        sys.exit(f"no filter for {sys.platform} on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    code = ctypes.create_string_buffer(_filter(machine))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(code)))
    listener = libc.syscall(_SECCOMP[machine], _SET_FILTER, _NEW_LISTENER, program)
    if listener < 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    with socket.socket(fileno=channel) as ours:
        socket.send_fds(ours, [b"."], [listener])
    os.close(listener)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
