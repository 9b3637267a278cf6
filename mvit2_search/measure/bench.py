"""Benchmarks of a device: the published networks, and the token mixers in networks and alone.

Latencies are measured by the protocol of searches and kept beside theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mvit2_search.analysis.correlation import LEAST_POINTS, Slope, log_log_slope
from mvit2_search.arch import ArchConfig, Attention, published_networks
from mvit2_search.arch.cost import MIXER_COSTS, Cost, network_cost
from mvit2_search.arch.head import IMAGENET
from mvit2_search.errors import MeasurementError
from mvit2_search.export.formats import export_module
from mvit2_search.export.untrained import Written
from mvit2_search.export.verify import verify
from mvit2_search.measure.protocol import Device
from mvit2_search.measure.timer import NetworkTimer, Tell, open_timer
from mvit2_search.models.attention import LinformerAttention, MultiHeadAttention, SeparableSelfAttention
from mvit2_search.models.formulations import mixer_for_export
from mvit2_search.records import DEFAULT_FORMULATION, AboutMixer, Failed, FormulationName, Measurement, Passport

DIM, HEADS = 512, 8  # figure 1 of arXiv:2206.02680
MIXERS: tuple[Attention, ...] = ("multi_head", "linformer", "separable")  # the order of the paper's table 1
TOKENS = (64, 128, 256, 512, 1024, 1448, 2048, 2896, 4096)  # octaves, half octaves where the slope is fitted
SLOPE_FROM = 1024  # tokens; below, fixed costs hide how the latency grows

Timing = Measurement | Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkTiming:
    """A whole network: its cost by formula, and its latency or why there is none."""

    name: str
    cost: Cost
    timing: Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsBench:
    """All published networks on one device, in one formulation."""

    passport: Passport
    formulation: FormulationName
    networks: list[NetworkTiming]


@dataclass(frozen=True, kw_only=True, slots=True)
class MixerTiming:
    """One mixer alone at one number of tokens."""

    attention: Attention
    tokens: int
    macs: int
    timing: Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionBench:
    """`networks` are MobileViTv2-1.0, named after its mixer."""

    passport: Passport
    networks: list[NetworkTiming]
    mixers: list[MixerTiming]

    def slope(self, attention: Attention) -> Slope | None:
        """Of log latency over log tokens from 1,024 tokens on; None if too few of them were timed."""
        points = [
            (row.tokens, row.timing.latency_ms)
            for row in self.mixers
            if row.attention == attention and row.tokens >= SLOPE_FROM and isinstance(row.timing, Measurement)
        ]
        return log_log_slope(*zip(*points, strict=True)) if len(points) >= LEAST_POINTS else None


def bench_models(device: Device, *, results: Path, formulation: FormulationName, tell: Tell) -> ModelsBench:
    """Time every published network that is not known in `results`; one that cannot be timed comes with a reason.

    Raises:
        BackendUnavailable: the device cannot be used from here, or went away.
        StorageError: `results` cannot be read or written.
    """
    with open_timer(device, results=results, head=IMAGENET, formulation=formulation, tell=tell) as timer:
        networks = [_time_network(timer, name, arch, tell) for name, arch in published_networks().items()]
        return ModelsBench(passport=timer.passport, formulation=formulation, networks=networks)


def bench_attention(device: Device, *, results: Path, tell: Tell) -> AttentionBench:
    """Time the three mixers in one backbone, then alone over 64 to 4,096 tokens. Like `bench_models` otherwise."""
    with open_timer(device, results=results, head=IMAGENET, formulation=DEFAULT_FORMULATION, tell=tell) as timer:
        archs = {mixer: ArchConfig.mobilevitv2(1.0, attention=mixer) for mixer in MIXERS}
        networks = [_time_network(timer, mixer, arch, tell) for mixer, arch in archs.items()]
        mixers = [_time_mixer(timer, mixer, tokens, tell) for mixer in MIXERS for tokens in TOKENS]
        return AttentionBench(passport=timer.passport, networks=networks, mixers=mixers)


def try_timing(name: str, measure: Callable[[], Measurement], tell: Tell) -> Timing:
    """What `measure` gives, or why it failed, so that one failure does not stop a benchmark."""
    try:
        timing = measure()
    except MeasurementError as err:
        tell(f"{name}: {err}")
        return Failed(reason="measurement", message=str(err))
    tell(f"{name}: {timing}")
    return timing


def export_mixer(attention: Attention, tokens: int, folder: Path, *, format: str) -> Written:
    """Export a mixer of 512 channels for `tokens` tokens, with random weights that are the same every time.

    Raises:
        MeasurementError: the exporter refuses it.
    """
    grid = (1, tokens)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would change that of GPUs too
        mixer = _mixer(attention, grid)
    module, shape = mixer_for_export(mixer, grid, DEFAULT_FORMULATION)
    path = folder / f"{attention}-{tokens}.{format}"
    artifact = export_module(module, path, shape=shape, convention=f"{tokens} tokens of {DIM} channels")
    x_1 = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return Written(artifact=artifact, verify=lambda: verify(artifact, module, x_1))


def _time_network(timer: NetworkTimer, name: str, arch: ArchConfig, tell: Tell) -> NetworkTiming:
    timing = try_timing(name, lambda: timer.measure(arch), tell)
    return NetworkTiming(name=name, cost=network_cost(arch, IMAGENET), timing=timing)


def _time_mixer(timer: NetworkTimer, attention: Attention, tokens: int, tell: Tell) -> MixerTiming:
    def measure() -> Measurement:
        about = AboutMixer(mixer=attention, tokens=tokens, channels=DIM)
        return timer.measure_export(
            lambda folder: export_mixer(attention, tokens, folder, format=timer.format), about=about
        )

    timing = try_timing(f"{attention}, {tokens} tokens", measure, tell)
    macs = MIXER_COSTS[attention](DIM, 1, tokens).macs
    return MixerTiming(attention=attention, tokens=tokens, macs=macs, timing=timing)


def _mixer(
    attention: Attention, grid: tuple[int, int]
) -> SeparableSelfAttention | MultiHeadAttention | LinformerAttention:
    if attention == "separable":
        return SeparableSelfAttention(DIM, grid)
    return (MultiHeadAttention if attention == "multi_head" else LinformerAttention)(DIM, grid, HEADS)
