"""The network as data: rounding, keys, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published, published_name
from mvit2_search.arch.config import arch_yaml, read_arch
from mvit2_search.errors import SpecError

# Channels after rounding: arXiv:2206.02680 and ml-cvnets' rules, worked out by hand for odd widths.
CHANNELS = {
    0.25: (16, (16, 32, 64, 96, 128), (32, 48, 64), (64, 96, 128)),
    0.33: (16, (32, 40, 88, 128, 168), (40, 64, 88), (80, 128, 176)),
    0.5: (16, (32, 64, 128, 192, 256), (64, 96, 128), (128, 192, 256)),
    0.6: (24, (48, 80, 152, 232, 304), (80, 112, 152), (160, 224, 304)),
    0.9: (32, (64, 112, 232, 344, 464), (112, 176, 232), (224, 352, 464)),
    1.0: (32, (64, 128, 256, 384, 512), (128, 192, 256), (256, 384, 512)),
    1.1: (32, (64, 144, 280, 424, 560), (144, 208, 280), (288, 416, 560)),
    2.0: (64, (128, 256, 512, 768, 1024), (256, 384, 512), (512, 768, 1024)),
    3.0: (64, (192, 384, 768, 1152, 1536), (384, 576, 768), (768, 1152, 1536)),
}
KEYS = {
    0.5: "cf06bfe6377e",
    0.75: "bd11eccc8f2f",
    1.0: "edcfe95d169d",
    2.0: "6875c36685ff",
}  # frozen: studies on disk hold them

widths = st.floats(0.5, 2.0)
archs = st.builds(
    ArchConfig.mobilevitv2,
    st.tuples(*[widths] * 5),
    attention_layers=st.tuples(*[st.integers(0, 4)] * 3),
    ffn_multiplier=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    expand_ratio=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    inverted_residuals=st.tuples(*[st.integers(1, 3)] * 5),
    kernel_size=st.tuples(*[st.sampled_from([3, 5])] * 5),
    patch_size=st.tuples(*[st.sampled_from([1, 2, 4])] * 3),
    attention=st.tuples(*[st.sampled_from(["separable", "multi_head", "linformer"])] * 3),
    image_size=st.sampled_from([96, 160, 224, 256]),
)


def test_any_sequence_gives_a_value_per_stage():
    arch = ArchConfig.mobilevitv2(np.linspace(1, 2, 5).tolist(), attention_layers=range(1, 4))
    assert arch == ArchConfig.mobilevitv2((1.0, 1.25, 1.5, 1.75, 2.0), attention_layers=(1, 2, 3))


@pytest.mark.parametrize("width", CHANNELS)
def test_channels_round_as_published(width):
    arch = ArchConfig.mobilevitv2(width)
    assert (arch.stem_channels, arch.stage_channels, arch.attention_dims, arch.ffn_dims) == CHANNELS[width]


@pytest.mark.parametrize("width", KEYS)
def test_keys_never_change(width):
    assert ArchConfig.mobilevitv2(width).key == KEYS[width]


@given(archs)
def test_json_gives_the_same_architecture_and_key(arch):
    again = ArchConfig.from_json(arch.to_json())
    assert again == arch
    assert again.key == arch.key


@given(archs, archs)
def test_keys_are_equal_exactly_where_architectures_are(first, second):
    assert (first.key == second.key) == (first == second)


def test_numpy_integers_and_lists_make_no_difference():
    arch = ArchConfig.mobilevitv2(1.0)
    lists = {name: np.array(value).tolist() for name, value in arch.to_json().items() if name == "stage_channels"}
    assert replace(arch, **lists, image_size=np.int64(256)).key == arch.key


def test_widths_that_round_alike_are_one_architecture():
    assert ArchConfig.mobilevitv2(0.7501).key == ArchConfig.mobilevitv2(0.75).key


def test_settings_of_an_absent_block_do_not_count():
    without = [ArchConfig.mobilevitv2(1.0, attention_layers=(2, 4, 0), ffn_multiplier=(2, 2, m)) for m in (1, 3)]
    assert without[0] == without[1]
    assert without[0].attention_dims == (128, 192, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_dims": (1, 2)}, "attention_dims: expected 3 values, one per stage, found 2"),
        ({"stage_channels": (64, 128, 256, 384, 0)}, "channel counts must be at least 1"),
        ({"stage_channels": (64, 128, 256, 384, 1.5)}, "stage_channels: expected a whole number, found 1.5"),
        ({"stage_channels": 64}, "stage_channels: expected a list, found 64"),
        ({"expanded_channels": ((64,), (), (8,), (8,), (8,))}, "stage 2 needs at least one inverted residual"),
        ({"kernel_sizes": (3, 3, 4, 3, 3)}, "kernel_sizes: expected 3 or 5, found 4"),
        (
            {"attention": ("none",) * 3},
            "attention: expected one of separable, multi_head, linformer, found 'none'",
        ),
        ({"image_size": True}, "image_size: expected a whole number, found True"),
        ({"attention_layers": (-1, 4, 3)}, "attention_layers and final_channels at least 0"),
        ({"final_channels": -1}, "attention_layers and final_channels at least 0"),
        ({"family": "mobilevit"}, "family: expected one of mobilevitv2, mobilevitv1, found 'mobilevit'"),
        (
            {"attention": ("separable", "multi_head", "linformer"), "attention_dims": (6, 8, 10)},
            "attention_dims: 10 is no multiple of the 4 heads of linformer attention",
        ),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        replace(ArchConfig.mobilevitv2(1.0), **changes)


def test_a_setting_takes_one_value_or_one_per_stage():
    with pytest.raises(SpecError, match="width: expected one value or 5, one per stage, found 2"):
        ArchConfig.mobilevitv2((1.0, 2.0))


@pytest.mark.parametrize("width", PUBLISHED_WIDTHS)
def test_published_networks_have_names(width):
    assert published(published_name(width)) == ArchConfig.mobilevitv2(width)


@pytest.mark.parametrize(("size", "key"), [("xxs", "c30cd13b5b1c"), ("xs", "e858ced41e20"), ("s", "acfc5089c479")])
def test_the_first_version_is_published_too(size, key):
    assert published(f"mobilevitv1-{size}") == ArchConfig.mobilevitv1(size)
    assert published(f"mobilevitv1-{size}").key == key  # frozen like those of the second


def test_the_first_version_has_no_other_sizes():
    with pytest.raises(SpecError, match="size 'm': expected one of xxs, xs, s"):
        ArchConfig.mobilevitv1("m")


def test_patch_rows_follow_what_each_version_does_with_odd_maps():
    """At 200 pixels stage 3 has a map of 25: stretched to 26, which the second version keeps."""
    second = ArchConfig.mobilevitv2(0.5, image_size=200, patch_size=(2, 2, 4))
    first = replace(ArchConfig.mobilevitv1("xxs"), image_size=200, patch_sizes=(2, 2, 4))
    assert second.patch_rows == (13, 7, 2)
    assert first.patch_rows == (13, 7, 2)
    second = ArchConfig.mobilevitv2(0.5, image_size=136, attention_layers=(2, 0, 3))
    assert second.patch_rows == (9, 0, 3)  # 17 to 18, 9, 5 to 6
    first = replace(ArchConfig.mobilevitv1("xxs"), image_size=132)
    assert first.patch_rows == (9, 5, 3)  # 17, 9, 5, each stretched for itself


def test_an_unknown_published_network_lists_those_there_are():
    with pytest.raises(SpecError, match=r"mobilevitv2-0.6.*expected one of mobilevitv2-0.5, mobilevitv2-0.75"):
        published("mobilevitv2-0.6")


@pytest.mark.slow
@given(archs)
def test_yaml_gives_the_same_architecture(tmp_path_factory, arch):
    path = tmp_path_factory.mktemp("yaml") / "arch.yaml"
    path.write_text(arch_yaml(arch, ["a comment"]))
    assert read_arch(path) == arch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("image_size: 256", "image_sise: 256"),
            r"arch.yaml:\d+:1: image_sise: unknown key; did you mean 'image_size'",
        ),
        (
            ("image_size: 256", "image_size: 1e2"),
            r"arch.yaml: image_size: expected a whole number, found '1e2'",
        ),
        (("stem_channels: 32\n", ""), r"arch.yaml:1:1: stem_channels: missing"),
    ],
)
def test_a_broken_yaml_names_line_and_key(tmp_path, change, message):
    path = tmp_path / "arch.yaml"
    path.write_text(arch_yaml(ArchConfig.mobilevitv2(1.0), []).replace(*change))
    with pytest.raises(SpecError, match=message):
        read_arch(path)
