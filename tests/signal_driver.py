"""`mvit2-search run` on a fake device, with a proxy that takes its time: helper of test_signals.py.

python signal_driver.py MODE run --space ...      MODE: usual; stuck: a training never comes back
"""

import sys
import time
from contextlib import suppress
from functools import partial

import mvit2_search.search.driver as driver
from fakes import FormulaProxy, fake_exporter, macs_device
from mvit2_search.cli import cli


class SlowProxy(FormulaProxy):
    """A fifth of a second for each epoch; swallows what it can."""

    def run(self, *args, **kwargs):
        for score in super().run(*args, **kwargs):
            with suppress(BaseException):  # as callbacks of other libraries do
                time.sleep(0.1)
            yield score


class Stuck(FormulaProxy):
    def run(self, *args, **kwargs):
        print("stuck", flush=True)
        while True:
            with suppress(BaseException):
                time.sleep(60)
        yield


proxies = {"usual": SlowProxy, "stuck": Stuck}
mode = sys.argv.pop(1)
driver.run_search = partial(driver.run_search, source=macs_device(), proxy=proxies[mode](), exporter=fake_exporter)
cli(prog_name="mvit2-search")
