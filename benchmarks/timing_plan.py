"""How far the timing plan's latency is from the truth on devices whose truth is known.

    python benchmarks/timing_plan.py --tries 300 --out benchmarks/timing_plan.json

Scripted devices only: nothing is timed. A candidate takes 30 ms and the reference 10 ms when nothing
disturbs them, and every pass is off by 2.5 % of noise. Beside the plan stand the median and the minimum of
as many passes of the candidate in a row.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mvit2_search.arch.head import ClassifierHead
from mvit2_search.export.untrained import Written
from mvit2_search.export.verify import Agreement
from mvit2_search.measure.devices.scripted import ScriptedDevice
from mvit2_search.measure.timer import NetworkTimer
from mvit2_search.records import DEFAULT_FORMULATION, About, Artifact, Measurement

TRUTH_MS, REFERENCE_MS, NOISE = 30.0, 10.0, 0.025

Weather = Callable[[ScriptedDevice, Artifact], float]


def calm(rng: np.random.Generator) -> Weather:
    return lambda device, artifact: 1.0


def uneven_visits(rng: np.random.Generator) -> Weather:
    """Each visit has each of its two networks 1 % faster or slower than the last, at random."""
    effects = rng.lognormal(0, 0.01, (1000, 2))
    return lambda device, artifact: float(effects[device.visits, device.copy])


def slow_drift(rng: np.random.Generator) -> Weather:
    """Ever slower, by 1 % a second up to twice the time, from some moment of the first minute on."""
    start = rng.uniform(0, 60)
    return lambda device, artifact: float(np.clip(1 + 0.01 * (device.seconds - start), 1, 2))


def two_regimes(rng: np.random.Generator) -> Weather:
    """1.55 times as slow for spells of 4 to 12 s, as slow as fast on the whole."""
    ends = np.cumsum(rng.uniform(4, 12, 1000))
    first = rng.integers(2)
    return lambda device, artifact: 1.55 if (np.searchsorted(ends, device.seconds) + first) % 2 else 1.0


def outliers(rng: np.random.Generator) -> Weather:
    """One pass in twelve takes two to ten times as long."""
    return lambda device, artifact: float(rng.uniform(2, 10)) if rng.random() < 1 / 12 else 1.0


def throttling(rng: np.random.Generator) -> Weather:
    """Up to 2.4 times as slow as it heats up within seconds of work; it cools within ten seconds."""
    heat, busy, idle = 0.0, 0.0, 0.0

    def weather(device: ScriptedDevice, artifact: Artifact) -> float:
        nonlocal heat, busy, idle
        worked, rested = device.seconds - device.idle_s - busy, device.idle_s - idle
        busy, idle = busy + worked, idle + rested
        heat = (heat + worked) * np.exp(-rested / 10)
        return float(1 + 1.4 * (1 - np.exp(-max(0.0, heat - 1) / 3)))

    return weather


SCENARIOS = {
    "calm": calm,
    "uneven visits": uneven_visits,
    "drift": slow_drift,
    "two regimes": two_regimes,
    "outliers": outliers,
    "throttling": throttling,
}


def try_once(scenario: str, seed: int) -> dict[str, float | bool]:
    """Errors in percent of one measurement by the plan, and by the median and the minimum of as many passes."""
    device, rng = _device(scenario, seed), np.random.default_rng([seed, 1])
    with tempfile.TemporaryDirectory() as folder:
        timer = ScriptedTimer(device, Path(folder), scripted_artifact("reference"))
        device.pause(float(rng.uniform(0, 30)))
        before = device.passes
        result = timer.measure_artifact(scripted_artifact("candidate"))
    passes = device.passes - before
    plain = _device(scenario, seed)
    plain.pause(device.seconds)
    plain.visits = 999  # at another moment of the same weather
    times = [plain.run(scripted_artifact("candidate")) for _ in range(passes // 2)]
    scale = result.reference_ms / REFERENCE_MS
    return {
        "plan": _off(result.latency_ms),
        "ratio": _off(result.latency_ms / scale),
        "median": _off(float(np.median(times))),
        "minimum": _off(min(times)),
        "covered": result.low_ms <= TRUTH_MS * scale <= result.high_ms,
        "flagged": bool(result.flags),
    }


def _device(scenario: str, seed: int) -> ScriptedDevice:
    rng = np.random.default_rng(seed)
    truth = {"candidate": TRUTH_MS, "reference": REFERENCE_MS}
    noise = rng.lognormal(0, NOISE, 100_000)
    return ScriptedDevice(script=lambda one, i: truth[one.sha256] * noise[i], weather=SCENARIOS[scenario](rng))


def scripted_artifact(name: str) -> Artifact:
    return Artifact(
        path=Path(name),
        sha256=name,
        format="onnx",
        precision="float32",
        input_name="x",
        input_shape=(1,),
        output_shape=(1,),
    )


class ScriptedTimer(NetworkTimer):
    """Times scripted artifacts, where a timer would export networks."""

    earlier = NetworkTimer._earlier

    def __init__(self, device: ScriptedDevice, folder: Path, reference: Artifact, **more: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            device,
            results=folder,
            scratch=Path(tempfile.mkdtemp(dir=folder)),
            head=ClassifierHead(1),
            formulation=DEFAULT_FORMULATION,
            exporter=lambda *_, **__: _written(reference),
            **more,
        )

    def measure_artifact(
        self, artifact: Artifact, *, about: About | None = None, again: bool = True
    ) -> Measurement:
        return self.measure_export(lambda _: _written(artifact), about=about, again=again)


def _written(artifact: Artifact) -> Written:
    agrees = Agreement(images=0, max_error=0.0, cosine=1.0, same_top1=None, weights_share=None, gates=())
    return Written(artifact=artifact, verify=lambda: agrees)


def _off(latency_ms: float) -> float:
    return 100 * (latency_ms / TRUTH_MS - 1)


def summary(rows: list[dict[str, float | bool]]) -> dict[str, float]:
    """95th percentile of the absolute errors in percent, and the shares of flagged and covered."""
    of = lambda name: [row[name] for row in rows]  # noqa: E731
    worst = {name: float(np.percentile(np.abs(of(name)), 95)) for name in ("plan", "ratio", "median", "minimum")}
    trusted = [abs(row["plan"]) for row in rows if not row["flagged"]]
    return worst | {
        "unflagged": float(np.percentile(trusted, 95)) if trusted else float("nan"),
        "flagged": float(np.mean(of("flagged"))),
        "covered": float(np.mean(of("covered"))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = {name: summary([try_once(name, seed) for seed in range(options.tries)]) for name in SCENARIOS}
    for name, row in table.items():
        print(f"{name:<12}" + "".join(f"  {key} {value:7.2f}" for key, value in row.items()))
    if options.out:
        options.out.write_text(json.dumps({"tries": options.tries, "scenarios": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
