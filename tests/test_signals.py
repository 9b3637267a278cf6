"""Ctrl-C and SIGTERM, whenever they come."""

import fcntl
import os
import random
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from mvit2_search.cli.run import _say_stopping
from mvit2_search.records import Failed
from mvit2_search.store import open_study
from mvit2_search.system.signals import STOPPED, TERMINATED, Interrupt, Terminated

SCRIPT = Path(__file__).parent / "signal_driver.py"


def until(true):
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_signal_sets_a_flag_and_raises_only_where_it_is_looked_at():
    called = []
    with Interrupt(lambda: called.append("stopping")) as interrupt:
        interrupt.check()
        signal.raise_signal(signal.SIGINT)
        until(lambda: interrupt.requested)
        interrupt.check()
        signal.raise_signal(signal.SIGINT)
        until(lambda: interrupt.code == STOPPED)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        signal.raise_signal(signal.SIGTERM)
        until(lambda: interrupt.code == TERMINATED)
        with pytest.raises(Terminated):
            interrupt.check()
        with pytest.raises(Terminated):  # again, should somebody have swallowed it
            interrupt.check()
    assert called == ["stopping"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_a_callback_that_fails_hides_no_later_signal():
    failed = []

    def fail():
        failed.append(1)
        raise AttributeError("fileno")

    with Interrupt(fail) as interrupt:
        signal.raise_signal(signal.SIGINT)
        until(lambda: failed)
        signal.raise_signal(signal.SIGTERM)
        until(lambda: interrupt.code == TERMINATED)


def test_nothing_is_said_where_the_errors_are_closed(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    _say_stopping()
    monkeypatch.undo()
    command = [sys.executable, "-c", CLOSED_ERRORS]
    done = subprocess.run(" ".join([*map(shlex.quote, command), "2>&-"]), shell=True, timeout=60)
    assert done.returncode == TERMINATED


CLOSED_ERRORS = """
import os, signal, sys, time
from mvit2_search.cli import run
def search(options, interrupt):
    assert sys.stderr is None
    os.kill(os.getpid(), signal.SIGINT)
    while not interrupt.requested:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        if interrupt.code:
            return interrupt.code
        time.sleep(0.001)
    return 0
run._run = search
run.run(["--space", "width", "--data", "x", "--latency-budget", "1ms", "--study", "s"])
"""


def test_what_came_at_the_last_moment_is_known_afterwards():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
    assert interrupt.code == TERMINATED


def test_a_block_that_does_not_end_is_left(monkeypatch):
    monkeypatch.setattr("mvit2_search.system.signals._GRACE_S", {STOPPED: 0.01, TERMINATED: 0.02})
    left = []
    with Interrupt(leave=left.append):
        signal.raise_signal(signal.SIGTERM)
        until(lambda: left)
    assert left == [TERMINATED]


def test_a_block_that_ends_is_not_left(monkeypatch):
    monkeypatch.setattr("mvit2_search.system.signals._GRACE_S", {STOPPED: 0.2, TERMINATED: 0.2})
    left = []
    with Interrupt(leave=left.append):
        signal.raise_signal(signal.SIGTERM)
    time.sleep(0.4)
    assert left == []


def started(tmp_path, images, mode="usual", **options):
    """A search in a process of its own, as soon as it listens to signals."""
    asked = ["--space", "blocks", "--data", images, "--latency-budget", "mobilevitv2-0.75", "--study", "test"]
    asked += ["--results", tmp_path / "results", "--trials", "4", "--confirm-seeds", "2"]
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, SCRIPT, mode, "run", *asked]
    process = subprocess.Popen(command, text=True, **outputs | options)
    until(lambda: catches(process, signal.SIGTERM))
    return process


def catches(process, number):
    """Whether a handler is installed, as Linux tells."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) & 1 << (number - 1))


def assert_sound(folder):
    """What is there can be read, and nothing failed but what was interrupted."""
    if (folder / "study.db").exists():
        try:
            trials = open_study(folder).trials()
        except Exception as err:  # it ended before there was anything
            assert "begun" in str(err) or "no study" in str(err) or "no such table" in str(err)  # noqa: PT017
            return
        assert {t.outcome.reason for t in trials if isinstance(t.outcome, Failed)} <= {"interrupted"}


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@linux
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_termination_at_any_moment_is_143_and_the_study_is_sound(tmp_path, images):
    """From before the first import on, in trainings and between them, in the confirmation and at the end."""
    rng = random.Random(0)
    finished = 0
    for i in range(12):
        process = started(tmp_path, images)
        time.sleep(rng.uniform(0, 6) if i % 2 else rng.uniform(0, 1))
        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=60)
        if process.returncode in (0, 1) and "is finished" in printed:
            finished += 1  # it had ended before
            continue
        assert process.returncode == 143, printed + errors
        assert "Terminated. Finished trials and trainings are saved. To continue:\n" in printed
        assert "Traceback" not in errors
        assert_sound(tmp_path / "results" / "test")
    assert finished < 6
    done = started(tmp_path, images).communicate(timeout=120)
    assert "Study test is finished" in done[0]


@linux
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("signals", "code"), [([signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGINT], 130)])
def test_what_swallows_exceptions_and_never_returns_is_left_after_some_seconds(tmp_path, images, signals, code):
    process = started(tmp_path, images, "stuck")
    until(lambda: "stuck" in process.stdout.readline())
    for number in signals:
        process.send_signal(number)
        time.sleep(0.3)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Finished trials and trainings are saved. To continue:\n" in printed
    assert_sound(tmp_path / "results" / "test")


@linux
@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_but_not_under_nohup(tmp_path, images):
    process = started(tmp_path, images)
    process.send_signal(signal.SIGHUP)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (129, "")
    assert "Terminated. Finished trials and trainings are saved. To continue:\n" in printed
    ours, theirs = os.openpty()
    process = started(
        *(tmp_path, images),
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    until((tmp_path / "results" / "test" / "scratch").exists)
    os.close(ours)
    assert process.wait(timeout=60) == 129  # nobody is there to be told
    assert not (tmp_path / "results" / "test" / "scratch").exists()
    process = started(tmp_path, images, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    assert "Study test is finished" in process.communicate(timeout=120)[0]


@linux
@pytest.mark.slow
def test_a_worker_ends_with_the_process_that_started_it(tmp_path):
    """However that ends, and with what the worker started."""
    child = (
        "import time; from mvit2_search.measure.devices.coreml.process import end_with_parent; end_with_parent(); "
    )
    child += "import subprocess; subprocess.Popen(['sleep', '300']); open('up', 'w').close(); time.sleep(300)"
    parent = (
        "from pathlib import Path\n"
        "from mvit2_search.measure.devices.coreml.process import run_worker\n"
        f"run_worker(['-c', {child!r}], Path.cwd(), {{}}, environment={{}}, deadline_s=300)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    until(lambda: (tmp_path / "errors").exists())
    until(lambda: (tmp_path / "up").exists() or process.poll() is not None)
    process.kill()
    process.wait()
    until(lambda: not working_in(tmp_path))


def working_in(folder):
    found = []
    for one in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if one.readlink() == folder:
                found.append(one)
        except OSError:  # it ended, or is another user's
            continue
    return found
