"""The features of a network that its latency is predicted from."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import BLOCKS, KINDS, network_operators
from mvit2_search.arch.head import Head

WORK = (
    "networks",
    "operators",
    *(f"{kind} GMACs" for kind in KINDS[:-1]),
    *(f"{block} Melements" for block in BLOCKS),
)


def work(archs: Sequence[ArchConfig], lanes: int, head: Head) -> np.ndarray:
    """Amounts of work, each of which costs time: one row per architecture and one column per name in `WORK`.

    Args:
        lanes: channel counts are rounded up to a multiple of it. A runtime that computes so many channels at once
            takes as long for a partial group as for a full one.
    """
    return np.array([_work(_padded(arch, lanes), head) for arch in archs])


def shape(archs: Sequence[ArchConfig]) -> np.ndarray:
    """Channel counts and depths, one row per architecture: networks with similar rows have similar latencies."""
    return np.array([_shape(arch) for arch in archs], dtype=float)


def _work(arch: ArchConfig, head: Head) -> list[float]:
    macs_of, elements_of = dict.fromkeys(KINDS, 0), dict.fromkeys(BLOCKS, 0)
    operators = network_operators(arch, head)
    for operator in operators:
        macs_of[operator.kind] += operator.macs
        elements_of[operator.block] += operator.elements
    arithmetic = [macs_of[kind] / 1e9 for kind in KINDS[:-1]]
    return [1.0, float(len(operators)), *arithmetic, *(elements_of[block] / 1e6 for block in BLOCKS)]


def _shape(arch: ArchConfig) -> list[float]:
    hidden = [sum(row) / len(row) for row in arch.expanded_channels]
    depths = [len(row) for row in arch.expanded_channels]
    blocks = (*arch.attention_dims, *arch.ffn_dims, *arch.attention_layers)
    return [arch.stem_channels, *arch.stage_channels, *hidden, *depths, *blocks]


def _padded(arch: ArchConfig, lanes: int) -> ArchConfig:
    def up(counts: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(-(-count // lanes) * lanes for count in counts)

    if lanes == 1:
        return arch
    return replace(
        arch,
        stem_channels=up((arch.stem_channels,))[0],
        stage_channels=up(arch.stage_channels),
        expanded_channels=tuple(map(up, arch.expanded_channels)),
        attention_dims=up(arch.attention_dims),
        ffn_dims=up(arch.ffn_dims),
        final_channels=up((arch.final_channels,))[0],
    )
