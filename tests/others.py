"""timm and transformers, against which our networks are held. Only the tests need them."""

import torch
from torch import library

try:
    import torchvision  # noqa: F401  # timm imports it
except RuntimeError:  # it does not load beside a torch that was built for the CPU alone
    for operator in ("nms", "qnms"):
        library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm
import transformers

from mvit2_search.arch import ArchConfig
from mvit2_search.models.libraries import transformers_config
from mvit2_search.models.weights import timm_arguments

__all__ = ["from_transformers", "of_timm", "of_transformers", "transformers_logits"]


def of_timm(arch: ArchConfig, num_classes: int) -> torch.nn.Module:
    name, settings = timm_arguments(arch)
    return timm.create_model(name, num_classes=num_classes, **settings)


def of_transformers(arch: ArchConfig, num_classes: int) -> torch.nn.Module:
    config = transformers_config(arch, num_classes)
    if arch.family == "mobilevitv1":
        return transformers.MobileViTForImageClassification(transformers.MobileViTConfig(**config))
    return transformers.MobileViTV2ForImageClassification(transformers.MobileViTV2Config(**config))


def from_transformers(arch: ArchConfig, folder) -> torch.nn.Module:
    v1, v2 = transformers.MobileViTForImageClassification, transformers.MobileViTV2ForImageClassification
    return (v1 if arch.family == "mobilevitv1" else v2).from_pretrained(folder)


def transformers_logits(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).logits
