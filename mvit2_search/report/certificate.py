"""A check of a proxy for people: its verdict in sentences, its tables and its page."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mvit2_search.analysis.axis_bias import Bias
from mvit2_search.analysis.certificate import Findings
from mvit2_search.analysis.checked import findings_of, truth_pct
from mvit2_search.analysis.tau import Interval
from mvit2_search.records import device_sentence
from mvit2_search.records.certificate import Check
from mvit2_search.records.codec import to_json
from mvit2_search.report.figures import BLUE, LAYOUT, ORANGE
from mvit2_search.report.page import drawn, heading, key_values, page, paragraphs, table
from mvit2_search.store.certificates import certificate_path
from mvit2_search.system.files import write_atomically
from mvit2_search.system.text import counted, flat

_TABLE_NOTE = (
    "Kendall's tau with the longer trainings: 1 is the same order, 0 chance. The intervals hold for other "
    "networks drawn like these. Lead: the short training's tau minus that of the row, on the same networks."
)
_FIGURE_NOTE = "Each point is a network. A proxy that ranks puts them along a rising line."


def certificate_lines(check: Check) -> list[str]:
    """What a check says, or how far it is."""
    found = findings_of(check)
    if found is None or not check.is_complete:
        failed = [f"{name}: {why}" for name, why in check.failures.items()]
        return [progress_line(check), *failed]
    return [
        f"Verdict: {found.verdict}. {found.sentence}",
        "",
        *_aligned(tau_rows(found)),
        "",
        *finding_sentences(check, found),
        device_sentence(check.device.passport),
    ]


def progress_line(check: Check) -> str:
    """How many trainings are done."""
    count, seeds = len(check.networks), len(check.seeds("truth"))
    short, long = len(check.proxy_pct), sum(one.score is not None for one in check.truth)
    return f"Done: {short} of {count} short trainings, {long} of {count * seeds} longer ones."


def interval_text(one: Interval, digits: int = 2) -> str:
    """`0.72 (0.56 to 0.83)`."""
    value, low, high = (round(number, digits) + 0.0 for number in (one.value, one.low, one.high))  # no -0.00
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def tau_rows(found: Findings) -> list[dict[str, str]]:
    """Kendall's tau of the proxy, of what needs no training, and of what limits it."""
    rows: list[tuple[str, Interval, Interval | None]] = [("short training", found.tau, None)]
    rows += [(name, one, found.leads[name]) for name, one in found.baselines.items()]
    rows += [
        ("short training, beyond latency", found.beyond_latency, None),
        ("one longer training with another", found.seed_tau, None),
        ("ceiling: a perfect proxy", found.ceiling, None),
    ]
    return [
        {"order by": name, "tau (95 %)": interval_text(one), "lead (95 %)": interval_text(lead) if lead else ""}
        for name, one, lead in rows
    ]


def finding_sentences(check: Check, found: Findings) -> list[str]:
    """Separability, regret, price and bias."""
    apart, seeds = found.separable.architectures_pct, found.separable.seeds_pct
    regrets = {best: points for best, points in found.regret_pct.items() if best < found.networks}
    regret = ", ".join(f"{points:.2f} of the best {best}" for best, points in regrets.items())
    lines = [
        f"{found.networks} networks within {check.inputs.band.low:g} to {check.inputs.band.high:g} of the budget, "
        f"{counted(found.truth_seeds, 'longer training')} each.",
        f"Architectures differ by {apart:.2f} points, seeds of one by {seeds:.2f} (standard deviations; "
        f"p = {found.separable.p_value:.2g} that architectures do not differ).",
        f"Regret, in points: {regret} (what is lost if only so many of the short trainings' best are kept).",
        price_sentence(check),
    ]
    values = check.inputs.space["axes"]
    favoured = [
        f"{name} {_end(one, values[name])}" for name, one in found.bias.items() if one.favoured is not None
    ]
    bias = f"it favours {', '.join(favoured)}" if favoured else "none that shows with so many networks"
    left_out = [f"Left out, as a training failed: {name} ({why})." for name, why in check.failures.items()]
    return [*lines, f"Bias of the short training against the longer one: {bias}.", *left_out]


def _end(bias: Bias, values: Any) -> str:
    """The favoured end of an axis; of words it is a place in their list."""
    assert bias.favoured is not None
    is_words = isinstance(values, list) and isinstance(values[0], str)
    return str(values[int(bias.favoured)]) if is_words else f"{bias.favoured:g}"


def price_sentence(check: Check) -> str:
    """Images that both kinds of trainings take."""
    short, long, seeds = check.proxy_images, check.truth_images, len(check.truth_seeds)
    if not short or not long:
        return f"Price: {short:,} images for a short training." if short else "Price: not known of this proxy."
    share = f"{100 * short / (seeds * long):.1f} % of {counted(seeds, 'longer training')}"
    return f"Price: {short:,} images for a short training, {long:,} for a longer one: {share}."


def certificate_json(check: Check) -> dict[str, Any]:
    """Everything that a check knows; `findings` is null until it is complete."""
    found = findings_of(check) if check.is_complete else None
    return {
        "complete": check.is_complete,
        "findings": None if found is None else to_json(found),
        "networks": network_rows(check),
        "inputs": to_json(check.inputs),
        "versions": dict(check.versions),
    }


def network_rows(check: Check) -> list[dict[str, Any]]:
    """One row per network, with what is known of it."""
    truth, rows = truth_pct(check), []
    for one in check.networks:
        scores = truth.get(one.arch.key, ())
        rows.append(
            {
                "network": one.name,
                "key": one.arch.key,
                "latency_ms": one.latency.latency_ms,
                "params": one.params,
                "macs": one.macs,
                "synflow": one.synflow,
                "proxy": check.proxy_pct.get(one.arch.key),
                "truth": fmean(scores) if scores else None,
                **{f"truth_{i + 1}": score for i, score in enumerate(scores)},
                **dict(one.settings or {}),
            }
        )
    return rows


def certificate_figure(check: Check) -> go.Figure:
    """Longer trainings against short ones, a point for each network."""
    truth, figure = truth_pct(check), go.Figure(layout={**LAYOUT, "hoverlabel": {"align": "left"}})
    for name, is_width, color, symbol in (
        ("networks of the space", False, BLUE, "circle"),
        ("published widths", True, ORANGE, "diamond"),
    ):
        some = [
            one
            for one in check.networks
            if (one.published is not None) == is_width
            and one.arch.key in truth
            and one.arch.key in check.proxy_pct
        ]
        means = [fmean(truth[one.arch.key]) for one in some]
        figure.add_scatter(
            x=[check.proxy_pct[one.arch.key] for one in some],
            y=means,
            error_y={
                "array": [max(truth[one.arch.key]) - mean for one, mean in zip(some, means, strict=True)],
                "arrayminus": [mean - min(truth[one.arch.key]) for one, mean in zip(some, means, strict=True)],
                "thickness": 1,
            },
            mode="markers",
            name=name,
            marker={"color": color, "symbol": symbol, "size": 9},
            text=[f"<b>{one.name}</b><br>{one.latency}" for one in some],
            hovertemplate="%{text}<br>%{x:.2f} % short, %{y:.2f} % longer<extra></extra>",
        )
    figure.update_xaxes(title="top-1 in % after the short training")
    figure.update_yaxes(title="mean top-1 in % of the longer trainings (bars: all seeds)")
    return figure


def write_certificate_files(folder: Path, check: Check) -> list[Path]:
    """Write certificate.html and certificate.csv beside the check; raises StorageError."""
    page_path, csv_path = (certificate_path(folder).with_suffix(ending) for ending in (".html", ".csv"))
    write_atomically(page_path, certificate_html(folder.name, check))
    write_atomically(csv_path, pd.DataFrame(network_rows(check)).to_csv(index=False))
    return [page_path, csv_path]


def certificate_html(name: str, check: Check) -> str:
    """The page of a check; the same records give the same bytes."""
    found = findings_of(check) if check.is_complete else None
    head = [progress_line(check)] if found is None else [f"Verdict: {found.verdict}. {found.sentence}"]
    sections = [f'<div class="answer">{paragraphs(head)}</div>']
    if found is not None:
        sections += [
            paragraphs([*finding_sentences(check, found), device_sentence(check.device.passport)]),
            heading("Longer against short trainings"),
            certificate_section(check, found),
        ]
    frame = pd.DataFrame(network_rows(check))
    inputs = key_values(flat(to_json(check.inputs)))
    sections += [heading("Networks"), table(frame), heading("Inputs"), inputs]
    return page(f"Certificate {name}", sections)


def certificate_section(check: Check, found: Findings) -> str:
    """The scatter and the table of taus."""
    words = f"{counted(found.networks, 'network')}; Kendall's tau {interval_text(found.tau)}."
    taus = table(pd.DataFrame(tau_rows(found)))
    figure = drawn(certificate_figure(check), "certificate", words)
    return paragraphs([_FIGURE_NOTE]) + figure + paragraphs([_TABLE_NOTE]) + taus


def _aligned(rows: list[dict[str, str]]) -> list[str]:
    names = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    lines = [{name: name for name in names}, *rows]
    return ["  ".join(row[name].ljust(widths[name]) for name in names).rstrip() for row in lines]
