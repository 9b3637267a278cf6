"""Some steps of shared weights by all processes that torchrun started: helper of test_shared.py.

torchrun shared_rank_driver.py FILE      what they found goes to FILE
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from families import RECIPE, a_dataset, a_family, a_job, coloured
from mvit2_search.train.full import new_trainer
from mvit2_search.train.loader import Steps, batches
from mvit2_search.train.ranks import Ranks, joined_ranks
from mvit2_search.train.shared import SharedTrainer

STEPS = 3
IMAGES = 8  # all of them are drawn before any is drawn again


def learnt(ranks: Ranks, accumulate: int) -> list[float]:
    """The gradients of the first step and the weights after the last, some of each tensor."""
    count = IMAGES * ranks.world * accumulate
    recipe = replace(RECIPE, images_per_epoch=8 * count, batch_size=count, flip=False, optimizer="sgd")
    dataset = a_dataset(train=coloured(IMAGES, 7))
    with tempfile.TemporaryDirectory() as folder:
        job = a_job(
            Path(folder), recipe=recipe, dataset=dataset, execution={"ranks": ranks, "accumulate": accumulate}
        )
    trainer = SharedTrainer(new_trainer(job, None), a_family())
    steps = Steps(job.data.train, recipe, seed=0, rank=ranks.rank, world=ranks.world)
    found: list[float] = []
    for batch in batches(steps, 0, STEPS):
        trainer.step(batch)
        found = found or [x for w in trainer.model.parameters() for x in w.grad.flatten()[:5].tolist()]
    return found + [x for w in trainer.model.parameters() for x in w.flatten()[:5].tolist()]


if __name__ == "__main__":
    with joined_ranks("cpu") as both:
        results = {
            "whole": both.gathered(learnt(both, 1)),
            "parts": both.gathered(learnt(both, 2)),
            "world": both.world,
        }
        if both.is_first:
            Path(sys.argv[1]).write_text(json.dumps(results))
