"""The commands that pages name."""

from difflab.cli.line import Line
from difflab.experiment.config.compose import composition

COMPOSED = ("train", "evaluate", "sample", "reflow")  # the names of commands that Hydra composes


def composes(program, *words):
    """Compose the configuration of a command, or of its first job; an error if an option or a setting is none."""
    name = program.removeprefix("difflab-")
    if name == "evaluate" and not any(word.startswith("run=") for word in words):
        name = "train"
    if name in COMPOSED:
        line = Line.of(program, name, words)
        composition(name, [w.partition(",")[0] if w in line.sweeps else w for w in line.overrides])
