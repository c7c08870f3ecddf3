"""`difflab runs`: what there is, what differs, and what is removed."""

import json

import pytest

from difflab.cli.main import main
from helpers import hostile
from helpers.studies import card, config, record, write_record


def said(capsys, *words):
    main(["difflab", "runs", *words])
    return capsys.readouterr()


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs that differ in their seed, one of other data, and one that cannot be read."""
    monkeypatch.chdir(tmp_path)
    for own in (config(seed=0), config(seed=1), config("vp_sde", data="digits")):
        made = record(own, card(), tmp_path / "runs", fd_lite0=3.0 + own["seed"], fd_lite0_floor=1.2)
        write_record(made, pictures=False)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "config.yaml").write_text("a: \x1b[2J")
    return tmp_path / "runs"


def test_they_are_listed_at_any_width_with_whole_names_and_what_tells_them_apart(runs, monkeypatch, capsys):
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        out, err = said(capsys)
        for name in ("ddpm-fashion16-s0-01234560", "ddpm-fashion16-s1-01234561", "vp_sde-digits-s0-01234560"):
            assert name in out
        assert "finished  80,000  fd_lite0 3 " in out
        assert out.count("seed:") > 1
        assert "bad" in err
        assert "\x1b" not in out + err
    rows = {row["run"]: row for row in json.loads(said(capsys, "--json").out)}
    assert rows["ddpm-fashion16-s1-01234561"]["best"] == 4.0
    assert rows["vp_sde-digits-s0-01234560"]["apart"] == []


def test_two_are_compared_and_one_is_shown(runs, capsys):
    found = json.loads(said(capsys, "diff", "ddpm-fashion16-s0", "ddpm-fashion16-s1", "--json").out)
    assert found == {"seed": [0, 1], "model.seed": [0, 1], "data.seed": [0, 1]}
    assert "backbone.width = 48" in said(capsys, "show", "vp_sde").out
    with pytest.raises(SystemExit, match="diff takes 2 of the runs, not 1"):
        said(capsys, "diff", "vp_sde")


def test_one_is_removed_by_its_whole_name_and_nothing_else(runs, tmp_path, capsys):
    (runs / "linked").symlink_to(hostile.sound_run(tmp_path / "elsewhere"))
    for name in ("ddpm-fashion16-s0", "../runs", "linked", "."):
        with pytest.raises(SystemExit, match="is no run in"):
            said(capsys, "rm", name)
    assert "removed" in said(capsys, "rm", "ddpm-fashion16-s0-01234560").out
    assert sorted(path.name for path in runs.iterdir() if path.is_dir()) == [
        *("bad", "ddpm-fashion16-s1-01234561", "linked", "vp_sde-digits-s0-01234560")
    ]
    assert not list(runs.glob(".*"))
    assert (tmp_path / "elsewhere" / "sound-run" / "config.yaml").exists()
