"""Commands about devices: `mvit2-search devices` and `measure`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mvit2_search.cli.options import (
    Place,
    classes_option,
    device_option,
    formulation_option,
    json_option,
    results_option,
)
from mvit2_search.cli.output import echo_json, explain, say
from mvit2_search.system.text import counted

if TYPE_CHECKING:
    from mvit2_search.api import Measured
    from mvit2_search.records import Measurement


@click.command()
@json_option
def devices(as_json: bool) -> None:
    """List the devices: which are ready, and what the others need.

    \b
    Example:
        mvit2-search devices
    """
    from mvit2_search.api import list_devices

    found = list_devices()
    if as_json:
        echo_json([asdict(one) for one in found])
        return
    width = max(len(one.name) for one in found)
    explain(*(f"{one.name:<{width}}  {'ready  ' if one.ready else 'missing'}  {one.about}" for one in found))


@click.command()
@click.argument("arch", type=Place())
@device_option
@classes_option
@formulation_option
@click.option("--again", is_flag=True, help="Measure again, even if the latency is known, and replace it.")
@click.option(
    "--predict", is_flag=True, help="Predict from known latencies of other networks instead of measuring."
)
@results_option
@json_option
def measure(arch: str, device: str, as_json: bool, **options: Any) -> None:
    """Measure the latency of one architecture on one device.

    ARCH is the YAML file of an architecture, or a published network. It is measured as in a search: in turn with
    MobileViTv2-0.5, in at least two visits, until the 95 % interval is within 2 % each way. A latency that does
    not get there is flagged. All samples are kept in the results folder. A known latency is not measured again. An
    estimate such as estimate:iphone12 predicts, and the output says so.

    \b
    Example:
        mvit2-search measure mobilevitv2-0.75 --device host
        mvit2-search measure mine.yaml --device coreml:ne --json
        mvit2-search measure mobilevitv2-1.0 --device estimate:iphone12
    """
    from mvit2_search.api import measure_architecture

    done = measure_architecture(arch, device, tell=lambda text: say(text, err=True), **options)
    if as_json:
        samples = None if done.samples is None else str(done.samples)
        echo_json({**asdict(done), "latency_kind": done.passport.kind, "samples": samples})
        return
    say(*_lines(done))


def _lines(done: Measured) -> list[str]:
    from mvit2_search.records import Prediction, device_sentence

    head, device = f"{done.name} ({done.key}): {done.latency}", device_sentence(done.passport)
    if isinstance(done.latency, Prediction):
        return [head, device]
    return [f"{head} measured", *_measured(done.latency), device, f"Samples: {done.samples}"]


def _measured(latency: Measurement) -> list[str]:
    from mvit2_search.report.sentences import flag_sentences

    passes = "single passes" if latency.unit == 1 else f"bursts of {latency.unit} passes"
    pairs, visits = counted(latency.pairs, "pair"), counted(latency.visits, "visit")
    disturbed = f" ({latency.set_aside} more discarded as disturbed)" if latency.set_aside else ""
    lines = [
        f"{pairs} of {passes} in {visits}{disturbed}, measured {latency.measured_at}. 10 to 90 % of the pairs: "
        f"{latency.p10_ms:.2f} to {latency.p90_ms:.2f} ms. Loading: {latency.load_ms:.0f} ms.",
        f"Reference MobileViTv2-0.5: {latency.reference_now_ms:.2f} ms now, {latency.reference_ms:.2f} ms known.",
    ]
    if latency.placement:
        lines.append("Planned for " + ", ".join(f"{unit}: {share:.0%}" for unit, share in latency.placement))
    return [*lines, *flag_sentences(latency)]
