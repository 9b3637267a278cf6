"""The moving average of weights, beside torch's."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.models import build_model
from mvit2_search.train.average import Average


@pytest.mark.parametrize("statistics", [True, False])
def test_the_average_is_torchs_bit_for_bit(statistics):
    torch.manual_seed(0)
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(2))
    ours = Average(model, decay=0.75, statistics=statistics)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75), use_buffers=statistics)
    for _ in range(3):
        model(torch.rand(2, 3, 32, 32))  # moves the batch statistics
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
        ours.follow()
        torchs.update_parameters(model)
    assert ours.steps == torchs.n_averaged == 3
    expected = torchs.module.state_dict()
    for name, tensor in ours.model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, expected[name]), name
