"""The machine, for passports."""

import platform
import subprocess
from pathlib import Path

from mvit2_search.latency.chips import chip_name
from mvit2_search.latency.protocol import PROTOCOL
from mvit2_search.records import Passport, Precision


def passport_here(
    *, device: str, runtime: str, compute_units: str, precision: Precision, threads: int
) -> Passport:
    """Of a runtime on this machine, timed by this version's protocol at batch 1."""
    return Passport(
        device=device,
        chip=chip(),
        system=system(),
        runtime=runtime,
        compute_units=compute_units,
        precision=precision,
        batch=1,
        threads=threads,
        protocol=PROTOCOL,
    )


def chip() -> str:
    """The processor's name as the system gives it, with the board where that does not tell two apart."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return asked.stdout.strip() or platform.machine()
    name = chip_name(
        _read("/proc/cpuinfo"),
        board=_line("/proc/device-tree/model"),
        maker=" ".join(
            filter(None, (_line(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")))
        ),
    )
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


def system() -> str:
    """Operating system and version."""
    if platform.system() == "Darwin":
        build = subprocess.run(["sw_vers", "-buildVersion"], capture_output=True, text=True).stdout.strip()
        return f"macOS {platform.mac_ver()[0]} {build}".strip()
    return f"{platform.system()} {platform.release()}"
