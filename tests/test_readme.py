"""What the README says, done."""

from pathlib import Path

from conftest import options
from difflab.catalogue import table
from difflab.config import conf_dir
from jobs import finish, start

README = Path(__file__).parents[1] / "README.md"


def commands(fence):
    blocks = README.read_text().split(f"```{fence}\n")[1:]
    return [line for block in blocks for line in block.split("```")[0].splitlines()]


def test_every_command_of_the_readme_runs(tmp_path):
    """In their order, each with a budget of moments."""
    small = {
        "difflab-train": ["images=512", "batch_size=128", "nfe=4", "protocol.n=16"],
        "difflab-reflow": ["pairs=160", "images=128", "nfe=4"],
        "difflab-sample": ["n=4", "nfe=4"],
        "difflab-evaluate": ["n=16", "nfe=4", "n_likelihood=2"],
    }
    unet = ["backbone.width=16", "backbone.multipliers=[1,2]", "protocol.n_likelihood=0"]
    ours = [line.split() for line in commands("bash") if line.startswith("difflab-")]
    assert len(ours) >= 8
    for program, *words in ours:
        less = small[program] + (unet if program == "difflab-train" and "experiment=toy" not in words else [])
        given = {word.split("=")[0] for word in less}
        kept = [word for word in words if word.split("=")[0] not in given]
        finish(start(program.removeprefix("difflab-"), *kept, *less, cwd=tmp_path))


def test_the_notebook_of_the_readme_runs():
    lines = commands("python")
    scope = {}
    exec("\n".join(lines), scope)  # our own text
    assert scope["samples"].images.shape == (64, 1, 8, 8)
    assert scope["samples"].evaluations == 20


def test_the_readmes_table_of_samplers_is_that_of_the_code():
    assert table() in README.read_text()


def test_the_readmes_table_lists_every_option():
    rows = [line.split("|")[1:3] for line in README.read_text().splitlines() if line.startswith("| `")]
    listed = {group.strip(" `"): set(choices.split("`")[1::2]) for group, choices in rows}
    listed["paradigm"] = {name for names in listed for name in names.split("` `") if name in options("paradigm")}
    groups = [folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir()]
    for group in groups:
        assert listed[group] == set(options(group)), group
