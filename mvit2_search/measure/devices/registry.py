"""The devices there are, and how they are named: `host`, `coreml`, `coreml:ne`."""

import platform
from collections.abc import Callable
from dataclasses import dataclass

from mvit2_search.errors import SpecError
from mvit2_search.measure.protocol import Device
from mvit2_search.system.registry import Entry, Registry


@dataclass(frozen=True, slots=True)
class DeviceKind(Entry[Callable[[str], Device]]):
    """Where a class of devices is, made from a device's name, and what may follow the kind and a colon in it."""

    options: tuple[str, ...] = ()


DEVICES = Registry(
    "`device`",
    {
        "host": DeviceKind("mvit2_search.measure.devices.cpu:HostDevice"),
        "executorch": DeviceKind("mvit2_search.measure.devices.cpu:ExecuTorchDevice"),
        "coreml": DeviceKind(
            "mvit2_search.measure.devices.coreml.device:CoreMLDevice", options=("all", "cpu", "gpu", "ne")
        ),
        "coreai": DeviceKind("mvit2_search.measure.devices.coreai:CoreAIDevice"),
    },
)


def device_names() -> list[str]:
    """Every name that `make_device` takes besides `auto`."""
    return [name for key, kind in DEVICES.items() for name in (key, *(f"{key}:{one}" for one in kind.options))]


def default_device() -> str:
    """What `auto` means here: Core ML on a Mac, ONNX Runtime elsewhere."""
    return "coreml" if platform.system() == "Darwin" else "host"


def make_device(name: str) -> Device:
    """The device called `name`, which may be `auto`.

    Raises:
        SpecError: there is no such device; the message lists those that exist.
    """
    if name == "auto":
        name = default_device()
    if name not in device_names():
        raise SpecError(f"`device` {name!r}: expected auto, {', '.join(device_names())}")
    return DEVICES[name.partition(":")[0]].load()(name)
