"""Search spaces: what ships, what is refused and in which words, and what comes out."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig
from mvit2_search.cli import cli
from mvit2_search.errors import SpecError
from mvit2_search.space import Choices, Range, load_space, shipped_spaces

WIDTH, BLOCKS = load_space("width"), load_space("blocks")

WIDTH_KEYS = {WIDTH.decode(params).key for params in WIDTH.points(20_000)}


def space_file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_the_shipped_spaces_are_these():
    assert set(shipped_spaces()) == {"width", "blocks", "attention"}


@pytest.mark.parametrize("width", PUBLISHED_WIDTHS)
@pytest.mark.parametrize("space", [WIDTH, BLOCKS], ids=["width", "blocks"])
def test_every_published_width_is_in_the_shipped_spaces(space, width):
    assert space.decode(space.encode_width(width)) == ArchConfig.mobilevitv2(width)


def test_the_width_space_has_259_networks_and_44_up_to_three_quarters():
    assert len(WIDTH_KEYS) == 259
    assert len({WIDTH.decode(p).key for p in WIDTH.points(20_000) if p["width"] <= 0.75}) == 44


@given(st.floats(0.5, 2.0))
def test_no_network_of_the_width_space_is_overlooked(width):
    assert WIDTH.decode({"width": width}).key in WIDTH_KEYS


def test_a_large_space_is_not_listed():
    assert BLOCKS.points(20_000) is None


@pytest.mark.slow
@given(st.data(), st.floats(0, 1))
def test_moving_towards_the_cheapest_stays_in_the_space(data, share):
    params = {axis.name: data.draw(st.sampled_from(axis.domain.values)) for axis in BLOCKS.axes}
    moved = BLOCKS.towards_cheapest(params, share)
    assert all(moved[axis.name] in axis.domain for axis in BLOCKS.axes)
    assert all(moved[name] <= params[name] for name in params)
    BLOCKS.decode(moved)


def test_share_one_changes_nothing_and_share_zero_is_the_corner():
    params = BLOCKS.encode_width(1.25)
    assert BLOCKS.towards_cheapest(params, 1.0) == params
    corner = BLOCKS.towards_cheapest(params, 0.0)
    assert all(corner[axis.name] == axis.domain.low for axis in BLOCKS.axes)


def test_choices_move_by_rank_and_names_stay():
    assert Choices(values=(4.0, 1.0, 2.0)).towards_low(4.0, 0.5) == 2.0
    assert Choices(values=("a", "b")).towards_low("b", 0.0) == "b"


@pytest.mark.parametrize(
    ("value", "inside"), [(0.5, True), (0.75, True), (0.8, False), (3.5, False), ("x", False), (3.0, True)]
)
def test_a_range_knows_its_steps(value, inside):
    assert (value in Range(low=0.5, high=3.0, step=0.25)) == inside


def test_a_space_of_every_kind_of_setting(tmp_path):
    space = load_space(
        space_file(
            tmp_path,
            """
            name: all
            settings:
              width: {choices: [0.5, 0.75], per_stage: true}
              attention_width: 0.5
              attention_layers: [0, 2, 1]
              kernel_size: {choices: [3, 5], per_stage: true}
              patch_size: {range: [1, 2]}
              inverted_residuals: {range: [1, 3], per_stage: true}
              image_size: 128
              attention: separable
            """,
        )
    )
    params = {axis.name: axis.domain.values[-1] for axis in space.axes}
    arch = space.decode(params)
    assert arch.kernel_sizes == (5,) * 5
    assert arch.attention_layers == (0, 2, 1)
    assert [len(row) for row in arch.expanded_channels] == [3] * 5
    assert arch.image_size == 128
    assert space.encode_width(0.5) is None  # 128 pixels is not what was published


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml:1:1: expected a mapping, found None"),
        ("- 1", "mine.yaml:1:1: expected a mapping, found [1]"),
        ("name: a\nsetings: {}", "mine.yaml:2:1: setings: unknown key; did you mean 'settings'?"),
        ("settings: {}", "mine.yaml:1:1: name: missing"),
        ("name: no\nsettings: {width: 1}", "mine.yaml:1:1: name: expected text, found False"),
        ("name: a\nsettings: {width: 1}", "mine.yaml:2:1: settings: nothing varies"),
        ("name: a\nsettings:\n  widht: 1", "mine.yaml:3:3: settings.widht: unknown key; did you mean 'width'?"),
        ("name: a\nsettings:\n  width: {range: [2, 1]}", "settings.width.range: lowest 2 is not below highest 1"),
        (
            "name: a\nsettings:\n  width: {range: [.nan, 1]}",
            "settings.width.range.0: expected a value from 0.1 to 4",
        ),
        (
            "name: a\nsettings:\n  width: {range: [1e-3, 1]}",
            "range.0: expected a number such as 0.5, found '1e-3'",
        ),
        ("name: a\nsettings:\n  width: {range: [yes, 1]}", "range.0: expected a number such as 0.5, found True"),
        ("name: a\nsettings:\n  width: {range: [1]}", "range: expected [lowest, highest], found [1]"),
        ("name: a\nsettings:\n  width: {range: [1, 2], step: 0.3}", "step: 0.3 does not divide the range of 1"),
        ("name: a\nsettings:\n  width: {range: [1, 2], step: 0}", "step: expected a number above 0"),
        (
            "name: a\nsettings:\n  width: {range: [0.1, 4], step: 0.000000001}",
            "mine.yaml:3:28: settings.width.step: 1e-09 gives 3.9e+09 steps, at most 10,000",
        ),
        ("name: a\nsettings:\n  width: {range: [1, 2], step: 1.0e-320}", "mine.yaml:3:26: settings.width.step"),
        (
            f"name: a\nsettings:\n  width:\n    choices: {[1 + i / 1000 for i in range(1001)]}",
            "mine.yaml:4:5: settings.width.choices: 1,001 values, at most 1,000",
        ),
        (
            f"name: a\nsettings:\n  width:\n    choices: {[1 + i / 30_000 for i in range(30_000)]}",
            "more than 5,000 values in one file",
        ),
        (
            f"name: a\nsettings:\n  width: {{range: [1, 2]}}\n  attention_layers: {[1] * 2000}",
            "one per stage, found 2,000 values",
        ),
        (
            "name: a\nsettings:\n  width: {range: [1, 2], choices: [1]}",
            "settings.width: give either range or choices",
        ),
        ("name: a\nsettings:\n  width: {choices: []}", "choices: expected a list of values, found []"),
        ("name: a\nsettings:\n  width: {choices: [1, 1]}", "choices.1: 1 is given twice"),
        ("name: a\nsettings:\n  width: {choices: [1], step: 1}", "settings.width.step: goes with range only"),
        (
            "name: a\nsettings:\n  width: {range: [1, 2], per_stage: 3}",
            "per_stage: expected true or false, found 3",
        ),
        ("name: a\nsettings:\n  kernel_size: {range: [3, 5]}", "takes choices only: [3, 5]"),
        ("name: a\nsettings:\n  kernel_size: {choices: [3, 4]}", "choices.1: expected one of 3, 5, found 4"),
        ("name: a\nsettings:\n  attention_layers: [1, 2]", "expected one value or a list of 3, one per stage"),
        (
            "name: a\nsettings:\n  attention_layers: {range: [0, 1.5]}",
            "range.1: expected a whole number, found 1.5",
        ),
        ("name: a\nsettings:\n  image_size: {choices: [64], per_stage: true}", "one value for the whole network"),
        ("name: a\nsettings:\n  kernel_size: 3.0\n  width: {range: [1, 2]}", "expected one of 3, 5, found 3.0"),
        (
            "name: a\nsettings:\n  width: {range: [0.1, 1]}\n  ffn_multiplier: 0.5",
            "mine.yaml:2:1: settings: the lowest values make no network: channel counts must be at least 1",
        ),
        ("name: a\nname: b", "mine.yaml:2:1: name: given twice"),
        (
            'name: a\nsettings: {width: !!int ""}',
            "mine.yaml:2:19: tag tag:yaml.org,2002:int: write the value without it",
        ),
        ("!!map {name: a}", "mine.yaml:1:1: tag tag:yaml.org,2002:map: write the value without it"),
        (f"name: a\nsettings: {{width: 0x{'F' * 5000}}}", "is too large a number"),
        ("name: &x a\nsettings: *x", "mine.yaml:2:11: alias *x: write the value out"),
        ("name: a\n\tsettings: 1", "mine.yaml:2:1: not YAML"),
        ("name: [a", "mine.yaml:1:9: not YAML"),
        ("? [a]\n: b", "keys must be plain words"),
        ("name: 2001-99-99", "mine.yaml:1:7: cannot read '2001-99-99'"),
        ("[" * 5000, "mine.yaml:1:21: nested too deeply"),
    ],
)
def test_a_broken_space_names_file_line_and_key(tmp_path, text, message):
    with pytest.raises(SpecError) as error:
        load_space(space_file(tmp_path, text))
    assert message in str(error.value)


def test_the_finest_range_and_the_longest_choices_are_read(tmp_path):
    """Up to the limits."""
    space = load_space(
        space_file(
            tmp_path,
            f"""
            name: most
            settings:
              width: {{range: [1, 2], step: 0.0001, per_stage: true}}
              expand_ratio: {{choices: {[1 + i / 1000 for i in range(1000)]}}}
            """,
        )
    )
    assert [len(axis.domain.values) for axis in space.axes] == [10_001] * 5 + [1000]
    assert space.points(20_000) is None


def test_a_domain_holds_what_it_lists():
    for domain, count in (
        (Range(low=0.5, high=3.0, step=0.25), 11),
        (Range(low=1, high=16, step=1), 16),
        (Range(low=0.1, high=4.0, step=None), 3001),
        (Choices(values=(3, 5)), 2),
    ):
        assert len(domain.values) == count
        assert all(value in domain for value in domain.values)


def test_the_command_refuses_a_space_without_an_end(tmp_path):
    path = space_file(tmp_path, "name: a\nsettings:\n  width: {range: [0.1, 4], step: 0.000000001}")
    for arguments in (["validate", path], ["run", "--space", path, "--data", ".", "--latency-budget", "1ms"]):
        more = ["--study", "a", "--results", str(tmp_path)] if arguments[0] == "run" else []
        ran = CliRunner().invoke(cli, [*arguments, *more])
        assert (ran.exit_code, "mine.yaml:3:28: settings.width.step" in ran.output) == (2, True), ran.output


@pytest.mark.slow
@given(st.text(max_size=60))
def test_no_text_is_anything_but_a_space_or_a_spec_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("fuzz") / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SpecError):
        load_space(str(path))


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8 text at byte 0"):
        load_space(str(path))
    path.write_text("#" * 1_000_001)
    with pytest.raises(SpecError, match="larger than 1,000,000 bytes"):
        load_space(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("widt", "space 'widt': no such shipped space; did you mean 'width'?"),
        ("./missing.yaml", "missing.yaml: no such file"),
    ],
)
def test_a_space_that_is_not_there(name, message):
    with pytest.raises(SpecError) as error:
        load_space(name)
    assert message in str(error.value)
