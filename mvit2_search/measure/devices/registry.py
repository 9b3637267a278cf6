"""Devices, by the name that the command line and the records use: `host`, `coreml`, `coreml:ne`."""

import platform
from dataclasses import dataclass
from importlib import import_module

from mvit2_search.errors import SpecError
from mvit2_search.measure.protocol import Device


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Where a device's class is, and the compute units that may follow its name after a colon.

    The class is called with one of `units`, the first where none is named, or with nothing where it has none.
    """

    where: str
    units: tuple[str, ...] = ()


DEVICES = {
    "host": Entry(where="mvit2_search.measure.devices.host:HostDevice"),
    "executorch": Entry(where="mvit2_search.measure.devices.executorch:ExecuTorchDevice"),
    "coreml": Entry(
        where="mvit2_search.measure.devices.coreml.device:CoreMLDevice", units=("all", "cpu", "gpu", "ne")
    ),
    "coreai": Entry(where="mvit2_search.measure.devices.coreai:CoreAIDevice"),
}


def device_names() -> list[str]:
    """Every name that `make_device` takes besides `auto`."""
    return [name for key, entry in DEVICES.items() for name in (key, *(f"{key}:{unit}" for unit in entry.units))]


def default_device() -> str:
    """What `auto` means here: Core ML on a Mac, ONNX Runtime elsewhere."""
    return "coreml" if platform.system() == "Darwin" else "host"


def make_device(name: str) -> Device:
    """The device called `name`, which may be `auto`.

    Raises:
        SpecError: there is none of that name.
    """
    name = default_device() if name == "auto" else name
    if name not in device_names():
        raise SpecError(f"`device` {name!r}: expected auto, {', '.join(device_names())}")
    key, _, unit = name.partition(":")
    entry = DEVICES[key]
    module, cls = entry.where.split(":")
    device: Device = getattr(import_module(module), cls)(*(entry.units and (unit or entry.units[0],)))
    return device
