"""The machine, for passports."""

import platform
import subprocess
from pathlib import Path

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
    """The processor's name as the system gives it."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return asked.stdout.strip() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def system() -> str:
    """Operating system and version."""
    if platform.system() == "Darwin":
        build = subprocess.run(["sw_vers", "-buildVersion"], capture_output=True, text=True).stdout.strip()
        return f"macOS {platform.mac_ver()[0]} {build}".strip()
    return f"{platform.system()} {platform.release()}"
