"""The published networks of the MobileViT family, by name."""

from mvit2_search.arch.config import V1_SIZES, ArchConfig
from mvit2_search.errors import SpecError

PUBLISHED_WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def published_name(width: float) -> str:
    """`mobilevitv2-0.75`: the published width's name in budgets, tables and reports."""
    return f"mobilevitv2-{width:g}" if width % 1 else f"mobilevitv2-{width:.1f}"


def published(name: str) -> ArchConfig:
    """The published network called `name`, such as `mobilevitv2-0.75` or `mobilevitv1-xs`.

    Raises:
        SpecError: there is none of that name; the message lists all names.
    """
    networks = published_networks()
    if name not in networks:
        raise SpecError(f"{name!r}: expected one of {', '.join(networks)}")
    return networks[name]


def published_networks() -> dict[str, ArchConfig]:
    """All published networks by name, MobileViTv2 first."""
    second = {published_name(width): ArchConfig.mobilevitv2(width) for width in PUBLISHED_WIDTHS}
    return second | {f"mobilevitv1-{size}": ArchConfig.mobilevitv1(size) for size in V1_SIZES}
