"""The latency of a network on a device, predicted from what was measured there before, without measuring."""

from dataclasses import replace
from pathlib import Path

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError
from mvit2_search.measure.protocol import Device
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import FormulationName, Passport, Prediction
from mvit2_search.store.folders import LATENCIES
from mvit2_search.store.measurements import Measurements


def predict_latency(
    device: Device, arch: ArchConfig, *, results: Path, head: Head, formulation: FormulationName
) -> tuple[Prediction, Passport]:
    """The latency of `arch` and the passport that such predictions have.

    Raises:
        SpecError: fewer than 20 networks are kept in `results`, or none that is like `arch`.
        BackendUnavailable: the device cannot be used from here.
        StorageError: a kept measurement cannot be read.
    """
    device.check()
    passport = device.passport()
    kept = _kept(passport, results, head, formulation)
    if len(kept) < LEAST_MEASURED:
        raise SpecError(
            f"a prediction needs {LEAST_MEASURED} networks measured with {head} classes in {results}, "
            f"found {len(kept)}; `mvit2-search measure` without `predict` measures one more"
        )
    archs, latencies_ms = zip(*kept, strict=True)
    (prediction,) = LatencyPredictor(archs, latencies_ms, head=head).predict([arch])
    return prediction, replace(passport, kind="predicted", protocol=None, runtime=prediction.predictor)


def _kept(
    passport: Passport, results: Path, head: Head, formulation: FormulationName
) -> list[tuple[ArchConfig, float]]:
    """The networks of that kind that were measured with `passport`, and their latencies without flags."""
    return [
        (about.arch, measurement.latency_ms)
        for folder in sorted((results / LATENCIES).glob(f"{passport.digest}-*"))
        for about, measurement in Measurements(folder).networks()
        if (about.head, about.formulation) == (head, formulation) and not measurement.flags
    ]
