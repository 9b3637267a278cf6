"""Ctrl-C and SIGTERM, whenever they come."""

import json
import os
import random
import select
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mvit2_search.cli.interrupt import _Stopping
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
    _Stopping("saved", "stopping").say_stopping()
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


# What a run imports after it listens to signals.
LATER = [f"mvit2_search.{name}" for name in ("api", "cli.run", "cli.progress", "report.figures", "report.html")]
LATER += ["mvit2_search.task.classification", "alembic.command", "plotly.io", "sqlalchemy.orm"]


@contextmanager
def forking(*modules):
    """A process that has imported the modules and forks the runs, one at a time."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    command = [sys.executable, SCRIPT, *modules]
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def driver():
    with forking(*LATER) as process:
        yield process


@pytest.fixture
def importing():
    """Its runs still have to import."""
    with forking() as process:
        yield process


class Run:
    """A search in a process of its own, as soon as it listens to signals."""

    def __init__(self, driver, tmp_path, images, mode="usual", terminal=None, nohup=False):
        asked = ["--space", "blocks", "--data", images, "--latency-budget", "mobilevitv2-0.75", "--study", "test"]
        asked += ["--results", tmp_path / "results", "--trials", "4", "--confirm-seeds", "2"]
        self.output, self.errors = tmp_path / "output", tmp_path / "errors"
        for file in (self.output, self.errors):
            file.write_text("")
        files = [terminal] * 3 if terminal else [os.devnull, str(self.output), str(self.errors)]
        words = ["run", *map(str, asked)]
        more = {"words": words, "files": files, "new_session": bool(terminal), "nohup": nohup}
        driver.stdin.write(json.dumps({"mode": mode, **more}).encode() + b"\n")
        self.driver, self.pid = driver, int(driver.stdout.readline())
        until(lambda: catches(self.pid, signal.SIGTERM))

    def send_signal(self, number):
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, number)

    def wait(self, timeout):
        assert select.select([self.driver.stdout], [], [], timeout)[0], "still running"
        self.returncode = int(self.driver.stdout.readline())
        return self.returncode

    def communicate(self, timeout):
        self.wait(timeout)
        return self.output.read_text(), self.errors.read_text()


def catches(pid, number):
    """Whether a handler is installed, as Linux tells."""
    status = Path(f"/proc/{pid}/status").read_text()
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
def test_a_termination_at_any_moment_is_143_and_the_study_is_sound(driver, importing, tmp_path, images):
    """From before the first import on, in trainings and between them, in the confirmation and at the end."""
    rng = random.Random(0)
    finished = 0
    for i in range(12):
        process = Run(driver if i % 2 else importing, tmp_path, images)
        time.sleep(rng.uniform(0, 5) if i % 2 else rng.uniform(0, 1))
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
    done = Run(driver, tmp_path, images).communicate(timeout=120)
    assert "Study test is finished" in done[0]


@linux
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("signals", "code"), [([signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGINT], 130)])
def test_what_swallows_exceptions_and_never_returns_is_left_after_some_seconds(
    tmp_path, images, driver, signals, code
):
    process = Run(driver, tmp_path, images, "stuck")
    until(lambda: "stuck" in process.output.read_text())
    for number in signals:
        process.send_signal(number)
        time.sleep(0.3)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Finished trials and trainings are saved. To continue:\n" in printed
    assert_sound(tmp_path / "results" / "test")


@linux
@pytest.mark.slow
@pytest.mark.parametrize(("signals", "code"), [([signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGINT], 130)])
def test_a_run_that_times_a_network_ends_after_the_visit(tmp_path, images, driver, signals, code):
    process = Run(driver, tmp_path, images, "timing")
    until(lambda: process.output.read_text().count("timing") > 3)  # in a trial
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == code, errors
    assert process.output.read_text().count("timing") < 8
    assert_sound(tmp_path / "results" / "test")


@linux
@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_but_not_under_nohup(driver, tmp_path, images):
    process = Run(driver, tmp_path, images)
    process.send_signal(signal.SIGHUP)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (129, "")
    assert "Terminated. Finished trials and trainings are saved. To continue:\n" in printed
    ours, theirs = os.openpty()
    process = Run(driver, tmp_path, images, terminal=os.ttyname(theirs))
    os.close(theirs)
    until((tmp_path / "results" / "test" / "scratch").exists)
    os.close(ours)
    assert process.wait(timeout=60) == 129  # nobody is there to be told
    assert not (tmp_path / "results" / "test" / "scratch").exists()
    process = Run(driver, tmp_path, images, nohup=True)
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
