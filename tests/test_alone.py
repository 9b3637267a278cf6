"""One timing at a time on a computer: the lock, and what timers and commands make of it."""

import errno
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from threading import Event, Thread
from time import sleep

import pytest
from click.testing import CliRunner
from timing_plan import ScriptedTimer, scripted_artifact

import mvit2_search.measure.source as latencies
from fakes import macs_device, request, search
from mvit2_search.cli import cli
from mvit2_search.errors import BackendUnavailable
from mvit2_search.measure.devices.scripted import ScriptedDevice
from mvit2_search.measure.protocol import THIS_COMPUTER
from mvit2_search.search.events import Listener
from mvit2_search.store import lease
from mvit2_search.store.lease import locked
from mvit2_search.system.signals import Interrupt, Terminated

LOCK_PATH = lease.device_lock_path
REFERENCE = scripted_artifact("reference")
HOLD = "import sys; from pathlib import Path; from mvit2_search.store.lease import locked\n"
HOLD += "with locked(Path(sys.argv[1]), on_wait=print): print('held', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def lock(monkeypatch, tmp_path):
    """The computer's, in a place of its own."""
    path = tmp_path / "timing.lock"
    monkeypatch.setattr(lease, "device_lock_path", lambda key: path)
    return path


@contextmanager
def held(path):
    """Another process has the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        yield holder


@contextmanager
def held_until_waited_for(path, monkeypatch):
    """The same, until this process begins to wait for it."""
    with held(path) as holder:

        def released(path, *, on_wait, pause):
            return locked(path, on_wait=lambda who: (on_wait(who), holder.stdin.close()), pause=pause)

        monkeypatch.setattr(lease, "locked", released)
        yield holder


def silent(_):
    pass


def test_the_lock_is_free_after_an_end_an_error_and_a_kill(lock):
    with locked(lock, on_wait=silent):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o666
    with pytest.raises(KeyError), locked(lock, on_wait=silent):
        raise KeyError
    assert not lock.exists()
    with held(lock) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert lock.exists()
    waited = []
    with locked(lock, on_wait=waited.append):
        pass
    assert waited == []
    assert not lock.exists()


def test_every_user_may_open_the_file_whatever_the_umask_of_the_first(lock):
    before = os.umask(0o077)
    try:
        with locked(lock, on_wait=silent):
            assert stat.S_IMODE(lock.stat().st_mode) == 0o666
    finally:
        os.umask(before)


def test_those_that_wait_come_one_after_the_other_although_each_removes_the_file(lock):
    inside, most, order = [], [], []

    def one(number):
        for _ in range(20):
            with locked(lock, on_wait=silent):
                inside.append(number)
                most.append(len(inside))
                order.append(number)
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(4)))
    assert max(most) == 1
    assert len(order) == 80
    assert not lock.exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"pid": 1}', '{"pid": 7, "host": "a b", "since": "2026-01-01"}', "\xff"]
)
def test_nothing_that_another_user_writes_into_the_file_is_printed(lock, text):
    waited = []
    with held(lock) as holder:
        lock.write_text(text, encoding="latin-1")
        with locked(lock, on_wait=lambda who: (waited.append(who), holder.stdin.close())):
            pass
    assert waited == [None]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_lock_is_named(lock, make, monkeypatch, tmp_path, instant_export):
    make(lock)
    ran = measured(monkeypatch, tmp_path / "results")
    assert (ran.exit_code, ran.stderr.count("\n")) == (4, 1)
    assert "timing.lock: cannot be locked" in ran.stderr


@pytest.mark.parametrize("function", ["ftruncate", "pwrite"])
def test_a_full_disk_is_no_reason_not_to_time(lock, monkeypatch, tmp_path, instant_export, function):
    """Nothing but the name of who holds the lock is written to its file."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    ran = measured(monkeypatch, tmp_path / "results")
    assert ran.exit_code == 0, ran.output
    assert not lock.exists()


def test_a_system_without_file_locks_is_told_so(lock, monkeypatch, tmp_path, instant_export):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(BackendUnavailable, match="file locks"), locked(lock, on_wait=silent):
        pass
    ran = measured(monkeypatch, tmp_path / "results")
    assert (ran.exit_code, ran.stderr.count("\n")) == (4, 1)
    assert "file locks" in ran.stderr


def test_the_folder_is_everybodys_whatever_tmpdir_says(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/somewhere/of/mine")
    assert str(LOCK_PATH(THIS_COMPUTER)).startswith("/tmp/")


def measured(monkeypatch, results):
    monkeypatch.setattr(latencies, "make_device", lambda name: macs_device())
    command = ["measure", "mobilevitv2-0.75", "--device", "host", "--results", str(results)]
    return CliRunner().invoke(cli, command)


def test_a_command_waits_for_whoever_times_and_says_for_whom(lock, monkeypatch, tmp_path, instant_export):
    with held_until_waited_for(lock, monkeypatch) as holder:
        ran = measured(monkeypatch, tmp_path)
    assert ran.exit_code == 0, ran.output
    assert f"waiting for process {holder.pid} on " in ran.stderr
    assert ran.stderr.count("waiting") == 1
    assert "ms [" in ran.stdout


@pytest.mark.slow
def test_a_search_says_so_too(lock, monkeypatch, tmp_path, images):
    notes = []

    class Notes(Listener):
        def note(self, text):
            notes.append(text)

    with held_until_waited_for(lock, monkeypatch) as holder:
        search(request(tmp_path), listener=Notes())
    assert [str(holder.pid) in note for note in notes if "waiting" in note] == [True]


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("signals", "error"),
    [([signal.SIGTERM], Terminated), ([signal.SIGINT, signal.SIGINT], KeyboardInterrupt)],
)
def test_a_search_that_waits_ends_at_a_signal_and_leaves_the_lock_to_its_holder(
    lock, tmp_path, images, signals, error
):
    left = []

    class Ends(Listener):
        def note(self, text):
            if "waiting" in text:
                for number in signals:
                    signal.raise_signal(number)
                    sleep(0.05)

    with held(lock) as holder:
        with Interrupt(leave=left.append) as interrupt, pytest.raises(error):
            search(request(tmp_path), listener=Ends(), interrupt=interrupt)
        assert str(holder.pid) in lock.read_text()
        holder.stdin.close()
    assert left == []
    assert search(request(tmp_path)).fact("ended")


def timers_at_once(first, second):
    """Start `second` in the middle of what `first` times, and let `first` go on when `second` waits for it."""
    device, waits = ScriptedDevice(script=lambda a, i: 10.0), Event()
    whole, started = device.time, []

    def time(*given):
        if not started:
            started.append(Thread(target=lambda: second(lambda _: waits.set())))
            started[0].start()
            assert waits.wait(20)
        return whole(*given)

    device.time = time
    first(device)
    started[0].join(20)
    assert not started[0].is_alive()


def test_two_first_uses_at_once_time_the_reference_once(tmp_path):
    other = ScriptedDevice(script=lambda a, i: 99.0)
    found = []
    timers_at_once(
        lambda device: found.append(ScriptedTimer(device, tmp_path, REFERENCE)),
        lambda tell: found.append(ScriptedTimer(other, tmp_path, REFERENCE, tell=tell)),
    )
    assert other.passes == 0
    assert [timer.reference_ms for timer in found] == [10.0, 10.0]


@pytest.mark.parametrize("again", [False, True])
def test_what_another_process_measures_meanwhile_is_not_measured_again(tmp_path, again):
    other = ScriptedDevice(script=lambda a, i: 10.0)
    mine = ScriptedTimer(ScriptedDevice(script=lambda a, i: 10.0), tmp_path, REFERENCE)
    theirs = ScriptedTimer(other, tmp_path, REFERENCE)
    candidate, found = scripted_artifact("candidate"), []

    def first(device):
        mine._device = device
        found.append(mine.measure_artifact(candidate))

    def second(tell):
        theirs._lease._tell = tell
        found.append(theirs.measure_artifact(candidate, again=again))

    timers_at_once(first, second)
    assert (other.passes > 0) == again
    assert (found[0] == found[1]) != again


def test_what_others_learn_of_the_device_is_read_again(tmp_path):
    slow = ScriptedDevice(script=lambda a, i: 15.5)
    mine = ScriptedTimer(slow, tmp_path, REFERENCE)
    theirs = ScriptedTimer(ScriptedDevice(script=lambda a, i: 10.0), tmp_path, REFERENCE)
    theirs.measure_artifact(scripted_artifact("one"))
    assert "slow" in mine.measure_artifact(scripted_artifact("two")).flags
    assert ScriptedTimer(slow, tmp_path, REFERENCE).reference_ms == 10.0  # not overwritten by what `mine` knew
    assert mine.reference_ms == 15.5


def test_nothing_overlaps_across_folders_of_results(tmp_path):
    visits = []  # whose, in the order that they were made

    def one(number):
        device = ScriptedDevice(script=lambda a, i: 10.0)
        whole = device.time
        device.time = lambda *given: visits.append(number) or whole(*given)
        device.pause = lambda seconds: sleep(0.001)
        timer = ScriptedTimer(device, tmp_path / str(number), REFERENCE)
        for name in "abc":
            timer.measure_artifact(scripted_artifact(name))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(3)))
    assert len(list(groupby(visits))) <= 3 * 4  # what the reference takes, and three measurements of each
    assert len(visits) > 3 * 4
