"""`difflab runs`: what there is, what differs, and what is removed."""

import json
import math
import re

import pytest
import yaml

from difflab.cli.main import main
from difflab.cli.run_rows import distinguish
from difflab.experiment.config.words import spelled
from difflab.experiment.store.run import find
from helpers import hostile
from helpers.conf import composed
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
    out = said(capsys, "rm", *["ddpm-fashion16-s0-01234560"] * 2).out
    assert out.count("removed") == 1
    assert sorted(path.name for path in runs.iterdir() if path.is_dir()) == [
        *("bad", "ddpm-fashion16-s1-01234561", "linked", "vp_sde-digits-s0-01234560")
    ]
    assert not list(runs.glob(".*"))
    assert (tmp_path / "elsewhere" / "sound-run" / "config.yaml").exists()


def test_a_list_is_of_the_names_that_are_given(runs, capsys):
    def names(*words):
        return {row["run"] for row in json.loads(said(capsys, "list", *words, "--json").out)}

    ddpm = {"ddpm-fashion16-s0-01234560", "ddpm-fashion16-s1-01234561"}
    assert names("ddpm") == ddpm
    assert names("ddpm-fashion16-s1") == {"ddpm-fashion16-s1-01234561"}
    assert names("vp", "ddpm") == names() == {*ddpm, "vp_sde-digits-s0-01234560"}
    with pytest.raises(SystemExit, match="flow: no run in runs/ begins so"):
        said(capsys, "list", "ddpm", "flow")


def test_what_a_run_was_measured_to_is_shown_and_what_diverged_is_no_number(runs, capsys):
    name = "ddpm-fashion16-s0-01234560"
    out = said(capsys, "show", name).out
    assert "measured: difflab-evaluate paradigm=ddpm seed=0 sampler=heun nfe=20\n  fd_lite0 3, real samples 1.2" in out
    (one,) = json.loads(said(capsys, "show", name, "--json").out)["evaluations"]
    assert one["metrics"]["fd_lite0"] == 3
    for own, scores in ((config(seed=0), {20: math.nan, 5: 2.0}), (config("vp_sde", data="digits"), {20: math.nan})):
        for nfe, score in scores.items():
            write_record(record(own, card(nfe=nfe), runs, fd_lite0=score, fd_lite0_floor=1.2), pictures=False)
    rows = {row["run"]: row for row in json.loads(said(capsys, "--json").out)}
    assert (rows[name]["best"], rows["vp_sde-digits-s0-01234560"]["best"]) == (2, None)
    assert "fd_lite0 2 " in said(capsys).out
    found = json.loads(said(capsys, "show", name, "--json").out)["evaluations"]
    assert {each["metrics"]["fd_lite0"] for each in found} == {None, 2}
    assert "fd_lite0 nan, real samples 1.2" in said(capsys, "show", name).out


def test_many_runs_are_told_apart_within_their_paradigm_and_data():
    same = {f"key{k}": k for k in range(50)}
    rows = [{"paradigm": f"p{k % 2}", "data": "d", "words": {**same, "seed": k // 4, "lr": k % 2}} for k in range(600)]
    distinguish(rows)
    assert [row["apart"] for row in rows] == [[f"seed:{k // 4}"] for k in range(600)]


def test_the_setting_that_is_suggested_chooses_a_run(tmp_path):
    """Also where the first setting that differs is a list, or a text that Hydra would read as something else."""
    for k, (shape, name) in enumerate([([1, 8, 8], "a, b"), ([1, 16, 16], "c")]):
        own = config(data__shape=shape, data__source__name=name, images=(k + 1) * 640)
        (tmp_path / f"ddpm-{k}").mkdir()
        (tmp_path / f"ddpm-{k}" / "config.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(ValueError, match="give more of the name") as refused:
        find(tmp_path, "ddpm")
    word = re.search("as '(.*)'$", str(refused.value))[1]
    assert find(tmp_path, composed(spelled("sample", word), name="sample")["run"]).folder.name == "ddpm-0"
