"""What is kept of measurements: one place writes and reads it, also what earlier versions and hands left there."""

import json
from dataclasses import asdict

import pytest
from click.testing import CliRunner

import mvit2_search.measure.source as latencies
from fakes import macs_device, measurement
from mvit2_search.arch import ArchConfig
from mvit2_search.cli import cli
from mvit2_search.errors import StorageError
from mvit2_search.records import AboutMixer, AboutNetwork, Kept, Samples
from mvit2_search.store.measurements import Measurements

NETWORK = AboutNetwork(arch=ArchConfig.mobilevitv2(0.5), num_classes=1000, formulation="rank5")
MIXER = AboutMixer(mixer="linformer", tokens=1024, channels=512)
VISIT = Samples(candidate_ms=(1.0, 2.0), reference_ms=(3.0, 4.0), unit=2, load_ms=5.0, placement=(("cpu", 1.0),))
KNOWN = {"reference_ms": 10.0, "unit": 1, "scatter": {"variance": 0.0, "freedom": 5}, "aa_test": []}


def kept(about=NETWORK, name="a", latency_ms=7.0):
    return Kept(measurement=measurement(latency_ms, artifact_sha256=name), about=about, visits=(VISIT,))


def write(folder, name, row):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(row))


@pytest.mark.parametrize("about", [NETWORK, MIXER, None], ids=["network", "mixer", "not said"])
def test_what_is_written_is_read(tmp_path, about):
    Measurements(tmp_path).put(kept(about))
    assert Measurements(tmp_path).get("a") == kept(about)
    assert Kept.from_json(json.loads(json.dumps(kept(about).to_json()))) == kept(about)


def test_whole_networks_are_listed_by_file_name_as_multiples_of_what_the_reference_takes(tmp_path):
    folder = Measurements(tmp_path)
    for name, ms in (("b", 7.0), ("a", 3.0)):
        folder.put(kept(name=name, latency_ms=ms))
    folder.put(kept(MIXER, name="c"))
    assert [(about, one.latency_ms) for about, one in folder.networks()] == [(NETWORK, 3.0), (NETWORK, 7.0)]
    write(tmp_path, "reference", {"known": KNOWN | {"reference_ms": 20.0}})
    assert [one.latency_ms for _, one in folder.networks()] == [6.0, 14.0]
    assert Measurements(tmp_path / "nowhere").networks() == []


def test_files_of_earlier_versions_and_of_other_programs_disturb_nobody(tmp_path):
    old = asdict(measurement())
    for name in ("unit", "visits", "set_aside", "placement"):
        del old[name]
    write(tmp_path, "oldest", {"measurement": old, "samples": asdict(VISIT)})
    write(tmp_path, "mixer", {"measurement": asdict(measurement()), "about": None, "visits": []})
    write(tmp_path, "reference", {"reference_ms": 10.0, "passport": {}, "samples": {}})
    (tmp_path / "._mixer.json").write_bytes(b"\x00\x05\x16\x07\xff")
    (tmp_path / ".mixer.json.17.tmp").write_text("{")
    folder = Measurements(tmp_path)
    assert folder.networks() == []
    assert folder.get("oldest").measurement.visits == 1


def edited(**changes):
    row = kept().to_json()
    return row | {"measurement": row["measurement"] | changes}


@pytest.mark.parametrize(
    "row",
    [
        [],
        3,
        {},
        {"measurement": {"flags": []}},
        kept().to_json() | {"about": 3},
        kept().to_json() | {"about": {}},
        kept().to_json() | {"about": {"arch": {}, "num_classes": 10, "formulation": "rank5"}},
        kept().to_json() | {"about": {"mixer": "linformer"}},
        kept().to_json() | {"visits": [{"candidate_ms": 3}]},
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
            kept().to_json() | {"about": NETWORK.to_json() | {"num_classes": classes}}
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
    write(tmp_path, "reference", {"known": KNOWN | changes})
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
