"""What a network is, as plain data: its configuration, the published networks, and what it costs."""

from mvit2_search.arch.channels import expanded_channels
from mvit2_search.arch.config import (
    ATTENTION_HEADS,
    ATTENTION_STAGES,
    LINFORMER_TOKENS,
    STAGES,
    ArchConfig,
    Attention,
    ChannelOrder,
)
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.arch.published import PUBLISHED_WIDTHS, published, published_name, published_networks

__all__ = [
    "ATTENTION_HEADS",
    "ATTENTION_STAGES",
    "LINFORMER_TOKENS",
    "PUBLISHED_WIDTHS",
    "STAGES",
    "ArchConfig",
    "Attention",
    "ChannelOrder",
    "ClassifierHead",
    "expanded_channels",
    "published",
    "published_name",
    "published_networks",
]
