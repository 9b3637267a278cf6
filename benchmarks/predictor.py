"""How well the latencies of a device can be predicted: `python benchmarks/predictor.py --help`."""

from pathlib import Path

import click
from predictor_bench.run import bench_predict
from predictor_bench.tables import predict_report

from mvit2_search.cli import Program
from mvit2_search.cli.bench import seed_option, show, space_option, tell
from mvit2_search.cli.options import device_option, json_option, results_option
from mvit2_search.measure.devices.registry import make_device


@click.command(cls=Program)
@device_option
@space_option
@click.option(
    "--measured",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Networks that the predictor is fitted to.",
)
@click.option(
    "--held-out",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Networks that it has to predict.",
)
@seed_option
@results_option
@json_option
def predictor(
    device: str, space: str, measured: int, held_out: int, seed: int, results: Path, as_json: bool
) -> None:
    """How well latencies on a device can be predicted.

    Measures networks of a space, fits a predictor to some and predicts the others: how many are within 5 and
    10 %, beside how well measurements agree when they are repeated. Takes about five seconds per network that
    has not been measured, with executorch half a minute. Writes two tables and predict.html to the folder bench
    in the results.

    \b
    Example:
        python benchmarks/predictor.py --device host
        python benchmarks/predictor.py --space width --measured 40 --held-out 20 --json
    """
    done = bench_predict(
        make_device(device),
        results=results,
        space=space,
        measured=measured,
        held_out=held_out,
        seed=seed,
        tell=tell,
    )
    report = predict_report(done)
    show(report, report.write(results), as_json=as_json)


if __name__ == "__main__":
    predictor()
