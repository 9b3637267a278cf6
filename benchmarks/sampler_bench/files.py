"""The comparison of samplers as files beside its rows: CSV for programs, one offline page for people."""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from sampler_bench.run import SearchBench, rows_file
from sampler_bench.tables import SEARCH_NOTES, Standing, reference_sentence, search_rows, search_tables, standings

from mvit2_search.report.figures import LAYOUT
from mvit2_search.report.page import drawn, heading, page, paragraphs, table
from mvit2_search.system.files import write_atomically


def write_search(bench: SearchBench, results: Path) -> list[Path]:
    """Write `search.csv` and `search.html`; the rows they come from are there already.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    rows = rows_file(results)
    sections = [paragraphs(SEARCH_NOTES)]
    for problem, shown in search_tables(bench).items():
        found = [one for one in standings(bench) if one.problem == problem]
        words = f"The gaps of the next table, {problem}."
        sections += [heading(problem), paragraphs([reference_sentence(problem)])]
        sections += [drawn(gap_figure(found), problem, words), table(pd.DataFrame(shown))]
    csv = pd.DataFrame(search_rows(bench), dtype=object).to_csv(index=False)
    texts = {"search.csv": csv, "search.html": page("Searches on known ground", sections)}
    for name, text in texts.items():
        write_atomically(rows.parent / name, text)
    return [*(rows.parent / name for name in texts), rows]


def gap_figure(found: list[Standing]) -> go.Figure:
    """The mean gap after so many evaluations, one line per sampler."""
    figure = go.Figure(layout=LAYOUT)
    for one in found:
        means = list(one.gap_pct.values())
        figure.add_scatter(
            x=list(one.gap_pct),
            y=[mean.value for mean in means],
            error_y={"array": [mean.margin or 0 for mean in means], "thickness": 1},
            name=one.peer,
            mode="lines+markers",
            line={"width": 1},
        )
    figure.update_xaxes(title="evaluations")
    figure.update_yaxes(title="gap in % (bars: 95 % interval)", rangemode="tozero")
    return figure
