"""Devices, by the name that the command line and the records use."""

import platform
from importlib import import_module

from mvit2_search.errors import SpecError
from mvit2_search.latency.protocol import Device

DEVICES = {
    "host": "mvit2_search.latency.host:HostDevice",
    "coreml": "mvit2_search.latency.coreml:CoreMLDevice",
}


def default_device() -> str:
    """What `--device auto` means here: Core ML on a Mac, ONNX Runtime elsewhere."""
    return "coreml" if platform.system() == "Darwin" else "host"


def make_device(name: str) -> Device:
    """The device called `name`, which may be `auto`.

    Raises:
        SpecError: there is none of that name.
    """
    name = default_device() if name == "auto" else name
    if name not in DEVICES:
        raise SpecError(f"--device {name!r}: expected auto, {' or '.join(DEVICES)}")
    module, cls = DEVICES[name].split(":")
    device: Device = getattr(import_module(module), cls)()
    return device
