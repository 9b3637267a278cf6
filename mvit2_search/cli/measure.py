"""Commands about devices: which there are, and what one architecture takes on one of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvit2_search.cli.options import (
    Place,
    device_option,
    echo_json,
    explain,
    formulation_option,
    json_option,
    results_option,
    say,
)
from mvit2_search.system.text import counted

if TYPE_CHECKING:
    from mvit2_search.api import Measured
    from mvit2_search.records import FormulationName, Measurement


@click.command()
@json_option
def devices(as_json: bool) -> None:
    """List what `--device` may name, each ready or with what it needs.

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
    for one in found:
        explain(f"{one.name:<{width}}  {'ready  ' if one.ready else 'missing'}  {one.about}")


@click.command()
@click.argument("arch", type=Place())
@device_option
@click.option(
    "--classes", type=click.IntRange(min=1), default=1000, show_default=True, help="Outputs of the head."
)
@formulation_option
@click.option("--again", is_flag=True, help="Measure even if it has been measured before, and keep that instead.")
@click.option(
    "--predict", is_flag=True, help="Predict it from what is kept of other architectures, and time nothing."
)
@results_option
@json_option
def measure(
    arch: str,
    device: str,
    classes: int,
    formulation: FormulationName,
    again: bool,
    predict: bool,
    results: Path,
    as_json: bool,
) -> None:
    """The latency of one architecture on one device.

    ARCH is an architecture's YAML or a published network. Measured as in a search: against MobileViTv2-0.5 in
    turn, in two visits or more, until the 95 % interval is within 2 % each way; what does not get there is
    flagged. The raw samples are kept in the results, and what is there already is not measured again. An estimate
    predicts, and says so.

    \b
    Example:
        mvit2-search measure mobilevitv2-0.75 --device host
        mvit2-search measure mine.yaml --device coreml:ne --json
        mvit2-search measure mobilevitv2-1.0 --device estimate:iphone12
    """
    from mvit2_search.api import measure_architecture

    done = measure_architecture(
        arch,
        device,
        results=results,
        num_classes=classes,
        formulation=formulation,
        again=again,
        predict=predict,
        tell=lambda text: say(text, err=True),
    )
    if as_json:
        samples = None if done.samples is None else str(done.samples)
        echo_json({**asdict(done), "latency_kind": done.passport.kind, "samples": samples})
        return
    for line in _lines(done):
        say(line)


def _lines(done: Measured) -> list[str]:
    from mvit2_search.records import Prediction, device_sentence

    head = f"{done.name} ({done.key}): {done.latency}"
    if isinstance(done.latency, Prediction):
        return [head, device_sentence(done.passport)]
    return [
        f"{head} measured",
        *_measured(done.latency),
        device_sentence(done.passport),
        f"Samples: {done.samples}",
    ]


def _measured(latency: Measurement) -> list[str]:
    from mvit2_search.report.sentences import flag_sentences

    passes = "single passes" if latency.unit == 1 else f"bursts of {latency.unit} passes"
    aside = f", {latency.set_aside} more set aside" if latency.set_aside else ""
    lines = [
        f"{counted(latency.pairs, 'pair')} of {passes} in {counted(latency.visits, 'visit')}{aside}; "
        f"10 to 90 % of the pairs: {latency.p10_ms:.2f} to {latency.p90_ms:.2f} ms; "
        f"load {latency.load_ms:.0f} ms; measured {latency.measured_at}",
        f"MobileViTv2-0.5 beside it: {latency.reference_now_ms:.2f} ms, of {latency.reference_ms:.2f} ms known.",
    ]
    if latency.placement:
        lines.append("Planned for " + ", ".join(f"{unit}: {share:.0%}" for unit, share in latency.placement))
    return [*lines, *flag_sentences(latency)]
