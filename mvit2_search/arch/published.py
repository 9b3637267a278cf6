"""The published networks of the MobileViT family by name, and their published figures, each with its source.

`published.csv` holds every published figure that this program shows. The first row of a network is its authors'
headline: the accuracy and, where they print one, the latency. Rows of other sources follow, also where they
disagree or say that the network did not run.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvit2_search.arch.config import V1_SIZES, ArchConfig
from mvit2_search.errors import SpecError

PUBLISHED_WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def published_name(width: float) -> str:
    """`mobilevitv2-0.75`: the published width's name in budgets, tables and reports."""
    return f"mobilevitv2-{width:g}" if width % 1 else f"mobilevitv2-{width:.1f}"


def published(name: str) -> ArchConfig:
    """The published network called `name`, such as `mobilevitv1-xs`; raises SpecError, which lists all names."""
    networks = published_networks()
    if name not in networks:
        raise SpecError(f"{name!r}: expected one of {', '.join(networks)}")
    return networks[name]


def published_networks() -> dict[str, ArchConfig]:
    """All published networks by name, MobileViTv2 first."""
    second = {published_name(width): ArchConfig.mobilevitv2(width) for width in PUBLISHED_WIDTHS}
    return second | {f"mobilevitv1-{size}": ArchConfig.mobilevitv1(size) for size in V1_SIZES}


_NUMBERS = {"width": float, "input_px": int, "params": int, "macs": int, "top1_pct": float, "latency_ms": float}


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Figures that one source gives of one network, or of one token mixer in the family's backbone.

    As printed, rounding and mistakes included; None where the source gives none.

    Attributes:
        model: a name in `arch.published_networks`; None in a comparison of token mixers.
        width: the multiplier, of MobileViTv2.
        attention: the token mixer, in such a comparison only.
        top1_pct: of ImageNet-1k's validation images.
        note: what else must be known to read the figures.
    """

    model: str | None
    width: float | None
    attention: str | None
    input_px: int | None
    params: int | None
    macs: int | None
    top1_pct: float | None
    latency_ms: float | None
    device: str | None
    source: str
    note: str | None


def read_published() -> list[Published]:
    """Every row of `published.csv`, in its order."""
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        return [_row(cells) for cells in csv.DictReader(file)]


def published_by_network() -> dict[str, list[Published]]:
    """The rows of each network by its name, the authors' headline first."""
    rows: dict[str, list[Published]] = {}
    for row in read_published():
        if row.model is not None:
            rows.setdefault(row.model, []).append(row)
    return rows


def published_by_attention() -> dict[str, Published]:
    """The MobileViTv2 paper's comparison of token mixers, by mixer."""
    return {row.attention: row for row in read_published() if row.attention is not None}


def _row(cells: dict[str, str]) -> Published:
    known: dict[str, Any] = {name: text or None for name, text in cells.items()}
    for name, number in _NUMBERS.items():
        known[name] = known[name] and number(known[name])
    return Published(**known)
