"""The published networks of both versions, timed here."""

from dataclasses import dataclass
from pathlib import Path

from mvit2_search.arch import published_networks
from mvit2_search.bench.timings import CLASSES, NetworkTiming, time_network
from mvit2_search.latency import Device, Tell
from mvit2_search.records import FormulationName, Passport
from mvit2_search.timer import open_timer


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsBench:
    """All published networks on one device, in one formulation."""

    passport: Passport
    formulation: FormulationName
    networks: list[NetworkTiming]


def bench_models(device: Device, *, results: Path, formulation: FormulationName, tell: Tell) -> ModelsBench:
    """Time every published network that has not been timed in `results` before.

    A network that cannot be timed is among the results with the reason.

    Raises:
        BackendUnavailable: the device cannot be used from here, or went away.
        StorageError: `results` cannot be read or written.
    """
    with open_timer(device, results=results, num_classes=CLASSES, formulation=formulation, tell=tell) as timer:
        networks = [time_network(timer, name, arch, tell) for name, arch in published_networks().items()]
        return ModelsBench(passport=timer.meter.passport, formulation=formulation, networks=networks)
