"""`mvit2-search evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mvit2_search.cli.options import TRAIN_DATA_HELP, Place, json_option, option, results_option
from mvit2_search.cli.output import echo_json, explain, say
from mvit2_search.system.text import printable


@click.command()
@click.argument("what", type=Place())
@click.option("--data", type=Place(), required=True, help=TRAIN_DATA_HELP)
@option(
    "--train-on",
    "auto",
    "Device that computes a checkpoint: auto, cpu, mps or cuda[:i]. Exported files run on the CPU.",
)
@results_option
@json_option
def evaluate(what: str, data: str, train_on: str, results: Path, as_json: bool) -> None:
    """Score a trained network on test images: top-1, top-5 and the accuracy of each class.

    WHAT is the folder of a training, of which the best checkpoint is scored; one of its checkpoints; or an
    exported file that knows the classes of the data. It is tested on val/ or, without it, on test/; of a folder
    without these, on the images that `train` tests on. The intervals are Wilson's 95 % intervals.

    Images are scaled so that their short side has some more pixels than the network takes, and cut in the
    centre: for a checkpoint as its recipe says, for a file of 256 pixels from 288, and in that proportion, but
    from 384 on uncut.

    \b
    Example:
        mvit2-search evaluate trained --data ~/images
        mvit2-search evaluate trained/checkpoint-last --data ~/images --json
    """
    from mvit2_search.train.device import resolve_train_device
    from mvit2_search.train.evaluation import Share, evaluate_network

    found = evaluate_network(what, data, device=resolve_train_device(train_on), results=results)
    for note in found.notes:
        explain(f"note: {note}", err=True)

    def row(share: Share) -> dict[str, Any]:
        low, high = share.interval_pct
        return {"pct": share.pct, "low_pct": low, "high_pct": high, "right": share.right, "images": share.of}

    if as_json:
        classes = {name: row(share) for name, share in found.classes.items()}
        echo_json(
            {
                "what": found.what,
                "data": found.data,
                "image_size": found.size,
                "source_size": found.source_size,
                "top1": row(found.top1),
                "top5": found.top5 and row(found.top5),
                "classes": classes,
            }
        )
        return
    sizes = f"short side {found.source_size}, centre {found.size}"
    say(f"{found.what} on {found.data}: {found.top1.of:,} images, {sizes}")
    shares = [("top-1", found.top1), *([("top-5", found.top5)] if found.top5 else [])]
    shares += [(f"  {printable(name)}", share) for name, share in found.classes.items()]
    width = max(len(name) for name, _ in shares)
    for name, share in shares:
        low, high = share.interval_pct
        say(f"{name:{width}}  {share.pct:6.2f} %  [{low:.2f}, {high:.2f}]  of {share.of:,}")
