"""Which chip it is, from what Linux says on real boards: `tests/data/cpuinfo`, a core or two of every kind each.

Recorded by others: mailing lists of the kernel, reports to lscpu, users' bug reports. Serial numbers are zeros.
"""

import json
import platform
import re
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner

from mvit2_search.cli import cli
from mvit2_search.measure.devices import machine as chip
from mvit2_search.measure.devices.machine import chip_name
from mvit2_search.measure.devices.registry import make_device

RECORDED = Path(__file__).parent / "data" / "cpuinfo"
NAMES = {
    "raspberry-pi-3-32-bit": "Cortex-A53 r0p4 (Raspberry Pi 3 Model B Plus Rev 1.3)",
    "raspberry-pi-4": "Cortex-A72 r0p3 (Raspberry Pi 4 Model B Rev 1.1)",
    "raspberry-pi-5": "Cortex-A76 r4p1 (Raspberry Pi 5 Model B Rev 1.0)",
    "graviton2": "Neoverse-N1 r3p1 (Amazon EC2 c6g.xlarge)",
    "ampere-altra": "Neoverse-N1 r3p1 (WIWYNN Mt.Jade)",
    "graviton3": "Neoverse-V1 r1p1 (Amazon EC2 c7g.xlarge)",
    "rk3588": "Cortex-A55 r2p0 + Cortex-A76 r4p0 (Radxa ROCK 5B)",
    "snapdragon-660": "0x51 0x800 r10p2 (Qualcomm Technologies, Inc SDM660)",
    "snapdragon-765g": "Cortex-A55 r1p0 + Cortex-A76 r4p0 (Qualcomm Technologies, Inc SM7250)",
    "visionfive2": "sifive,u74-mc (StarFive VisionFive 2 v1.3B)",
    "mt7621": "MIPS 1004Kc V2.15 (MikroTik RouterBOARD 760iGS)",
    "power7": "POWER7 (CHRP IBM,8233-E8B)",
    "z15": "IBM/S390 8561",
    "loongson-3a6000": "Loongson-3A6000-HV (generic-loongson-machine)",
    "xeon": "Intel(R) Xeon(R) Platinum 8269CY CPU @ 2.50GHz",
    "sandbox": "GenuineIntel 6 85 unknown",
}
TREES = {"rk3588": "Radxa ROCK 5B\0", "visionfive2": "StarFive VisionFive 2 v1.3B\0"}
PRODUCTS = {
    "graviton2": ("Amazon EC2", "c6g.xlarge"),
    "graviton3": ("Amazon EC2", "c7g.xlarge"),
    "ampere-altra": ("WIWYNN", "Mt.Jade"),
    "xeon": ("Alibaba Cloud", "Alibaba Cloud ECS"),
}


def files_of(board):
    """What a system says, by path."""
    vendor, product = PRODUCTS.get(board, ("", ""))
    return {
        "/proc/cpuinfo": (RECORDED / f"{board}.txt").read_text(),
        "/proc/device-tree/model": TREES.get(board, ""),
        "/sys/class/dmi/id/sys_vendor": f"{vendor}\n",
        "/sys/class/dmi/id/product_name": f"{product}\n",
    }


@pytest.fixture
def on(monkeypatch):
    """Be on a board, or on one of which nothing can be read."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")

    def move(board):
        found = {} if board is None else files_of(board)
        monkeypatch.setattr(chip, "_read", lambda path: found.get(path, ""))

    return move


@pytest.mark.parametrize("board", NAMES)
def test_a_board_has_its_name(on, board):
    on(board)
    assert chip.chip() == NAMES[board]


def test_every_recorded_file_has_a_name_and_no_two_boards_share_a_passport(on):
    boards = [path.stem for path in RECORDED.glob("*.txt")]
    passports = {}
    for board in boards:
        on(board)
        passports[board] = make_device("host").passport().digest
    same = [pair for pair in combinations(sorted(boards), 2) if passports[pair[0]] == passports[pair[1]]]
    assert same == [("raspberry-pi-4", "raspberry-pi-4-32-bit")]  # the system tells these two apart
    assert len(boards) == len(NAMES) + 1


def test_two_boards_with_the_same_cores_are_told_apart_by_the_least_that_is_known():
    cores = (RECORDED / "graviton2.txt").read_text()
    names = [
        chip_name(cores),
        chip_name(cores, board="Ampere Mt. Jade"),
        chip_name(cores, maker="GIGABYTE R272-P30-JG"),
        chip_name(cores + "Hardware\t: Ampere(R) Altra(R) Processor\n"),
        chip_name(cores + "Model\t\t: Somebody's Board\n"),
        chip_name(cores.replace("0x3", "0x4")),
        chip_name(cores.replace("0xd0c", "0xd8e")),
    ]
    assert len(set(names)) == len(names)
    assert names[0] == "Neoverse-N1 r3p1"
    assert chip_name("CPU part\t: 0xd08\nCPU variant\t: none\nCPU revision\t: 3\n") == "0x?? 0xd08"
    assert names[-1] == "0x41 0xd8e r3p1"


VIRTUAL_ARM = "CPU implementer\t: 0x61\nCPU variant\t: 0x0\nCPU part\t: 0x000\nCPU revision\t: 0\nFeatures\t: "
VIRTUAL_X86 = "vendor_id\t: {}\ncpu family\t: 15\nmodel\t\t: 6\nmodel name\t: {}\nflags\t\t: {}\n"


@pytest.mark.parametrize(
    ("chips", "shown"),
    [
        ([f"{VIRTUAL_ARM}fp asimd uscat ssbs", f"{VIRTUAL_ARM}fp asimd uscat i8mm bf16 sme"], "0x61 0x000 r0p0 "),
        (
            [
                VIRTUAL_X86.format("GenuineIntel", "Common KVM processor", "fpu sse2"),
                VIRTUAL_X86.format("AuthenticAMD", "Common KVM processor", "fpu sse2"),
                VIRTUAL_X86.format("AuthenticAMD", "Common KVM processor", "fpu sse2 avx2"),
                VIRTUAL_X86.format("AuthenticAMD", "QEMU Virtual CPU version 2.5+", "fpu sse2 avx2"),
            ],
            " 15 6 ",
        ),
    ],
    ids=["arm", "x86"],
)
def test_virtual_machines_of_different_chips_are_told_apart(chips, shown):
    names = [chip_name(chip, maker="Somebody's Virtual Platform") for chip in chips]
    assert len(set(names)) == len(names)
    assert all(shown in name for name in names)
    turned = [re.sub(r"(flags|Features)(\s*: )(.*)", _turned, chip) for chip in chips]
    assert [chip_name(f"{chip}\n\n{chip}", maker="Somebody's Virtual Platform") for chip in turned] == names


def _turned(line):
    return line[1] + line[2] + " ".join(line[3].split()[::-1])


def test_codes_are_the_same_in_upper_case():
    upper = "CPU implementer\t: 0x41\nCPU variant\t: 0xA\nCPU part\t: 0xD4F\nCPU revision\t: 1\n"
    assert chip_name(upper) == chip_name(upper.lower().replace("cpu", "CPU")) == "Neoverse-V2 r10p1"


def test_the_board_of_the_kernel_stays_whether_a_container_hides_the_rest_or_not():
    cpuinfo = (RECORDED / "raspberry-pi-4.txt").read_text()
    assert chip_name(cpuinfo) == chip_name(cpuinfo, board="Raspberry Pi 4 Model B Rev 1.1", maker="Unknown")


def test_the_device_tree_says_more_than_the_family_of_boards_and_that_more_than_the_firmware():
    cores = "CPU implementer\t: 0x41\nCPU variant\t: 0x2\nCPU part\t: 0xd05\nCPU revision\t: 0\n"
    family = f"{cores}\nHardware\t: Rockchip RK3588\n"
    assert chip_name(family, board="Radxa ROCK 5B") == "Cortex-A55 r2p0 (Radxa ROCK 5B)"
    assert chip_name(family, maker="Some PC") == "Cortex-A55 r2p0 (Rockchip RK3588)"


def test_the_order_and_the_number_of_cores_say_nothing():
    text = (RECORDED / "rk3588.txt").read_text()
    blocks = text.strip().split("\n\n")
    assert chip_name("\n\n".join(blocks[::-1])) == chip_name(text) == chip_name("\n\n".join([*blocks, blocks[0]]))


@pytest.mark.parametrize("text", ["", "nonsense", "processor\t: 0\n", "model name\t:\n", "\x00\xff: \x00"])
def test_where_nothing_is_said_the_architecture_is(on, monkeypatch, text):
    assert chip_name(text) == ""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    on(None)
    assert chip.chip() == "riscv64"


def test_a_system_without_these_files_is_no_error(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD")
    monkeypatch.setattr(chip, "Path", lambda path: Path("/nowhere") / path.lstrip("/"))
    assert chip.chip() == platform.machine()


@pytest.mark.parametrize("error", [PermissionError, NotADirectoryError, OSError])
def test_what_may_not_be_read_says_nothing(monkeypatch, error):
    def refuse(*_, **__):
        raise error("no")

    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "read_text", refuse)
    assert chip.chip() == platform.machine()


def test_devices_are_listed_with_the_board(on):
    on("raspberry-pi-5")
    found = {row["name"]: row for row in json.loads(CliRunner().invoke(cli, ["devices", "--json"]).stdout)}
    assert "Cortex-A76 r4p1 (Raspberry Pi 5 Model B Rev 1.0)" in found["host"]["about"]
