"""What the README and the pages of docs/ say, done."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

import difflab
from difflab import guidance, paradigm
from difflab.experiment.parts.search_path import conf_dir
from helpers import generated_pages
from helpers.commands import composes
from helpers.conf import options
from helpers.jobs import run_here

README = Path(__file__).parents[2] / "README.md"
DOCS = README.parent / "docs"
READ_IN_ORDER = ["tour", "paradigms", "latents", "captions", "samplers", "compare", "watch", "own-parts", "python"]


def pages():
    """The README and the pages, those first whose runs the others use."""
    ordered = [DOCS / f"{name}.md" for name in READ_IN_ORDER]
    return [README, *ordered, *sorted({*DOCS.rglob("*.md")} - {*ordered})]


def lines(fence):
    """The lines of all blocks of a language, each page's after those of the pages before it."""
    blocks = [block for page in pages() for block in page.read_text().split(f"```{fence}\n")[1:]]
    return [line for block in blocks for line in block.split("```")[0].splitlines()]


TRAINING = ["images=128", "batch_size=64", "nfe=4", "protocol.n=16", "protocol.n_likelihood=0", "logger=local"]
SMALL = ["backbone.width=16", "backbone.multipliers=[1,2]"]
FEWER_POINTS = {"n": 600, "held_out": 500}
TOY = ["backbone.width=16", *(f"data.source.{key}={value}" for key, value in FEWER_POINTS.items())]
FEWER = ["seed=0,1", "nfe=4", "paradigm=vp_sde,rectified_flow", "schedule=vp", "sampler=ddim"]
BUDGETS = {
    "difflab-train": TRAINING,
    "difflab-reflow": ["pairs=160", "images=128", "nfe=4"],
    "difflab-sample": ["n=4", "nfe=4"],
    "difflab-evaluate": ["n=16", "nfe=4", "n_likelihood=0", "logger=local"],
    "difflab-search": [*(word for word in TRAINING if word != "nfe=4"), "nfe=range(4,9)", "trials=2", *SMALL],
    "difflab-report": [],
    "difflab-check": [],
    "difflab-figure": ["formats=svg", "themes=light"],
}
STUDY = ["images=128", "batch_size=128", "protocol.n=16", "protocol.n_likelihood=0", "logger=local", *FEWER, *SMALL]
TOY_STUDY = [*STUDY[:5], "nfe=4", *TOY]
STUDY += ["data=digits"]  # as the features of the 2,000 default images take long


def lessened(program, words):
    """The words with a budget of moments in place of their own, and so the words in them that train another run."""
    less = BUDGETS[program]
    words = [word.replace("classifier-fashion16", "classifier-digits") for word in words]  # of the study's data here
    words = [re.sub(r"(?<!_to_)emoji$", "digits", word) for word in words]  # whose latents take less time
    words = [
        re.sub('"([^"]*=[^"]*)"', lambda inner: f'"{" ".join(lessened(program, inner[1].split()))}"', w) for w in words
    ]
    if program == "difflab-train":
        less = less + (TOY if "experiment=toy" in words else SMALL)
        if "paradigm=classifier" in words:
            less = [*less, "data=digits"]  # the study's
        elif "first_stage=autoencoder-digits" in words:
            less = [*less, "protocol.n=0", "backbone.attention=[]"]
        elif any(word.startswith("teacher.pairs=") for word in words):
            less = [*less, "teacher.pairs=160"]
        elif not any(word.startswith(("data=", "experiment=")) for word in words):
            less = [*less, "protocol.n=0"]
    if program == "difflab-evaluate" and not any(word.startswith("run=") for word in words):
        less = TOY_STUDY if "experiment=toy" in words else STUDY
    if program == "difflab-figure" and "samplers" in words:
        less = [*less, "nfe=4"]
    if "experiment=text_to_emoji" in words:
        less = [*less, *first_trainings()]
    if "experiment=guidance_scale" in words:
        less = [*less, "guidance.classifier_free.scale=1.0,3.0"]
    given = {word.split("=")[0]: word for word in (*words, *less)}
    return [*given.values()]


def first_trainings():
    """The trainings that experiment=text_to_emoji begins with, each with a budget of moments."""
    node = yaml.safe_load((Path(conf_dir()) / "experiment" / "text_to_emoji.yaml").read_text())
    first = {"first_stage": node["first_stage"]["run"]}
    first |= {f"protocol.{key}": node["protocol"][key] for key in ("contrastive", "classifier")}
    less = {r"images=\d+": "images=128", r"protocol\.n=\S+": "protocol.n=16", r" backbone\.width=\d+": ""}
    for old, new in less.items():
        first = {key: re.sub(old, new, words) for key, words in first.items()}
    return [f'{key}="{words} backbone.width=16"' for key, words in first.items()]


def commands():
    """The commands of the pages in their order, each once, as words."""
    return [shlex.split(line) for line in dict.fromkeys(lines("bash")) if line.startswith("difflab-")]


def test_the_words_of_the_pages_commands_exist(subtests):
    """Every option and every setting, of the first job where there are several."""
    assert {program for program, *_ in commands()} == {*BUDGETS}
    for program, *words in commands():
        with subtests.test(shlex.join([program, *words])):
            composes(program, *words)


@pytest.mark.long
def test_every_command_of_the_pages_runs(tmp_path, monkeypatch, capsys):
    """In their order, each once with a budget of moments; and what is said of the report is there."""
    monkeypatch.chdir(tmp_path)
    for program, *words in commands():
        run_here(program.removeprefix("difflab-"), *lessened(program, words))
    assert (tmp_path / "report" / "index.html").stat().st_size > 1e6
    assert {path.suffix for path in (tmp_path / "report").iterdir()} >= {".html", ".csv", ".md", ".tex"}


def test_the_pictures_of_the_pages_are_there():
    shown = {page: re.findall(r"!\[.*?\]\((.*?)\)", page.read_text()) for page in pages()}
    assert len(shown[README]) == 3
    assert len(shown[DOCS / "figures" / "README.md"]) > 15
    for page, names in shown.items():
        for name in names:
            assert (page.parent / name).stat().st_size > 10_000, (page, name)


def test_the_links_of_the_readme_lead_somewhere():
    """Those of docs/ are checked where the site is built."""
    for target in re.findall(r"(?<!!)\[[^\]]+\]\((\S+?)\)", README.read_text()):
        assert (README.parent / target).is_file(), target


def test_the_tests_that_prove_a_promise_exist():
    """Every row of the page names one, and each stands in the file that it is said to."""
    rows = [line for line in (DOCS / "promises.md").read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| promise |")]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (README.parent / file).read_text(), (file, test)


@pytest.mark.long
def test_the_notebook_of_the_pages_runs(tmp_path, monkeypatch):
    """Its training with fewer points, which take less time to compare with."""
    monkeypatch.chdir(tmp_path)
    program, trainings = re.subn("train\\({", f"train({{'data.source': {FEWER_POINTS}, ", "\n".join(lines("python")))
    assert trainings == 1
    scope = {}
    exec(program, scope)  # our own text
    assert scope["samples"].images.shape == (64, 1, 8, 8)
    assert scope["samples"].nfe == 20
    assert scope["scores"]["run"] == scope["result"]["run"]
    assert scope["digits"].shape == (40, 1, 8, 8)
    assert scope["digits"].float().std() > 20  # of 0..255: neither saturated nor flat
    assert scope["measured"]["test/bits_per_dim_bound"] < 8  # that of uniform noise
    assert scope["points"].std(0) == pytest.approx(torch.ones(2), abs=0.2)  # of the data: 1


def test_the_readmes_table_of_modules_names_what_there_is():
    """Every paradigm, and no other."""
    rows = README.read_text().split("| what you look for |")[1].split("\n\n")[0].splitlines()[2:]
    named = set()
    for _, _, module, presets, file, _ in (line.split("|") for line in rows):
        name = re.search(r"`(?:difflab\.paradigm\.|guidance=)?(\w+)", module)[1]
        assert hasattr(paradigm, name) or hasattr(guidance, name), name
        group, names = presets.replace("`", "").strip().split("=")
        assert {*names.split()} <= {*options(group)}
        named |= {(group, name) for name in names.split()}
        assert (Path(difflab.__file__).parent / file.strip(" `")).is_file(), file
    assert {name for group, name in named if group == "paradigm"} == {*options("paradigm")}


def test_the_table_of_paradigms_lists_every_one():
    rows = [line.split("|")[1] for line in (DOCS / "paradigms.md").read_text().splitlines() if line.startswith("| `")][
        1:
    ]
    assert sorted(name for row in rows for name in row.split("`")[1::2]) == options("paradigm")


def test_the_pages_made_from_the_code_are_up_to_date():
    made = dict(generated_pages.pages())
    assert {page.stem for page in made} >= {"options", "samplers"}
    for page, text in made.items():
        assert page.read_text() == text, f"{page}: cd tests && python -m helpers.generated_pages"
    groups = [folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir()]
    text = (DOCS / "options.md").read_text()
    for group in groups:
        section = text.split(f"\n## {group}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \| \S", section, re.MULTILINE) == options(group), group
