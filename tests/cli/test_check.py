"""`difflab check`: our own parts hold, their places are counted, and words that name no part are refused."""

from dataclasses import replace

import pytest
import torch

from difflab.cli import check
from difflab.cli.check.laws import FINDINGS
from difflab.cli.check.placement import Placement, on_grid
from difflab.cli.parts import CONTEXTS, options_of, parts
from difflab.data import Moons
from difflab.process.schedule import VP
from difflab.sampler.ddim import DDIM
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.grid import Uniform
from helpers.conf import composed, options
from helpers.jobs import run_here, said_here
from helpers.parts import only


def test_a_law_that_does_not_apply_says_why():
    for word, law, reason in [
        ("sampler=adaptive", "Steps that are taken up again", "it chooses its own steps"),
        ("sampler=langevin", "The observed order", "it declares the order 0.5"),
        ("range=clip", "Guidance that is off", "it has no scale"),
        ("weighting=simple", "`w(target)", "it is 1 on every target"),
        ("paradigm=exact", "After some steps of training", "it has no parameters"),
    ]:
        (part,) = parts([word])
        (found,) = [f for f in FINDINGS[part.group](part) if f.law.startswith(law)]
        assert found.worst is None, word
        assert found.reason.startswith(reason), word


def test_our_own_options_hold():
    """A group names all of its options. The suite holds each to its laws; here is one of every group."""
    for group in ("target", "times", "weighting", "grid", "guidance"):
        assert {option for _, option in options_of(group)} == {*options(group)}
    for part in parts(["target=v", "times=importance", "weighting=min_snr", "grid=karras", "guidance=rescale"]):
        assert [f"{part.title}: {f.worst}" for f in FINDINGS[part.group](part) if f.fails] == []


def test_samplers_take_settings_and_hold():
    for part in parts(["sampler=edm,predictor_corrector"]):
        assert [f.law for f in FINDINGS["sampler"](part) if f.fails] == []
    (part,) = parts(["sampler=ddim", "sampler.eta=0.5"])
    assert part.built == DDIM(0.5)
    assert part.title == "sampler=ddim sampler.eta=0.5"


@pytest.mark.long
def test_of_a_whole_group_what_needs_a_value_is_left_out_and_said_so():
    left = [part for part in parts(["data"]) if part.built is None]
    assert [part.option for part in left] == ["captioned_folder", "folder"]
    assert left[0].notes[0].startswith("please give a value: data.source.root")


def test_parts_are_what_difflab_trains_with():
    """But for what the notes say, and for the classes of a backbone."""
    assert only("schedule=vp") == VP()
    assert only("backbone=mlp").classes == 3
    (dit,) = parts(["backbone=dit_s"])
    assert "held to the laws with width=32 depth=2 heads=2" in dit.notes[0]
    (auto,) = parts(["guidance=autoguidance"])
    assert auto.notes == ("weak is an exact one, in place of a run",)
    assert type(only("data=moons").source) is Moons
    assert {*CONTEXTS} == {*FINDINGS}
    assert composed("schedule=vp")["schedule"]["beta_max"] == 20.0


def test_the_command_prints_laws_and_places_and_ends_by_the_verdict(tmp_path, monkeypatch):
    said = said_here("check", "grid=uniform", "target=v", cwd=tmp_path)
    for word in ("grid=uniform: all 1 laws hold", "target=v: all 4 laws hold", "> uniform", "holds", "dpm_solver_pp"):
        assert word in said
    monkeypatch.setattr("difflab.sampler.grid.Uniform.__call__", lambda self, schedule, steps: torch.zeros(steps + 1))
    monkeypatch.setattr("difflab.cli.check.placement.PLACEMENTS", {})
    said = said_here("check", "grid=uniform", cwd=tmp_path, status=1)
    assert "FAILS" in said
    assert "difflab-check: laws fail. grid=uniform: `steps + 1` times" in said


def test_errors_on_the_images_fall_with_the_evaluations_and_the_order():
    for sampler in (DDIM(), DPMSolverPP()):
        coarse, fine = (on_grid(sampler, VP(), Uniform(), nfe) for nfe in (10, 60))
        assert fine < 0.5 * coarse
    assert on_grid(DPMSolverPP(), VP(), Uniform(), 60) < on_grid(DDIM(), VP(), Uniform(), 60)
    many = on_grid(replace(DPMSolverPP(), solver_order=3), VP(), Uniform(), 400)
    assert many < 0.02, "the reference is the flow"


def test_the_place_of_a_part_counts_those_that_are_better():
    placed = Placement("error", ("a", "b"), {"mine": (2.0, 1.0), "x": (1.0, 3.0), "y": (float("nan"), 0.5)}, "mine")
    assert [placed.rank(k) for k in (0, 1)] == [2, 2]


def test_words_that_name_no_part_are_refused(subtests, capsys):
    for words, said in [
        (["samplr=heun"], "difflab-check: samplr=heun: there are no laws of 'samplr'; valid: .*Did you mean 'sampler'"),
        (["sampler=hein"], "difflab-check: sampler=hein does not exist; valid: .*Did you mean 'heun'"),
        (["sampler=heun", "grid.rho=3"], "difflab-check: grid.rho=3 sets no part that is named"),
        (["sampler=ddim", "sampler.et=1"], "difflab-check: .*'et'"),
        (["data=folder"], "difflab-check: data=folder: please give a value: data.source.root"),
    ]:
        with subtests.test(" ".join(words)), pytest.raises(SystemExit, match=said):
            run_here("check", *words)
    with pytest.raises(SystemExit) as help_:
        check.main(["difflab-check", "--help"])
    assert help_.value.code == 0
    assert "sampler=heun,ddim" in capsys.readouterr().out
