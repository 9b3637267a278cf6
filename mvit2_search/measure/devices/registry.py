"""The devices there are, and how they are named: `host`, `coreml`, `coreml:ne`."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from mvit2_search.errors import SpecError
from mvit2_search.measure.protocol import Device
from mvit2_search.system.registry import Entry, Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceAddress:
    """Which device: its kind, and what comes after the first colon: a setting, an identifier, a URL.

    >>> DeviceAddress.parse("coreml:ne")
    DeviceAddress(kind='coreml', option='ne')
    >>> str(DeviceAddress.parse("agent:http://mac.local:8710"))
    'agent:http://mac.local:8710'
    """

    kind: str
    option: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, colon, option = text.partition(":")
        return cls(kind=kind, option=option if colon else None)

    def __str__(self) -> str:
        return self.kind if self.option is None else f"{self.kind}:{self.option}"


@dataclass(frozen=True, slots=True)
class DeviceKind(Entry[Callable[[DeviceAddress], Device]]):
    """Where the class of a kind of devices is, and the options that an address of this kind may have."""

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
    """The device at the address `name`, which may be `auto`.

    Raises:
        SpecError: there is no such device; the message lists those that exist.
    """
    address = DeviceAddress.parse(default_device() if name == "auto" else name)
    kind = DEVICES.get(address.kind)
    if kind is None or address.option not in (None, *kind.options):
        raise SpecError(f"`device` {name!r}: expected auto, {', '.join(device_names())}")
    return kind.load()(address)
