"""The oracle: both networks as ml-cvnets defines them, in the plainest form, from our weights by name.

Nothing here is shared with the package but the architecture's numbers and the names of the weights.
"""

import math

import torch
import torch.nn.functional as F

HEADS = 4


def reference_logits(model, x):
    """What `model` should answer in evaluation mode."""
    arch, weights = model.arch, {k: v.detach() for k, v in model.state_dict().items()}
    x = conv_norm(x, weights, "stem", stride=2)
    for i in range(5):
        for j in range(len(arch.expanded_channels[i])):
            x = inverted_residual(x, weights, f"stages.{i}.{j}", stride=2 if i and not j else 1)
        if i >= 2 and arch.attention_layers[i - 2]:
            block = v1_block if arch.family == "mobilevitv1" else v2_block
            patch, layers = arch.patch_sizes[i - 2], arch.attention_layers[i - 2]
            x = block(x, weights, f"stages.{i}.{j + 1}", patch, layers)
    if arch.final_channels:
        x = conv_norm(x, weights, "final")
    return x.mean(dim=(2, 3)) @ weights["classifier.linear.weight"].T + weights["classifier.linear.bias"]


def conv_norm(x, weights, name, *, stride=1, groups=1, act=True):
    kernel = weights[f"{name}.0.weight"]
    x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
    mean, var, scale, shift = (
        weights[f"{name}.1.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
    return x * torch.sigmoid(x) if act else x


def inverted_residual(x, weights, name, *, stride):
    y = conv_norm(x, weights, f"{name}.expand")
    y = conv_norm(y, weights, f"{name}.depthwise", stride=stride, groups=y.shape[1])
    y = conv_norm(y, weights, f"{name}.project", act=False)
    return x + y if stride == 1 and x.shape == y.shape else y


def stretched(x, patch, align_corners):
    size = [math.ceil(side / patch) * patch for side in x.shape[-2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def unfolded(x, patch):
    """[B, D, H, W] to [B, D, P, N]."""
    return F.unfold(x, patch, stride=patch).reshape(*x.shape[:2], patch * patch, -1)


def folded(tokens, patch, size):
    return F.fold(tokens.flatten(1, 2), size, patch, stride=patch)


def v2_block(x, weights, name, patch, layers):
    x = stretched(x, patch, align_corners=True)
    y = conv_norm(x, weights, f"{name}.local", groups=x.shape[1])
    y = F.conv2d(y, weights[f"{name}.to_tokens.weight"])
    tokens = unfolded(y, patch)
    for j in range(layers):
        layer = f"{name}.encoder.layers.{j}"
        tokens = tokens + separable(group_norm(tokens, weights, f"{layer}.norm1"), weights, f"{layer}.mixer")
        tokens = tokens + ffn(group_norm(tokens, weights, f"{layer}.norm2"), weights, layer)
    tokens = group_norm(tokens, weights, f"{name}.encoder.norm")
    return conv_norm(folded(tokens, patch, y.shape[-2:]), weights, f"{name}.from_tokens", act=False)


def group_norm(tokens, weights, name):
    mean = tokens.mean(dim=(1, 2, 3), keepdim=True)
    var = ((tokens - mean) ** 2).mean(dim=(1, 2, 3), keepdim=True)
    scale, shift = weights[f"{name}.weight"][:, None, None], weights[f"{name}.bias"][:, None, None]
    return (tokens - mean) / torch.sqrt(var + 1e-5) * scale + shift


def linear(tokens, weights, name):
    """A linear map of the channels of [B, D, P, N]."""
    mapped = torch.einsum("od,bdpn->bopn", weights[f"{name}.weight"], tokens)
    return mapped + weights[f"{name}.bias"][:, None, None]


def separable(tokens, weights, name):
    """arXiv:2206.02680, section 3: scores, keys and values of every token."""
    dim = tokens.shape[1]
    score, key, value = linear(tokens, weights, f"{name}.qkv").split([1, dim, dim], dim=1)
    context = (torch.softmax(score, dim=-1) * key).sum(dim=-1, keepdim=True)
    return linear(torch.relu(value) * context, weights, f"{name}.out")


def ffn(tokens, weights, layer):
    hidden = linear(tokens, weights, f"{layer}.ffn.0")
    return linear(hidden * torch.sigmoid(hidden), weights, f"{layer}.ffn.2")


def v1_block(x, weights, name, patch, layers):
    y = F.conv2d(conv_norm(x, weights, f"{name}.local"), weights[f"{name}.to_tokens.weight"])
    wide = stretched(y, patch, align_corners=False)
    tokens = unfolded(wide, patch)
    for j in range(layers):
        layer = f"{name}.encoder.layers.{j}"
        mix = multi_head if qkv_rows(weights, layer) == 3 * tokens.shape[1] else separable
        tokens = tokens + mix(layer_norm(tokens, weights, f"{layer}.norm1"), weights, f"{layer}.mixer")
        tokens = tokens + ffn(layer_norm(tokens, weights, f"{layer}.norm2"), weights, layer)
    tokens = layer_norm(tokens, weights, f"{name}.encoder.norm")
    y = F.interpolate(folded(tokens, patch, wide.shape[-2:]), size=x.shape[-2:], mode="bilinear")
    y = conv_norm(y, weights, f"{name}.from_tokens")
    return conv_norm(torch.cat([x, y], dim=1), weights, f"{name}.fuse")


def qkv_rows(weights, layer):
    return len(weights[f"{layer}.mixer.qkv.bias"])


def layer_norm(tokens, weights, name):
    mean = tokens.mean(dim=1, keepdim=True)
    var = ((tokens - mean) ** 2).mean(dim=1, keepdim=True)
    scale, shift = weights[f"{name}.weight"][:, None, None], weights[f"{name}.bias"][:, None, None]
    return (tokens - mean) / torch.sqrt(var + 1e-5) * scale + shift


def multi_head(tokens, weights, name, keys_to=None, values_to=None):
    """arXiv:1706.03762, in 4 heads; `keys_to` and `values_to` [M, N] make it Linformer's (2006.04768)."""
    query, key, value = linear(tokens, weights, f"{name}.qkv").chunk(3, dim=1)
    if keys_to is not None:
        key, value = torch.einsum("mn,bdpn->bdpm", keys_to, key), torch.einsum("mn,bdpn->bdpm", values_to, value)
    mixed = []
    for q, k, v in zip(query.chunk(HEADS, 1), key.chunk(HEADS, 1), value.chunk(HEADS, 1), strict=True):
        scores = torch.einsum("bdpn,bdpm->bpnm", q, k) / math.sqrt(q.shape[1])
        mixed.append(torch.einsum("bpnm,bdpm->bdpn", torch.softmax(scores, dim=-1), v))
    return linear(torch.cat(mixed, dim=1), weights, f"{name}.out")


def randomised(model, seed=0):
    """Weights, biases and normalisation statistics far from their initial values; evaluation mode.

    So that nothing cancels out: a network whose outputs hardly depend on its input would agree with any.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator) if tensor.ndim else tensor
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise.abs())
            elif name.endswith(("running_mean", "bias")):
                tensor.copy_(0.1 * noise)
            elif tensor.ndim == 1:
                tensor.copy_(1 + 0.1 * noise)
            elif tensor.ndim > 1:
                tensor.copy_(noise * math.sqrt(2 / tensor[0].numel()))
    return model.eval()


def relative_error(found, expected):
    """The largest difference over how much `expected` varies between its samples, in one number."""
    spread = (expected - expected.mean(dim=0)).abs().max()
    return float((found - expected).abs().max() / spread)
