"""Compare samplers by how much of a known front they find: `python benchmarks/samplers.py --help`."""

from collections.abc import Iterable
from pathlib import Path

import click
from sampler_bench.peers import PEERS
from sampler_bench.problems import PROBLEMS
from sampler_bench.run import bench_search, rows_file
from sampler_bench.tables import search_report

from mvit2_search.cli import Program
from mvit2_search.cli.bench import show, tell
from mvit2_search.cli.options import json_option, results_option
from mvit2_search.errors import BackendUnavailable


@click.command(cls=Program)
@click.option("--problems", default="all", show_default=True, help="Names, separated by commas.")
@click.option("--peers", default="all", show_default=True, help="Names of samplers, separated by commas.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=30, show_default=True, help="Runs of each sampler per problem."
)
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Then one by one.")
@click.option("--evaluations", type=click.IntRange(min=1), default=200, show_default=True, help="Of each run.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@results_option
@json_option
def samplers(
    problems: str,
    peers: str,
    seeds: int,
    first_seed: int,
    evaluations: int,
    jobs: int,
    results: Path,
    as_json: bool,
) -> None:
    """How much of a known front each sampler finds.

    Problems are the tables of NAS-Bench-201 (nb201-cifar10, nb201-cifar100, nb201-imagenet16) and two continuous
    ones (zdt1, dtlz2). Samplers are this program's (front), Optuna's (random, nsga2, tpe, tpe-multivariate, gp),
    BoTorch's (qlognehvi), and all but the first also with the latency known (tpe+latency and so on). gp and
    qlognehvi are slow and stop at 10 seeds and 100 evaluations.

    Rows that are in bench/search/rows.jsonl in the results are not computed again, so a command that was stopped
    continues. Writes search.csv and search.html beside it.

    \b
    Example:
        python benchmarks/samplers.py --problems nb201-cifar100 --peers front,tpe --seeds 8
        python benchmarks/samplers.py --seeds 30 --jobs 2
    """
    try:
        done = bench_search(
            results=results,
            problems=_names(problems, PROBLEMS),
            peers=_names(peers, PEERS),
            seeds=range(first_seed, first_seed + seeds),
            evaluations=evaluations,
            jobs=jobs,
            tell=tell,
        )
    except ModuleNotFoundError as err:
        package = str(err.name).partition(".")[0]
        raise BackendUnavailable(f"{package} is not installed: pip install -e '.[dev]'") from err
    report = search_report(done)
    show(report, [*report.write(results), rows_file(results)], as_json=as_json)


def _names(text: str, known: Iterable[str]) -> list[str]:
    """The names that commas separate, each once."""
    return list(known) if text == "all" else list(dict.fromkeys(name.strip() for name in text.split(",")))


if __name__ == "__main__":
    samplers()
