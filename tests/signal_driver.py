"""`mvit2-search run` on a fake device, with a proxy that takes its time: helper of test_signals.py.

Starts a run in a forked process for each line of JSON that it reads: prints its number, then its exit code. A run
ends as a process of its own does.

python signal_driver.py MODULE ...      these are imported before a run is forked
"""

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial

import mvit2_search.search.driver as driver
from fakes import FormulaProxy, fake_exporter, macs_device
from mvit2_search.cli import cli
from mvit2_search.measure.devices.scripted import ScriptedDevice


class SlowProxy(FormulaProxy):
    """A fifth of a second for each epoch; swallows what it can."""

    def run(self, *args, **kwargs):
        for score in super().run(*args, **kwargs):
            with suppress(BaseException):  # as callbacks of other libraries do
                time.sleep(0.1)
            yield score


class Stuck(FormulaProxy):
    """A training that never comes back."""

    def run(self, *args, **kwargs):
        print("stuck", flush=True)
        while True:
            with suppress(BaseException):
                time.sleep(60)
        yield


class SlowDevice(ScriptedDevice):
    """Half a second for each visit."""

    def time(self, candidate, reference, plan):
        print("timing", flush=True)
        time.sleep(0.5)
        return super().time(candidate, reference, plan)


proxies = {"usual": SlowProxy, "stuck": Stuck, "timing": FormulaProxy}


def wait_for_a_run():
    """What is asked, in the forked process of a run; this one ends where nothing more is asked."""
    for line in sys.stdin:
        if not (child := os.fork()):
            return json.loads(line)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def open_streams(files, new_session):
    """These files for stdin, stdout and stderr; a terminal among them is that of a new session."""
    if new_session:
        os.setsid()
    for number, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    for number, name in ((1, "stdout"), (2, "stderr")):  # as Python opens them at its start
        stream = open(number, "w", buffering=-1 if number == 1 else 1, closefd=False)  # noqa: SIM115
        stream.buffer.raw.name = f"<{name}>"
        setattr(sys, name, stream)


for name in sys.argv[1:]:
    importlib.import_module(name)
asked = wait_for_a_run()
open_streams(asked["files"], asked["new_session"])
if asked["nohup"]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.argv[1:] = asked["words"]
proxy, device = proxies[asked["mode"]](), macs_device()
if asked["mode"] == "timing":
    device = SlowDevice(script=device.script)
driver.run_search = partial(driver.run_search, source=device, proxy=proxy, exporter=fake_exporter)
cli(prog_name="mvit2-search")
