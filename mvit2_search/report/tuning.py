"""What `mvit2-search proxy tune` prints."""

from collections.abc import Sequence
from typing import Any

from mvit2_search.analysis.certificate import Findings
from mvit2_search.records.certificate import Tuning
from mvit2_search.records.codec import to_json
from mvit2_search.report.certificate import interval_text

Tried = tuple[Tuning, Findings | None]  # the findings are None where too few networks could be trained


def tried_line(one: Tried) -> str:
    """A setting and its tau."""
    tuning, found = one
    taught = ", with the teacher" if tuning.is_taught else ""
    recipe = tuning.recipe
    what = f"{recipe.epochs} x {recipe.images_per_epoch:,} images at {recipe.image_size} pixels{taught}"
    if found is None:
        return f"{what}: too few networks could be trained"
    return f"{what}: tau {interval_text(found.tau)} over {found.networks} networks"


def tuning_lines(tried: Sequence[Tried], target_tau: float, *, reached: bool) -> list[str]:
    """All settings that were tried, and the options that give the one that reaches the target."""
    lines = [tried_line(one) for one in tried]
    if not reached:
        return [*lines, f"None of these reaches a tau of {target_tau:g}."]
    recipe = tried[-1][0].recipe
    flags = f"`epochs` {recipe.epochs} `images_per_epoch` {recipe.images_per_epoch}"
    flags += f" `image_size` {recipe.image_size}"
    taught = " with the teacher" if tried[-1][0].is_taught else ""
    return [*lines, f"The cheapest that reaches a tau of {target_tau:g}{taught}: {flags}"]


def tuning_json(tried: Sequence[Tried], target_tau: float, *, reached: bool) -> dict[str, Any]:
    """The same for programs; the last one tried is the answer if the target is reached."""
    return {
        "target_tau": target_tau,
        "reached": reached,
        "tried": [
            {
                "epochs": tuning.recipe.epochs,
                "images_per_epoch": tuning.recipe.images_per_epoch,
                "image_size": tuning.recipe.image_size,
                "teacher": tuning.is_taught,
                "networks": 0 if found is None else found.networks,
                "tau": None if found is None else to_json(found.tau),
            }
            for tuning, found in tried
        ],
    }
