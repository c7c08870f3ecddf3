"""What commands print: what a job is about, how far it is, and first the three scores that matter."""

import json
import re
import time
from pathlib import Path

import pytest

from difflab.cli.console import headline, headline_rows, metric_rows
from difflab.experiment.machine import terminal
from difflab.experiment.machine.terminal import bar, duration, job_of_study, phase, remark
from difflab.experiment.parts.identity import label
from difflab.experiment.store.stored_evaluation import load_evaluation
from difflab.experiment.training import opening
from helpers.jobs import TOY, run_here, said_here


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a first training prints, what the same command prints afterwards, and with -v; and the folder."""
    folder = tmp_path_factory.mktemp("console")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "TIMED", 1)
        first = said_here("train", *TOY, cwd=folder)
    return first, said_here("train", *TOY, cwd=folder), said_here("train", *TOY, "-v", cwd=folder), folder


def test_a_training_says_what_it_is_about_before_it_begins(told):
    first, again, _, folder = told
    lines = first.splitlines()
    lines = lines[next(k for k, line in enumerate(lines) if line.startswith("data:")) :]
    heads = [line.partition(":")[0] for line in lines]
    assert heads[:5] == ["data", "network", "device", "budget", "run"]
    assert re.search(r"MLP of [\d,]+ parameters, [\d.]+ MFLOP an image forwards", lines[1])
    assert lines[2].split() == ["device:", "cpu,", "fp32"]
    assert re.search(r"640 images in 10 steps of 64, 1\.25 epochs; about .* of training and .* of sampling", lines[3])
    (picture,) = [line.partition(": ")[2] for line in lines if line.startswith("first samples")]
    assert (folder / picture).is_file()
    assert not [line for line in again.splitlines() if line.startswith(("network", "budget"))], "nothing is trained"


def test_the_three_scores_that_matter_come_first_and_the_rest_on_request(told):
    first, again, verbose, _ = told
    for said in (first, again):
        assert said.count("lower is better") >= 1
        assert "network evaluations" not in said
        assert "all:     -v after the same command shows all numbers" in said
    assert "network evaluations" in verbose
    assert "real against real" in verbose
    assert "all: " not in verbose


def test_the_headline_is_a_distance_what_is_missed_and_copies():
    def found(**scores):
        return {"metrics": {"n": 9, "n_floor": 9, **scores, **{f"{key}_floor": 0.0 for key in scores}}}

    every = found(fd_lite0=1.0, kid_lite0=1.0, recall_lite0=0.5, coverage_lite0=0.5, copies=0.0)
    assert headline(every) == ["fd_lite0", "coverage_lite0", "copies"]
    asked = found(fd_lite0=1.0, class_accuracy=0.9, coverage_lite0=0.5, copies=0.0)
    assert headline(asked) == ["fd_lite0", "class_accuracy", "coverage_lite0"]
    assert headline(found(w2=1.0, energy=2.0)) == ["w2", "energy"]
    assert headline({"loss": 1.0}) == []
    assert headline_rows(found(w2=1.0))[0] == ("w2", "1", "0", "Wasserstein-2: lower is better")


def test_an_evaluation_of_an_earlier_version_is_shown_without_what_it_lacks(told):
    """Those costs, notes, texts of the card and scores that version 0.1 did not write."""
    _, _, _, folder = told
    (path,) = folder.glob("runs/*/evaluations/*.json")
    found = json.loads(path.read_text())
    complete = dict(row[:2] for row in metric_rows(found))
    assert complete["peak memory"].endswith(" GiB")
    for key in ("peak_memory", "device"):
        del found["cost"][key]
    found.pop("notes", None)
    path.with_name("earlier.json").write_text(json.dumps(found))
    earlier = dict(row[:2] for row in metric_rows(load_evaluation(path.with_name("earlier.json"))))
    gone = {"peak memory", *(key for key in complete if key.startswith("note on"))}
    assert earlier == {key: value for key, value in complete.items() if key not in gone}


def test_the_jobs_of_a_study_print_a_line_each_and_a_remark_once(tmp_path):
    said = said_here("evaluate", "-m", *TOY, "sampler=ddim,heun", "nfe=4,6", cwd=tmp_path)
    lines = [line for line in said.splitlines() if line.startswith("job ")]
    assert [line.partition(":")[0] for line in lines] == [f"job {k} of 4" for k in (1, 2, 3, 4)]
    assert re.search(r"^job 1 of 4: nfe=4 sampler=ddim: trained, measured, .* left$", lines[0])
    assert re.search(r"^job 2 of 4: nfe=4 sampler=heun: measured, ", lines[1])
    assert "left" not in lines[-1]
    for head in ("network", "budget", "run", "first samples", "[", "training"):
        assert not [line for line in said.splitlines() if line.startswith(head)], head
    notes = [line for line in said.splitlines() if line.startswith("note on")]
    assert len(notes) == len({*notes})
    verbose = said_here("evaluate", "-m", *TOY, "sampler=ddim,heun", "nfe=4,6", "-v", cwd=tmp_path)
    assert "more scores of each" not in verbose


def test_bars_and_phases_are_lines_where_nothing_can_move(capsys, monkeypatch):
    with bar("samples", 1200) as done:
        done(600)
        done(1200)
    assert capsys.readouterr().err == "samples: 1,200/1,200 images  0 s left\n"
    with phase("likelihood"):
        pass
    assert capsys.readouterr().err == "", "it was short"
    monkeypatch.setattr(terminal, "LONG", 0.0)
    with phase("likelihood"):
        time.sleep(0.2)
    assert capsys.readouterr().err == "likelihood ..\n"
    with job_of_study("job 2 of 3"):
        with bar("samples", 12) as done:
            done(12)
        with phase("likelihood"):
            time.sleep(0.2)
        for _ in range(2):
            remark("a remark of this test")
    out, err = capsys.readouterr()
    assert (out, err) == ("a remark of this test\n", "job 2 of 3: likelihood ..\n")


def test_durations_are_read_at_a_glance():
    for seconds, text in [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (95, "1 min 35 s"),
        (3599, "59 min"),
        (3600, "1 h"),
        (9000, "2 h 30 min"),
    ]:
        assert duration(seconds) == text


def test_runs_are_named_by_what_was_varied_and_found_by_their_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for schedule in ("vp", "ddpm_cosine"):
        run_here("train", *TOY, "paradigm=vp_sde", f"schedule={schedule}", "protocol.n=0")
    assert label({"seed": 0, "command": "difflab-train lr=0.001 precision=fp32 batch_size=8"}) == (
        "s0-lr0.001-batch_size8-fp32"
    )
    names = sorted(path.name for path in Path("runs").iterdir() if path.is_dir())
    assert [re.sub("-[0-9a-f]{8}$", "", name) for name in names if not name.startswith(".")] == [
        "vp_sde-eight_gaussians-s0-ddpm_cosine-width16-batch_size64",
        "vp_sde-eight_gaussians-s0-vp-width16-batch_size64",
    ]
    sample = ["n=10", "nfe=4"]
    with pytest.raises(SystemExit, match=r"run=vp_sde may be .*\(schedule:ddpm_cosine\).*'run=\[vp_sde,schedule:"):
        run_here("sample", "run=vp_sde", *sample)
    run_here("sample", "run=[vp_sde,schedule:vp]", *sample)
    run_here("sample", "run=schedule:vp", *sample)
    assert [path.parts[1] for path in Path("runs").glob("*/samples/draw*")] == [names[1]]
    with pytest.raises(SystemExit, match="has such a name and these settings"):
        run_here("sample", "run=[vp_sde,schedule:ve]", *sample)
