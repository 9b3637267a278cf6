"""Benchmarks as files in `results/bench`: CSV for programs, one offline page for people."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from mvit2_search.bench.attention import AttentionBench
from mvit2_search.bench.figures import mixers_figure, models_figure, predict_figure, rank_figure
from mvit2_search.bench.models import ModelsBench
from mvit2_search.bench.predict import PredictBench
from mvit2_search.bench.predict_tables import (
    HELD_OUT_NOTE,
    HITS_NOTE,
    held_out_rows,
    held_out_table,
    hits_rows,
    hits_table,
    left_out_sentence,
)
from mvit2_search.bench.rank import RankBench
from mvit2_search.bench.rank_tables import (
    PAIR_COLUMNS,
    PHONES_NOTE,
    RANK_NOTE,
    correlation_rows,
    pair_rows,
    pairs_table,
    phones_table,
    rank_table,
)
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
from mvit2_search.results_folder import BENCH


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


def write_predict(bench: PredictBench, results: Path) -> list[Path]:
    """Write `predict-hits.csv`, `predict-networks.csv` and `predict.html`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    drawn_from = {"space": bench.space, "seed": bench.seed}
    sections = [
        paragraphs([device_sentence(bench.passport), f"Predictor: {bench.predictor}."]),
        heading("How often predictions are right"),
        paragraphs([HITS_NOTE, left_out_sentence(bench)]) + _table(hits_table(bench)),
        heading("Held-out networks"),
        drawn(predict_figure(bench), "predicted", "The figures of the table below."),
        paragraphs([HELD_OUT_NOTE]) + _table(held_out_table(bench)),
        heading("Device"),
        key_values((drawn_from | _conditions(bench.passport, DEFAULT_FORMULATION)).items()),
    ]
    rows = {"hits": hits_rows(bench), "networks": held_out_rows(bench)}
    texts = {
        f"predict-{name}.csv": _csv([row | drawn_from for row in found], bench.passport, DEFAULT_FORMULATION)
        for name, found in rows.items()
    }
    return _write(results, texts | {"predict.html": page("Predicted latencies", sections)})


def write_rank(bench: RankBench, results: Path) -> list[Path]:
    """Write `rank.csv`, `rank-networks.csv` and `rank.html`, with the two sources in the names.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sections = [
        paragraphs([*bench.notes, *(f"{source.name}: {source.words}" for source in (bench.a, bench.b))]),
        heading("Whether they order networks alike"),
        paragraphs([RANK_NOTE]) + _table(rank_table(bench)),
        drawn(rank_figure(bench), "rank", "The figures of the next table."),
        _table(pairs_table(bench)),
        heading("Published for phones"),
        paragraphs([PHONES_NOTE]) + _table(phones_table()),
    ]
    name = f"rank-{bench.a.name}-{bench.b.name}".replace(":", "-")
    passports = {source.name: source.passport for source in (bench.a, bench.b) if source.passport}
    conditions: Row = {"space": bench.space, "seed": bench.seed}
    conditions |= {f"passport of {key}": passport.digest for key, passport in passports.items()}
    correlations = correlation_rows(bench)  # there always are some
    texts = {
        f"{name}.csv": _with_columns(correlations, list(correlations[0]), conditions),
        f"{name}-networks.csv": _with_columns(pair_rows(bench), PAIR_COLUMNS, conditions),
    }
    return _write(results, texts | {f"{name}.html": page("Two orders of networks", sections)})


def _with_columns(rows: list[Row], columns: Sequence[str], conditions: Row) -> str:
    """CSV that has its columns also where it has no rows."""
    whole = [row | conditions for row in rows]
    return pd.DataFrame(whole, columns=[*columns, *conditions], dtype=object).to_csv(index=False)


def _write(results: Path, texts: dict[str, str]) -> list[Path]:
    for name, text in texts.items():
        write_atomically(results / BENCH / name, text)
    return [results / BENCH / name for name in texts]


def _csv(rows: list[Row], passport: Passport, formulation: FormulationName) -> str:
    """Every row says what it was measured with; whole numbers stay whole beside empty cells."""
    conditions = _conditions(passport, formulation)
    return pd.DataFrame([row | conditions for row in rows], dtype=object).to_csv(index=False)


def _conditions(passport: Passport, formulation: FormulationName) -> Row:
    return {"formulation": formulation, **asdict(passport)}


def _table(rows: Table) -> str:
    return table(pd.DataFrame(rows)) if rows else paragraphs(["None."])
