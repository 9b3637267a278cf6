"""Where the two latencies of a comparison come from: a device here, kept measurements, an estimate, or a paper."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mvit2_search.arch import ArchConfig
from mvit2_search.bench.timings import CLASSES, told
from mvit2_search.errors import SpecError
from mvit2_search.latency import Measurements, Tell, make_device
from mvit2_search.predict import make_estimate
from mvit2_search.published import Published, published_by_network
from mvit2_search.records import DEFAULT_FORMULATION, Measurement, Passport
from mvit2_search.report.sentences import device_sentence
from mvit2_search.results_folder import LATENCIES
from mvit2_search.timer import open_timer


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One side of a comparison.

    Attributes:
        words: what it is, for people.
        kind: latencies of different kinds never share a column.
        latency_ms: of a network, by its name and architecture; None where the source has none.
        known: the networks that it has besides the published ones; None where it can be asked for any.
        passport: of what measured, where something did.
    """

    name: str
    words: str
    kind: str  # measured, predicted or published
    latency_ms: Callable[[str, ArchConfig], float | None]
    known: tuple[ArchConfig, ...] | None = None
    passport: Passport | None = None


@contextmanager
def open_source(name: str, *, results: Path, tell: Tell) -> Iterator[Source]:
    """The source called `name`: a device, `cache:DIGEST`, `estimate:iphone12`, `published:iphone12`.

    Raises:
        SpecError: there is none of that name.
        BackendUnavailable: the device cannot be used from here.
    """
    kind, _, rest = name.partition(":")
    if kind == "estimate":
        yield _estimate(name)
    elif kind == "published":
        yield _published(name, rest)
    elif kind == "cache":
        yield _cache(name, rest, results)
    else:
        with open_timer(
            make_device(name),
            results=results,
            num_classes=CLASSES,
            formulation=DEFAULT_FORMULATION,
            tell=tell,
        ) as timer:

            def latency_ms(network: str, arch: ArchConfig) -> float | None:
                timing = told(f"{name}, {network}", lambda: timer.measure(arch), tell)
                return timing.latency_ms if isinstance(timing, Measurement) and _sound(timing) else None

            passport = timer.meter.passport
            words = device_sentence(passport)
            yield Source(name=name, words=words, kind="measured", latency_ms=latency_ms, passport=passport)


def _sound(measurement: Measurement) -> bool:
    """Whether it may stand in a comparison: a ratio that did not settle orders nothing."""
    return not {"unsettled", "drift"} & set(measurement.flags)


def _estimate(name: str) -> Source:
    estimate = make_estimate(name)

    def latency_ms(_: str, arch: ArchConfig) -> float | None:
        try:
            return estimate.predict(arch).latency_ms
        except SpecError:  # of another kind than what it is fitted to
            return None

    words = f"Predicted, never measured: {estimate.description}."
    return Source(name=name, words=words, kind="predicted", latency_ms=latency_ms)


def _published(name: str, device: str) -> Source:
    """Of several figures for one network, that which stands first: the authors' own."""
    figures: dict[str, Published] = {}
    for network, rows in published_by_network().items():
        for row in rows:
            if row.latency_ms is not None and _plain(row.device or "") == _plain(device):
                figures.setdefault(network, row)
    if not figures:
        raise SpecError(f"{name!r}: nothing is published for {device!r}; devices are {', '.join(_phones())}")
    sources = "; ".join(dict.fromkeys(row.source for row in figures.values()))
    return Source(
        name=name,
        words=f"Published for {next(iter(figures.values())).device}, not measured here: {sources}.",
        kind="published",
        latency_ms=lambda network, _: figures[network].latency_ms if network in figures else None,
        known=(),
    )


def _cache(name: str, digest: str, results: Path) -> Source:
    held = sorted((results / LATENCIES).glob("*-*"))
    folders = [folder for folder in held if digest and folder.name.startswith(digest)]
    if len(folders) != 1:
        names = ", ".join(folder.name for folder in held) or "none"
        raise SpecError(f"{name!r}: expected the passport of one device in {results}: {names}")
    labels = {
        about.arch.key: (about.arch, measurement)
        for about, measurement in Measurements(folders[0]).networks()
        if (about.num_classes, about.formulation) == (CLASSES, DEFAULT_FORMULATION) and _sound(measurement)
    }
    return Source(
        name=name,
        words=f"Measured earlier, passport {folders[0].name.split('-')[0]}: {len(labels)} networks.",
        kind="measured",
        latency_ms=lambda _, arch: labels[arch.key][1].latency_ms if arch.key in labels else None,
        known=tuple(arch for arch, _ in labels.values()),
    )


def _phones() -> list[str]:
    rows = [row for rows in published_by_network().values() for row in rows if row.latency_ms is not None]
    return sorted({_plain(row.device) for row in rows if row.device is not None})


def _plain(device: str) -> str:
    return device.lower().replace(" ", "")
