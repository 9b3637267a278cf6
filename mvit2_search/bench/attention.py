"""The token mixers, timed here: whole networks that differ in nothing else, and each mixer alone."""

from dataclasses import dataclass
from pathlib import Path

from mvit2_search.arch import ArchConfig, Attention
from mvit2_search.bench.mixers import DIM, export_mixer
from mvit2_search.bench.slope import LEAST_POINTS, Slope, log_log_slope
from mvit2_search.bench.timings import CLASSES, NetworkTiming, Timing, time_network, told
from mvit2_search.complexity import MIXER_COSTS
from mvit2_search.latency import Device, Tell
from mvit2_search.records import DEFAULT_FORMULATION, AboutMixer, Measurement, Passport
from mvit2_search.timer import Timer, open_timer

MIXERS: tuple[Attention, ...] = ("multi_head", "linformer", "separable")  # the order of the paper's table 1
TOKENS = (64, 128, 256, 512, 1024, 1448, 2048, 2896, 4096)  # octaves, half octaves where the slope is fitted
SLOPE_FROM = 1024  # tokens; below, fixed costs hide how the latency grows


@dataclass(frozen=True, kw_only=True, slots=True)
class MixerTiming:
    """One mixer alone at one number of tokens."""

    attention: Attention
    tokens: int
    macs: int
    timing: Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionBench:
    """`networks` are MobileViTv2-1.0 by the name of its mixer."""

    passport: Passport
    networks: list[NetworkTiming]
    mixers: list[MixerTiming]

    def slope(self, attention: Attention) -> Slope | None:
        """Of log latency over log tokens from 1,024 tokens on; None where too few of them were timed."""
        points = [
            (row.tokens, row.timing.latency_ms)
            for row in self.mixers
            if row.attention == attention and row.tokens >= SLOPE_FROM and isinstance(row.timing, Measurement)
        ]
        if len(points) < LEAST_POINTS:
            return None
        tokens, latencies = zip(*points, strict=True)
        return log_log_slope(tokens, latencies)


def bench_attention(device: Device, *, results: Path, tell: Tell) -> AttentionBench:
    """Time the three mixers in one backbone, then alone over 64 to 4,096 tokens.

    What cannot be timed is among the results with the reason.

    Raises:
        BackendUnavailable: the device cannot be used from here, or went away.
        StorageError: `results` cannot be read or written.
    """
    with open_timer(
        device, results=results, num_classes=CLASSES, formulation=DEFAULT_FORMULATION, tell=tell
    ) as timer:
        networks = [
            time_network(timer, mixer, ArchConfig.mobilevitv2(1.0, attention=mixer), tell) for mixer in MIXERS
        ]
        mixers = [_time_mixer(timer, mixer, tokens, tell) for mixer in MIXERS for tokens in TOKENS]
        return AttentionBench(passport=timer.meter.passport, networks=networks, mixers=mixers)


def _time_mixer(timer: Timer, attention: Attention, tokens: int, tell: Tell) -> MixerTiming:
    timing = told(
        f"{attention}, {tokens} tokens",
        lambda: timer.measure_export(
            lambda folder: export_mixer(attention, tokens, folder, format=timer.format),
            about=AboutMixer(mixer=attention, tokens=tokens, channels=DIM),
        ),
        tell,
    )
    macs = MIXER_COSTS[attention](DIM, 1, tokens).macs
    return MixerTiming(attention=attention, tokens=tokens, macs=macs, timing=timing)
