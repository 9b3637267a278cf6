"""Passports of what is timed on this machine."""

import platform
import subprocess

from mvit2_search.measure.devices.chip import chip
from mvit2_search.measure.protocol import PROTOCOL
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


def system() -> str:
    """Operating system and version."""
    if platform.system() == "Darwin":
        build = subprocess.run(["sw_vers", "-buildVersion"], capture_output=True, text=True).stdout.strip()
        return f"macOS {platform.mac_ver()[0]} {build}".strip()
    return f"{platform.system()} {platform.release()}"
