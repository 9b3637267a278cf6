"""Twenty steps of training by all processes that torchrun started: helper of test_ranks.py.

torchrun rank_driver.py FILE      what they found goes to FILE
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.models import build_model
from mvit2_search.records import Recipe
from mvit2_search.task.classification import Classification
from mvit2_search.task.data.dataset import Split
from mvit2_search.train.loader import Steps, batches
from mvit2_search.train.loop import Execution, Trainer, evaluate
from mvit2_search.train.plan import resolve
from mvit2_search.train.ranks import joined_ranks

STEPS = 20


def freeze_norms(model):
    """Keep the batch statistics as they are, also in training."""
    usual = model.train

    def train(mode=True):
        usual(mode)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return model

    model.train = train


def trained(ranks, accumulate):
    """Losses, the first step's gradients and the score, the same in all processes."""
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, 2, 48)
    split = Split(pixels_NSSC=rng.integers(0, 256, (48, 32, 32, 3), np.uint8), labels_N=labels_N)
    mixing = {"flip": False, "mixup": 0.2, "cutmix": 1.0}
    recipe = Recipe(epochs=1, image_size=32, images_per_epoch=320, batch_size=16, **mixing)
    torch.manual_seed(0)
    arch, task = ArchConfig.mobilevitv2(0.25), Classification(["one", "other"])
    model = build_model(arch, ClassifierHead(2))
    freeze_norms(model)
    execution = Execution(device="cpu", accumulate=accumulate, ranks=ranks)
    trainer = Trainer(model, resolve(recipe, arch, 48), task=task, execution=execution, seed=0)
    steps = Steps(split, recipe, seed=0, rank=ranks.rank, world=ranks.world)
    losses, gradients = [], []
    for batch in batches(steps, 0, STEPS):
        losses.append(ranks.means([trainer.step(batch).item()])[0])
        gradients = gradients or [w.grad.flatten()[:5].tolist() for w in model.parameters()]
    score = evaluate(trainer.averaged_model, split, task, device="cpu", ranks=ranks)
    return {"losses": losses, "gradients": gradients, "score": score.score, "balanced": score.balanced}


def shared(ranks):
    """What each process has after it was given the tensors of the first."""
    tensors = [torch.full((2,), float(ranks.rank)), torch.tensor(ranks.rank)]
    ranks.share(tensors)
    return ranks.gathered([tensor.tolist() for tensor in tensors])


if __name__ == "__main__":
    with joined_ranks("cpu") as both:
        found = {"whole": trained(both, 1), "parts": trained(both, 2), "shared": shared(both), "world": both.world}
        if both.is_first:
            Path(sys.argv[1]).write_text(json.dumps(found))
