"""Whether one device orders networks as another does.

Each side is a source of latencies: a device here, kept measurements, an estimate, or a paper.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit2_search.analysis.correlation import LEAST_NETWORKS, RankCorrelation, rank_correlation, residuals
from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import IMAGENET
from mvit2_search.arch.published import Published, published_by_network
from mvit2_search.errors import SpecError
from mvit2_search.measure.bench import try_timing
from mvit2_search.measure.devices.registry import make_device
from mvit2_search.measure.timer import Tell, open_timer
from mvit2_search.predict.estimate import make_estimate
from mvit2_search.records import DEFAULT_FORMULATION, Measurement, Passport, device_sentence
from mvit2_search.space import draw_up_to, load_space
from mvit2_search.store.folders import LATENCIES
from mvit2_search.store.measurements import Measurements

SECOND_VERSION = "published, MobileViTv2 only"


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        words: what it is, for people.
        kind: measured, predicted or published, which never share a column.
        latency_ms: of a network, by its name and architecture; None if the source has none.
        known: the networks that it has besides the published ones; None if it can be asked for any.
        passport: of the device, if this process measures.
    """

    name: str
    words: str
    kind: str
    latency_ms: Callable[[str, ArchConfig], float | None]
    known: tuple[ArchConfig, ...] | None = None
    passport: Passport | None = None


def _side(name: str, results: Path, tell: Tell, opened: ExitStack) -> Side:
    """The side called `name`: a device, `cache:DIGEST`, `estimate:iphone12` or `published:iphone12`.

    A device stays open as long as `opened`.
    """
    match name.partition(":")[0]:
        case "estimate":
            return _estimate(name)
        case "published":
            return _published(name)
        case "cache":
            return _cache(name, results)
    device = make_device(name)
    timer = opened.enter_context(
        open_timer(device, results=results, head=IMAGENET, formulation=DEFAULT_FORMULATION, tell=tell)
    )

    def latency_ms(network: str, arch: ArchConfig) -> float | None:
        timing = try_timing(f"{name}, {network}", lambda: timer.measure(arch), tell)
        return timing.latency_ms if isinstance(timing, Measurement) and _sound(timing) else None

    words = device_sentence(timer.passport)
    return Side(name=name, words=words, kind="measured", latency_ms=latency_ms, passport=timer.passport)


def _sound(measurement: Measurement) -> bool:
    """Whether it may be compared: a ratio that did not settle orders nothing."""
    return not {"unsettled", "drift"} & set(measurement.flags)


def _estimate(name: str) -> Side:
    estimate = make_estimate(name)
    words = f"Predicted, never measured: {estimate.description}."
    return Side(name=name, words=words, kind="predicted", latency_ms=lambda _, arch: estimate.middle_ms(arch))


def _published(name: str) -> Side:
    """Of several figures for one network the first is taken: the authors' own."""
    device = name.removeprefix("published:")
    rows = [
        (network, row)
        for network, rows in published_by_network().items()
        for row in rows
        if row.device is not None and row.latency_ms is not None
    ]
    figures: dict[str, Published] = {}
    for network, row in rows:
        if _plain(row.device) == _plain(device):
            figures.setdefault(network, row)
    if not figures:
        devices = sorted({_plain(row.device) for _, row in rows})
        raise SpecError(f"{name!r}: nothing is published for {device!r}; devices are {', '.join(devices)}")
    sources = "; ".join(dict.fromkeys(row.source for row in figures.values()))
    return Side(
        name=name,
        words=f"Published for {next(iter(figures.values())).device}, not measured here: {sources}.",
        kind="published",
        latency_ms=lambda network, _: figures[network].latency_ms if network in figures else None,
        known=(),
    )


def _plain(device: str | None) -> str:
    return (device or "").lower().replace(" ", "")


def _cache(name: str, results: Path) -> Side:
    digest = name.removeprefix("cache:")
    held = sorted((results / LATENCIES).glob("*-*"))
    folders = [folder for folder in held if digest and folder.name.startswith(digest)]
    if len(folders) != 1:
        names = ", ".join(folder.name for folder in held) or "none"
        raise SpecError(f"{name!r}: expected the passport of one device in {results}: {names}")
    latencies_ms = {
        about.arch: measurement.latency_ms
        for about, measurement in Measurements(folders[0]).networks()
        if (about.head, about.formulation) == (IMAGENET, DEFAULT_FORMULATION) and _sound(measurement)
    }
    return Side(
        name=name,
        words=f"Measured earlier, passport {folders[0].name.split('-')[0]}: {len(latencies_ms)} networks.",
        kind="measured",
        latency_ms=lambda _, arch: latencies_ms.get(arch),
        known=tuple(latencies_ms),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One network with its latency from either source."""

    network: str
    arch: ArchConfig
    macs: int
    a_ms: float
    b_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The networks of one kind that both sources have, and how alike they order them.

    Attributes:
        predicted: whether either side is.
        width_alone: whether the networks differ in nothing but their width.
        plain: of the latencies; None with fewer than three networks, like the others.
        beyond_macs: of what multiply-adds leave unexplained on either side (a straight line of logarithms).
        macs_alone: of multiply-adds and the second source: what a count gives without any device.
    """

    networks: str
    pairs: list[Pair]
    predicted: bool
    width_alone: bool = False
    plain: RankCorrelation | None = None
    beyond_macs: RankCorrelation | None = None
    macs_alone: RankCorrelation | None = None

    @property
    def remark(self) -> str:
        """What the correlation is evidence of, in words."""
        if self.plain is None:
            return f"both have {len(self.pairs)} of these networks; {LEAST_NETWORKS} are needed"
        if self.width_alone:
            return (
                "no evidence: they differ in width alone, and whatever takes longer for more work orders them so"
            )
        if self.predicted:
            return "no evidence: the predictions are fitted to networks that differ in width alone"
        beyond = self.beyond_macs
        if beyond is None or beyond.low <= 0 <= beyond.high:
            return "no evidence of agreement beyond what the multiply-adds order"
        return f"{'agreement' if beyond.low > 0 else 'disagreement'} also beyond the multiply-adds"


@dataclass(frozen=True, kw_only=True, slots=True)
class RankBench:
    """Two sources compared; `notes` say what is missing of what was asked for."""

    a: Side
    b: Side
    space: str
    seed: int
    comparisons: list[Comparison]
    notes: list[str]


def bench_rank(a: str, b: str, *, results: Path, space: str, networks: int, seed: int, tell: Tell) -> RankBench:
    """Compare two sources over the published networks and over `networks` drawn from `space`, or all that it has.

    If a source only has what was measured earlier, those networks take the place of drawn ones.

    Raises:
        SpecError: a source or the space is not known.
        BackendUnavailable: a device cannot be used from here.
    """
    with ExitStack() as opened:
        first, second = (_side(name, results, tell, opened) for name in (a, b))
        drawn = _drawn(first, second, space, networks, seed)
        kept = first.known is not None or second.known is not None
        published = _pairs(published_networks(), first, second)
        sets = {
            "published, both versions": published,
            SECOND_VERSION: [pair for pair in published if pair.network.startswith("mobilevitv2")],
            "measured earlier" if kept else "drawn at random": _pairs(drawn, first, second),
        }
        notes = []
        if not any(sets.values()):
            notes.append(f"{a} and {b} have no network in common: there is no order to compare.")
        if not kept and len(drawn) < networks:
            notes.append(f"Space {space} has {len(drawn)} networks; {networks} were asked for.")
        predicted = "predicted" in (first.kind, second.kind)
        comparisons = [compare(name, pairs, predicted=predicted) for name, pairs in sets.items()]
        return RankBench(a=first, b=second, space=space, seed=seed, comparisons=comparisons, notes=notes)


def compare(networks: str, pairs: list[Pair], *, predicted: bool) -> Comparison:
    """The three correlations of `pairs`."""
    if len(pairs) < LEAST_NETWORKS:
        return Comparison(networks=networks, pairs=pairs, predicted=predicted)
    macs, a, b = ([getattr(pair, name) for pair in pairs] for name in ("macs", "a_ms", "b_ms"))
    return Comparison(
        networks=networks,
        pairs=pairs,
        predicted=predicted,
        width_alone=differ_in_width_alone([pair.arch for pair in pairs]),
        plain=rank_correlation(a, b),
        beyond_macs=rank_correlation(residuals(a, macs), residuals(b, macs)) if len(set(macs)) > 1 else None,
        macs_alone=rank_correlation(macs, b),
    )


def differ_in_width_alone(archs: Sequence[ArchConfig]) -> bool:
    """Whether no network has a channel count below that of a cheaper one, and all else is equal."""
    if len(set(map(_not_channels, archs))) > 1:
        return False
    counts = [_channels(arch) for arch in sorted(archs, key=lambda arch: network_cost(arch).macs)]
    return bool((np.diff(counts, axis=0) >= 0).all())


def _channels(arch: ArchConfig) -> tuple[int, ...]:
    wide = (arch.stem_channels, *arch.stage_channels, *sum(arch.expanded_channels, ()))
    return (*wide, *arch.attention_dims, *arch.ffn_dims, arch.final_channels)


def _not_channels(arch: ArchConfig) -> tuple[object, ...]:
    depths = tuple(map(len, arch.expanded_channels))
    rest = (arch.kernel_sizes, arch.attention, arch.patch_sizes, arch.image_size, arch.family)
    return arch.attention_layers, depths, *rest


def _drawn(a: Side, b: Side, space: str, networks: int, seed: int) -> dict[str, ArchConfig]:
    known = [source.known for source in (a, b) if source.known is not None]
    if not known:
        found: Sequence[ArchConfig] = draw_up_to(load_space(space), networks, seed=seed)
    else:
        published = {arch.key for arch in published_networks().values()}
        found = [arch for arch in min(known, key=len) if arch.key not in published][:networks]
    return {arch.key: arch for arch in found}


def _pairs(networks: dict[str, ArchConfig], a: Side, b: Side) -> list[Pair]:
    """The networks that both have; the second is not asked for what the first has not."""
    return [
        Pair(network=name, arch=arch, macs=network_cost(arch, IMAGENET).macs, a_ms=a_ms, b_ms=b_ms)
        for name, arch in networks.items()
        if (a_ms := a.latency_ms(name, arch)) is not None and (b_ms := b.latency_ms(name, arch)) is not None
    ]
