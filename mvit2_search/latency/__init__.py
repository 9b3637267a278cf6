"""Latencies: devices behind one seam, and the protocol that turns samples into a number."""

from mvit2_search.latency.alone import Tell
from mvit2_search.latency.devices import DEVICES, default_device, device_names, make_device
from mvit2_search.latency.measurements import Measurements
from mvit2_search.latency.meter import Meter
from mvit2_search.latency.protocol import Device, TimingPlan

__all__ = [
    "DEVICES",
    "Device",
    "Measurements",
    "Meter",
    "Tell",
    "TimingPlan",
    "default_device",
    "device_names",
    "make_device",
]
