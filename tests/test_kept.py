"""What is kept of measurements: one place writes and reads it, also what earlier versions and hands left there."""

import json
from dataclasses import asdict

import pytest
from click.testing import CliRunner

import mvit2_search.measure.source as latencies
from fakes import macs_device, measurement
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.errors import StorageError
from mvit2_search.records import AboutMixer, AboutNetwork, Kept, Samples
from mvit2_search.records.codec import from_json, to_json
from mvit2_search.store.measurements import Measurements
from summaries import PASSPORT

NETWORK = AboutNetwork(arch=ArchConfig.mobilevitv2(0.5), head=ClassifierHead(1000), formulation="rank5")
MIXER = AboutMixer(mixer="linformer", tokens=1024, channels=512)
VISIT = Samples(candidate_ms=(1.0, 2.0), reference_ms=(3.0, 4.0), unit=2, load_ms=5.0, placement=(("cpu", 1.0),))
KNOWN = {"reference_ms": 10.0, "unit": 1, "scatter": {"variance": 0.0, "freedom": 5}, "aa_test": []}


def kept(about=NETWORK, name="a", latency_ms=7.0):
    return Kept(measurement=measurement(latency_ms, artifact_sha256=name), about=about, visits=(VISIT,))


def write(folder, name, row):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(row))


@pytest.mark.parametrize("about", [NETWORK, MIXER], ids=["network", "mixer"])
def test_what_is_written_is_read(tmp_path, about):
    Measurements(tmp_path).put(kept(about))
    assert Measurements(tmp_path).get("a") == kept(about)
    assert from_json(json.loads(json.dumps(to_json(kept(about)))), Kept) == kept(about)


def test_whole_networks_are_listed_by_file_name_as_multiples_of_what_the_reference_takes(tmp_path):
    folder = Measurements(tmp_path)
    for name, ms in (("b", 7.0), ("a", 3.0)):
        folder.put(kept(name=name, latency_ms=ms))
    folder.put(kept(MIXER, name="c"))
    assert [(about, one.latency_ms) for about, one in folder.networks()] == [(NETWORK, 3.0), (NETWORK, 7.0)]
    write(tmp_path, "reference", reference(reference_ms=20.0))
    (tmp_path / "._mixer.json").write_bytes(b"\x00\x05\x16\x07\xff")  # of another program
    (tmp_path / ".mixer.json.17.tmp").write_text("{")
    assert [one.latency_ms for _, one in folder.networks()] == [6.0, 14.0]
    assert Measurements(tmp_path / "nowhere").networks() == []


def reference(**changes):
    return {"known": KNOWN | changes, "passport": asdict(PASSPORT), "visits": []}


def edited(**changes):
    row = to_json(kept())
    return row | {"measurement": row["measurement"] | changes}


@pytest.mark.parametrize(
    "row",
    [
        [],
        3,
        {},
        {"measurement": {"flags": []}},
        to_json(kept()) | {"about": 3},
        to_json(kept()) | {"about": {}},
        to_json(kept())
        | {"about": {"kind": "network", "arch": {}, "head": {"classes": 10}, "formulation": "rank5"}},
        to_json(kept()) | {"about": {"kind": "mixer", "mixer": "linformer"}},
        to_json(kept()) | {"visits": [{"candidate_ms": 3}]},
        edited(latency_ms="7.0"),
        edited(latency_ms=float("nan")),
        edited(latency_ms=-1.0),
        edited(reference_ms=0),
        edited(low_ms=None),
        edited(nonsense=1),
        edited(latency_ms=10**400),
        edited(flags="slow"),
        edited(low_ms=7.5),
        edited(high_ms=6.5),
        *(
            to_json(kept()) | {"about": to_json(NETWORK) | {"head": {"classes": classes}, "kind": "network"}}
            for classes in ("x", 0, 2.0, True)
        ),
    ],
)
def test_a_file_that_was_edited_by_hand_is_named_with_the_remedy(tmp_path, row):
    write(tmp_path, "a", row)
    with pytest.raises(StorageError, match=r"a\.json: cannot be read .* delete it to measure again"):
        Measurements(tmp_path).networks()
    with pytest.raises(StorageError, match=r"a\.json: cannot be read"):
        Measurements(tmp_path).get("a")


def test_so_are_lists_in_lists_without_end(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(StorageError, match=r"a\.json: cannot be read .* delete it to measure again"):
        Measurements(tmp_path).get("a")


@pytest.mark.parametrize(
    "changes",
    [{"reference_ms": 10**400}, {"reference_ms": 0.0}, {"unit": 0}, {"reference_ms": "1"}, {"scatter": 3}],
)
def test_so_is_a_reference(tmp_path, changes):
    write(tmp_path, "reference", reference(**changes))
    for read in (Measurements(tmp_path).networks, Measurements(tmp_path).reference):
        with pytest.raises(StorageError, match=r"reference\.json: cannot be read .* delete it to measure again"):
            read()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "{", '{"measurement": {"latency_ms": 12.0, "fla', "\x00\x00"])
def test_half_a_file_is_one_line_and_exit_4(tmp_path, monkeypatch, instant_export, text):
    monkeypatch.setattr(latencies, "make_device", lambda name: macs_device())
    command = ["measure", "mobilevitv2-0.75", "--device", "host", "--results", str(tmp_path)]
    assert CliRunner().invoke(cli, command).exit_code == 0
    (path,) = tmp_path.glob(".latencies/*/*1000*.json")
    path.write_text(text)
    for more in ([], ["--predict"]):
        ran = CliRunner().invoke(cli, [*command, *more])
        assert ran.exit_code == 4
        assert ran.stderr.count("\n") == 1
        assert f"{path}: cannot be read" in ran.stderr
        assert "delete it" in ran.stderr
    path.unlink()
    assert CliRunner().invoke(cli, command).exit_code == 0
