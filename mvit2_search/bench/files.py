"""Benchmarks as files in `results/bench`: CSV for programs, one offline page for people."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from mvit2_search.bench.attention import AttentionBench
from mvit2_search.bench.figures import mixers_figure, models_figure
from mvit2_search.bench.models import ModelsBench
from mvit2_search.bench.rows import Row, backbone_rows, mixer_rows, network_rows, slope_rows
from mvit2_search.bench.tables import (
    BACKBONES_NOTE,
    MIXERS_NOTE,
    MODELS_NOTE,
    SLOPES_NOTE,
    Table,
    backbones_table,
    mixers_table,
    models_table,
    published_table,
    slopes_table,
)
from mvit2_search.files import write_atomically
from mvit2_search.records import DEFAULT_FORMULATION, FormulationName, Passport
from mvit2_search.report.page import drawn, heading, key_values, page, paragraphs, table
from mvit2_search.report.sentences import device_sentence


def write_models(bench: ModelsBench, results: Path) -> list[Path]:
    """Write `models.csv` and `models.html`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sections = [
        paragraphs([device_sentence(bench.passport), MODELS_NOTE]),
        heading("Accuracy as published against latency as measured"),
        drawn(models_figure(bench), "models", "The figures of the table below."),
        heading("Measured here, beside the authors' figures"),
        _table(models_table(bench)),
        heading("Published, by all sources"),
        _table(published_table()),
        heading("Device"),
        key_values(_conditions(bench.passport, bench.formulation).items()),
    ]
    return _write(
        results,
        {
            "models.csv": _csv(network_rows(bench), bench.passport, bench.formulation),
            "models.html": page("The published networks", sections),
        },
    )


def write_attention(bench: AttentionBench, results: Path) -> list[Path]:
    """Write `attention-networks.csv`, `attention-mixers.csv`, `attention-slopes.csv`, `attention.html`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sections = [
        paragraphs([device_sentence(bench.passport)]),
        heading("The same backbone with each mixer"),
        paragraphs([BACKBONES_NOTE]) + _table(backbones_table(bench)),
        heading("Each mixer alone"),
        paragraphs([MIXERS_NOTE]) + drawn(mixers_figure(bench), "mixers", "The figures of the last table."),
        paragraphs([SLOPES_NOTE]) + _table(slopes_table(bench)),
        heading("Each mixer at each number of tokens"),
        _table(mixers_table(bench)),
        heading("Device"),
        key_values(_conditions(bench.passport, DEFAULT_FORMULATION).items()),
    ]
    rows = {"networks": backbone_rows(bench), "mixers": mixer_rows(bench), "slopes": slope_rows(bench)}
    texts = {
        f"attention-{name}.csv": _csv(rows, bench.passport, DEFAULT_FORMULATION) for name, rows in rows.items()
    }
    return _write(results, texts | {"attention.html": page("Token mixers", sections)})


def _write(results: Path, texts: dict[str, str]) -> list[Path]:
    for name, text in texts.items():
        write_atomically(results / "bench" / name, text)
    return [results / "bench" / name for name in texts]


def _csv(rows: list[Row], passport: Passport, formulation: FormulationName) -> str:
    """Every row says what it was measured with; whole numbers stay whole beside empty cells."""
    conditions = _conditions(passport, formulation)
    return pd.DataFrame([row | conditions for row in rows], dtype=object).to_csv(index=False)


def _conditions(passport: Passport, formulation: FormulationName) -> Row:
    return {"formulation": formulation, **asdict(passport)}


def _table(rows: Table) -> str:
    return table(pd.DataFrame(rows))
