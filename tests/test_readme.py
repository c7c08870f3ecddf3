"""What the README says, done."""

from pathlib import Path

from conftest import options
from jobs import finish, start

README = Path(__file__).parents[1] / "README.md"


def commands(fence):
    blocks = README.read_text().split(f"```{fence}\n")[1:]
    return [line for block in blocks for line in block.split("```")[0].splitlines()]


def test_every_command_of_the_readme_runs(tmp_path):
    """In their order, each with a budget of moments."""
    small = {
        "difflab-train": ["backbone.width=16", "backbone.multipliers=[1,2]", "images=256", "nfe=4", "protocol.n=16"],
        "difflab-sample": ["n=4", "nfe=4"],
        "difflab-evaluate": ["n=16", "nfe=4"],
    }
    ours = [line.split() for line in commands("bash") if line.startswith("difflab-")]
    assert len(ours) >= 4
    for program, *words in ours:
        given = {word.split("=")[0] for word in small[program]}
        kept = [word for word in words if word.split("=")[0] not in given]
        finish(start(program.removeprefix("difflab-"), *kept, *small[program], cwd=tmp_path))


def test_the_notebook_of_the_readme_runs():
    lines = commands("python")
    scope = {}
    exec("\n".join(lines), scope)  # our own text
    assert scope["samples"].images.shape == (64, 1, 8, 8)
    assert scope["samples"].evaluations == 20


def test_the_readmes_table_lists_every_option():
    rows = [line.split("|")[1:3] for line in README.read_text().splitlines() if line.startswith("| `")]
    for group, listed in ((g.strip(" `"), o) for g, o in rows):
        assert set(listed.split("`")[1::2]) == set(options(group)), group
