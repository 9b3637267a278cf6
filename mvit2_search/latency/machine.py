"""The machine in words, for passports."""

import platform
import subprocess
from pathlib import Path


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
