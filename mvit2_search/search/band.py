"""The networks of a check: published widths and drawn ones, measured to be in a latency band."""

from collections.abc import Iterator

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published_name
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.measure.source import Latencies
from mvit2_search.measure.timer import REFERENCE, REFERENCE_HEAD
from mvit2_search.models.synflow import synflow
from mvit2_search.predict.guess import PowerLaw
from mvit2_search.records.certificate import LEAST_CHECKED, CheckedNetwork
from mvit2_search.search.events import Listener
from mvit2_search.search.stratified import StratifiedDraw
from mvit2_search.space import Params, SearchSpace

_MAX_BARREN = 30  # networks in a row that are measured outside of the band


class BandNetworks:
    """Measures networks until enough of them take `low_ms` to `high_ms`."""

    def __init__(
        self,
        space: SearchSpace,
        latencies: Latencies,
        head: Head,
        listener: Listener,
        *,
        low_ms: float,
        high_ms: float,
        seed: int,
    ) -> None:
        self._space, self._latencies, self._head, self._listener = space, latencies, head, listener
        self._low_ms, self._high_ms = low_ms, high_ms
        self._macs: list[int] = []
        self._measured_ms: list[float] = []
        self._draw = StratifiedDraw(space, guess_ms=self._guess_ms, low_ms=low_ms, high_ms=high_ms, seed=seed)
        self._learn(network_cost(REFERENCE, REFERENCE_HEAD).macs, latencies.reference_ms)

    def find(self, count: int) -> list[CheckedNetwork]:
        """The published widths of the band, then drawn networks, `count` in all or as many as there are.

        Raises:
            SpecError: there are too few for a check.
        """
        found, barren = list(self._widths()), 0
        while len(found) < count and barren < _MAX_BARREN and (params := self._draw.next()):
            network = self._network(self._space.decode(params), settings=params)
            barren = 0 if network else barren + 1
            found += [network] if network else []
        if len(found) < LEAST_CHECKED:
            raise SpecError(
                f"only {len(found)} networks of space {self._space.name!r} were found with {self._low_ms:.2f} to "
                f"{self._high_ms:.2f} ms, and a check needs {LEAST_CHECKED}; give a wider `band` or another "
                "`latency_budget`"
            )
        if len(found) < count:
            self._listener.note(f"only {len(found)} networks of {count} were found in the band")
        return found

    def _widths(self) -> Iterator[CheckedNetwork]:
        """Published widths are timed up to the first that is beyond the band."""
        for width in PUBLISHED_WIDTHS:
            arch, name = ArchConfig.mobilevitv2(width), published_name(width)
            if network := self._network(arch, settings=self._space.encode_width(width), published=name):
                yield network
            elif self._guess_ms(arch) > self._high_ms:
                return

    def _network(
        self, arch: ArchConfig, *, settings: Params | None, published: str | None = None
    ) -> CheckedNetwork | None:
        """The network, if the device takes it and it is in the band."""
        name, cost = published or arch.key, network_cost(arch, self._head)
        self._listener.started(name, arch)
        self._listener.working("finding the latency")
        self._draw.take(arch.key, None)
        try:
            latency = self._latencies.of(arch)
        except MeasurementError as err:
            self._listener.note(f"{name}: {err}")
            return None
        self._learn(cost.macs, latency.latency_ms)
        if not self._low_ms <= latency.latency_ms <= self._high_ms:
            return None
        self._draw.take(arch.key, settings)
        self._listener.told(f"drawn     {name:<16} {latency}")
        return CheckedNetwork(
            arch=arch,
            latency=latency,
            params=cost.params,
            macs=cost.macs,
            synflow=synflow(arch, self._head),
            published=published,
            settings=settings,
        )

    def _learn(self, macs: int, latency_ms: float) -> None:
        self._macs.append(macs)
        self._measured_ms.append(latency_ms)
        self._law = PowerLaw(self._macs, self._measured_ms)

    def _guess_ms(self, arch: ArchConfig) -> float:
        return self._law.latency_ms(network_cost(arch, self._head).macs)
