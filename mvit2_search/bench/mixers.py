"""One token mixer alone, as a file that a device times."""

from pathlib import Path

import numpy as np
import torch

from mvit2_search.arch import Attention
from mvit2_search.export import Written, export_module, verify
from mvit2_search.models.attention import LinformerAttention, MultiHeadAttention, SeparableSelfAttention
from mvit2_search.models.formulations import mixer_for_export
from mvit2_search.records import DEFAULT_FORMULATION

DIM, HEADS = 512, 8  # figure 1 of arXiv:2206.02680


def export_mixer(attention: Attention, tokens: int, folder: Path, *, format: str) -> Written:
    """Export a mixer of 512 channels for `tokens` tokens, with random weights that are the same every time.

    Raises:
        MeasurementError: the exporter refuses it.
    """
    grid = (1, tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixer = _mixer(attention, grid)
    module, shape = mixer_for_export(mixer, grid, DEFAULT_FORMULATION)
    path = folder / f"{attention}-{tokens}.{format}"
    artifact = export_module(module, path, shape=shape, convention=f"{tokens} tokens of {DIM} channels")
    x_1 = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return Written(artifact=artifact, verify=lambda: verify(artifact, module, x_1))


def _mixer(
    attention: Attention, grid: tuple[int, int]
) -> SeparableSelfAttention | MultiHeadAttention | LinformerAttention:
    match attention:
        case "separable":
            return SeparableSelfAttention(DIM, grid)
        case "multi_head":
            return MultiHeadAttention(DIM, grid, HEADS)
        case "linformer":
            return LinformerAttention(DIM, grid, HEADS)
