"""Passports of what is timed on this machine, with its processor's name.

x86 and a few others give a `model name`. ARM gives codes of implementer and part, which many boards share: there,
the cores and the board together name a computer. A virtual machine may hide both; then a digest of the core's
features tells it apart.
"""

import platform
import re
import subprocess
from collections import ChainMap
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from time import sleep

from mvit2_search.measure.devices.registry import DeviceAddress
from mvit2_search.measure.protocol import PROTOCOL, THIS_COMPUTER
from mvit2_search.records import Passport, Precision

Fields = dict[str, str]

# Names by the codes of implementer and part; a code that is not there stays a code. A name that is added changes
# the passports of its chips: studies that were begun on them then say that the device has changed.
_ARM_FILE = Path(__file__).with_name("arm_cores.csv")
_ARM_CORES = dict(line.split(",") for line in _ARM_FILE.read_text(encoding="utf-8").splitlines())
_VIRTUAL = re.compile(r"KVM|QEMU")  # names of no chip: every host gives the same
_VIRTUAL_PART = "0x000"  # Apple's, of whatever chip
_NAMES = ("model name", "Model Name", "cpu model", "uarch", "cpu")  # x86, LoongArch, MIPS, RISC-V, PowerPC
_CODES = (  # where there is no name
    ("vendor_id", "cpu family", "model", "stepping"),  # x86 in some sandboxes
    ("mvendorid", "marchid", "mimpid"),  # RISC-V
)
_BOARDS = ("Model", "machine")  # Raspberry Pi; MIPS, PowerPC
_SYSTEMS = ("Hardware", "system type")  # of a family of boards


def chip() -> str:
    """The processor's name as the system gives it, with the board where that does not tell two apart."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return asked.stdout.strip() or platform.machine()
    maker = " ".join(_line(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")).strip()
    name = chip_name(_read("/proc/cpuinfo"), board=_line("/proc/device-tree/model"), maker=maker)
    return name or platform.machine()


def _read(path: str) -> str:
    """What the system says there; nothing where it does not."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _line(path: str) -> str:
    """The same without what cannot be printed: the device tree ends its texts with a zero."""
    return "".join(filter(str.isprintable, _read(path))).strip()


def chip_name(cpuinfo: str, *, board: str = "", maker: str = "") -> str:
    """The cores, a plus between those of several kinds, and the board but on x86: `Cortex-A72 r0p3 (...)`.

    Args:
        cpuinfo: what `/proc/cpuinfo` says; where that is nothing, so is the name.
        board: what the device tree calls the board.
        maker: what the firmware calls the maker and the product.
    """
    blocks = list(_blocks(cpuinfo))
    fields = dict(ChainMap(*blocks))  # the first of each
    cores = " + ".join(_arm_cores(blocks) or _named_cores(blocks) or _coded_core(fields, cpuinfo))
    if "flags" in fields and cores:  # x86: the name says it all
        return cores
    places = [*(fields.get(key, "") for key in _BOARDS), board, *(fields.get(key, "") for key in _SYSTEMS), maker]
    place = next(filter(None, places), "")
    return f"{cores} ({place})" if cores and place not in cores else cores or place


def _blocks(cpuinfo: str) -> Iterator[Fields]:
    """The keys and values of each core, and of what stands before and after them."""
    block: Fields = {}
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if not key or key == "processor":
            yield block
            block = {}
        if key and value:
            block[key] = value
    yield block


def _arm_cores(blocks: list[Fields]) -> list[str]:
    """Every kind of core once, by name; 32-bit kernels give a `model name` besides, of the architecture alone."""
    return sorted({_arm_core(block) for block in blocks if "CPU part" in block})


def _arm_core(block: Fields) -> str:
    part = block["CPU part"].lower()
    codes = f"{block.get('CPU implementer', '0x??').lower()} {part}"
    name = _ARM_CORES.get(codes, codes)
    variant, revision = block.get("CPU variant", "").lower(), block.get("CPU revision", "")
    if re.fullmatch(r"0x[0-9a-f]+", variant) and revision:
        name = f"{name} r{int(variant, 16)}p{revision}"
    return f"{name} {_abilities(block)}" if part == _VIRTUAL_PART else name


def _named_cores(blocks: list[Fields]) -> list[str]:
    """By the first kind of name that there is; sandboxes that hide it say `unknown`."""
    for key in _NAMES:
        if names := {_named_core(block, key) for block in blocks if block.get(key, "unknown") != "unknown"}:
            return sorted(names)
    return []


def _named_core(block: Fields, key: str) -> str:
    if not _VIRTUAL.search(block[key]):
        return block[key]
    codes = [block[code] for code in ("vendor_id", "cpu family", "model") if code in block]
    return " ".join([block[key], *codes, _abilities(block)])


def _abilities(block: Fields) -> str:
    """Six digits for what a core is able to do, in whatever order that is listed."""
    listed = sorted(block.get("flags", block.get("Features", "")).split())
    return sha256(" ".join(listed).encode()).hexdigest()[:6]


def _coded_core(fields: Fields, cpuinfo: str) -> list[str]:
    if mainframe := re.search(r"^processor 0:.*machine = (\w+)", cpuinfo, re.MULTILINE):  # s390
        return [f"{fields.get('vendor_id', '')} {mainframe[1]}".strip()]
    for keys in _CODES:
        if found := [fields[key] for key in keys if key in fields]:
            return [" ".join(found)]
    return []


def system() -> str:
    """Operating system and version."""
    if platform.system() == "Darwin":
        build = subprocess.run(["sw_vers", "-buildVersion"], capture_output=True, text=True).stdout.strip()
        return f"macOS {platform.mac_ver()[0]} {build}".strip()
    return f"{platform.system()} {platform.release()}"


class LocalDevice:
    """What the devices of this computer share: one lease, and passports with its chip and system."""

    format: str
    lease = THIS_COMPUTER
    pause = staticmethod(sleep)
    words: str  # what it is, for reports
    package: str  # that runs the networks
    compute_units = "CPU"
    precision: Precision = "float32"
    threads = 1  # 0: the runtime's own choice

    def __init__(self, address: DeviceAddress) -> None:
        self.address, self.name = address, str(address)

    def passport(self) -> Passport:
        return Passport(
            device=self.words,
            chip=chip(),
            system=system(),
            runtime=f"{self.package} {version(self.package)}",
            compute_units=self.compute_units,
            precision=self.precision,
            batch=1,
            threads=self.threads,
            protocol=PROTOCOL,
        )
