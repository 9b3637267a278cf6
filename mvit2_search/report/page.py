"""The frame of every page: one HTML file that works offline, with no script but Plotly's."""

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "form-action 'none'",  # what default-src says nothing about
        "base-uri 'none'",
    ]
)
# For all figures of a page. By default Plotly has a button that opens its maker's cloud with the data.
_CONFIG = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "topojsonURL": ""}
_CODE, _AS_CODE = re.compile("`([^`]+)`"), r"<code>\1</code>"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.5rem }
.answer { font-size: 1.1rem; border-left: 4px solid #0072b2; padding-left: 1rem }
.scroll { overflow-x: auto; max-height: 32rem } table { border-collapse: collapse; font-size: .85rem }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
.inputs td { text-align: left }
th { position: sticky; top: 0; background: #fff }
code { background: #f2f2f2; padding: .1rem .3rem }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """The whole file. `sections` are HTML; the title, which is also the heading, is text.

    The same sections give the same bytes.
    """
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<script>{get_plotlyjs()}\nPlotly.setPlotConfig({json.dumps(_CONFIG)})</script>\n</head>\n<body>\n"
        + "\n".join([f"<h1>{escape(title)}</h1>", *sections])
        + "\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraphs(lines: Iterable[str]) -> str:
    """One for each line; texts in backticks are shown as code."""
    return "".join(f"<p>{_CODE.sub(_AS_CODE, escape(line))}</p>" for line in lines)


def drawn(figure: go.Figure, name: str, words: str) -> str:
    """A figure with the id `name`; `words` describe it to those who cannot see it."""
    html = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, default_height="32rem")
    return f'<div role="img" aria-label="{escape(words)}">{html}</div>'


def table(frame: pd.DataFrame) -> str:
    """A table that scrolls; numbers with two decimals, empty cells for missing values."""
    html = frame.astype(object).map(_cell).to_html(index=False, border=0)
    return f'<div class="scroll">{html}</div>'


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def key_values(pairs: Iterable[tuple[str, object]]) -> str:
    """A table of names and values; None is `none`."""
    texts = ((key, "none" if value is None else str(value)) for key, value in pairs)
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(text)}</td></tr>" for key, text in texts)
    return f'<div class="scroll inputs"><table>{rows}</table></div>'
