"""Each command on the page of the texts' claims, with a budget of moments, in its order and in one folder."""

import re
import shlex
from pathlib import Path

import pytest

import difflab
from helpers.claims import book, claims
from helpers.commands import composes
from helpers.jobs import run_here

TRAINING = ["images=64", "batch_size=32", "protocol.n=0", "protocol.n_likelihood=0", "logger=local", "trainer=cpu"]
IMAGES = ["data=digits", "backbone.width=16", "backbone.multipliers=[1,2]", "nfe=2"]
POINTS = ["backbone.width=16", "data.source.n=200", "data.source.held_out=100"]
ONE_RUN = ["n=16", "n_likelihood=2", "logger=local"]
BUDGETS = {
    "difflab-train": TRAINING,
    "difflab-reflow": ["pairs=64", "images=64", "nfe=2"],
    "difflab-sample": ["n=2", "nfe=2"],
    "difflab-evaluate": ["dry_run=true"],  # of studies, and of the demo; other tests measure what takes less time
    "difflab-figure": ["formats=svg", "themes=light"],
}
NARROWER = {
    "experiment=trilemma": ["seed=0", "paradigm=gan"],
    "experiment=schedules_by_nfe": ["seed=0", "nfe=5", "schedule=ddpm_linear"],
    "experiment=targets_by_weighting": ["seed=0", "target=x0", "weighting=simple"],
    "experiment=ddpm_objectives": ["dry_run=true", "target=x0", "draws=one", "weighting=simple"],
    "experiment=few_steps_toy": ["nfe=1", "paradigm=mean_flow"],
    "experiment=noise_levels": ["seed=0", "schedule.T=2"],
    "experiment=schedules_by_data": ["seed=0", "nfe=10", "data=digits", "schedule=learned"],
    "experiment=times": ["seed=0", "nfe=10", "times=curriculum", "paradigm=ddpm", "data=digits"],
    "experiment=backbones": ["seed=0", "nfe=10", "backbone=dit_matched", "paradigm=ddpm", "data=digits"],
    "experiment=determinism": ["nfe=5"],
    "experiment=samplers_by_nfe": ["sampler=ddim,heun", "nfe=5"],
    "experiment=guidance_scale": ["guidance.classifier_free.scale=1.0,3.0"],
    "paradigm=progressive_distillation": ["steps.rounds=2"],
    "paradigm=hierarchical_vae": ["schedule.T=2", "backbone.attention=[]", "layers=separate"],
    "draws=chain,two,one": ["draws=chain", "batch_size=64"],  # which the steps of the chain divide
    "target=mean,x0,eps": ["target=mean"],
    "first_stage=autoencoder-digits": ["backbone.attention=[]"],
    "samplers": ["nfe=2"],
    "eta": ["label=0"],
    "guidance": ["label=0", "scale=1,3"],
    "likelihood": ["n=2"],
}


def lessened(program, words):
    """The words with a budget of moments in place of their own, and with one value in place of several."""
    less = BUDGETS.get(program, [])
    if program == "difflab-train":
        less = less + (POINTS if "experiment=toy" in words else IMAGES)
    if program == "difflab-evaluate" and any(word.startswith("run=") and word != "run=demo" for word in words):
        less = ONE_RUN
    if "dry_run=true" in words:
        less = []
    words = [word.replace("autoencoder-fashion16", "autoencoder-digits") for word in words]  # of the data here
    less = less + [each for word in words for each in NARROWER.get(word, [])]
    return [*{word.split("=")[0]: word for word in (*words, *less)}.values()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("claims")


COMMANDS = dict.fromkeys(claim.command for claim in claims())


def test_the_words_of_each_command_exist(subtests):
    for command in COMMANDS:
        with subtests.test(command):
            composes(*shlex.split(command))


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_of_a_claim_runs(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    program, *words = shlex.split(command)
    run_here(program.removeprefix("difflab-"), *lessened(program, words))


def test_the_claims_name_files_and_pages_that_exist():
    pages = Path(__file__).parents[2] / "docs"
    for claim in claims():
        assert (Path(difflab.__file__).parent / claim.file).is_file(), claim
        if not isinstance(claim.shows, dict):
            path, _, anchor = claim.shows.partition("#")  # mkdocs checks the anchors, too
            assert (pages / path).is_file(), claim
            assert not anchor or anchor in anchors((pages / path).read_text()), claim


def anchors(page):
    """The anchors of the headings of a page, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_every_claim_is_in_both_languages():
    for section in book()["sections"]:
        for each in (*section["rows"], *section.get("notes", ()), *([section["intro"]] if "intro" in section else [])):
            assert each["en"].isprintable()
            assert any("\u4e00" <= sign <= "\u9fff" for sign in each["zh"]), each["en"]
