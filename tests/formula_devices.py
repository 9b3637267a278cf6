"""Devices that the benchmarks of orders and predictions find by name, each a formula of the network."""

from contextlib import contextmanager
from types import SimpleNamespace

import predictor_bench.run as predict_bench
import pytest

import mvit2_search.measure.rank as sources
from fakes import measurement
from mvit2_search.arch.cost import network_cost, network_operators
from mvit2_search.errors import MeasurementError
from mvit2_search.measure.devices.scripted import ScriptedDevice


def silent(_):
    pass


def macs_ms(arch):
    return network_cost(arch).macs / 1e8


def elements_ms(arch):
    return sum(o.elements for o in network_operators(arch)) / 1e6


def mixed_ms(arch):
    return elements_ms(arch) + macs_ms(arch)


def formula_devices(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Timers of devices by name, each a formula; a network called as in `fails` cannot be timed."""
    passport = ScriptedDevice(script=lambda a, i: 1.0).passport()
    laws = {"macs": macs_ms, "elements": elements_ms, "mixed": mixed_ms}
    rig = SimpleNamespace(laws=laws, fails=set(), flags={}, asked=[], again_factor=1.0)

    @contextmanager
    def open_timer(device, *, results, head, formulation, tell):
        def measure(arch, *, again=False):
            rig.asked.append((arch.key, again))
            if arch.key in rig.fails:
                raise MeasurementError("does not load")
            factor = rig.again_factor if again else 1.0
            return measurement(laws[device](arch) * factor, flags=rig.flags.get(arch.key, ()))

        yield SimpleNamespace(measure=measure, passport=passport)

    monkeypatch.setattr(sources, "open_timer", open_timer)
    monkeypatch.setattr(sources, "make_device", lambda name: name)
    monkeypatch.setattr(predict_bench, "open_timer", open_timer)
    return rig
