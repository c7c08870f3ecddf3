"""`difflab` and `python -m difflab`: the commands by name; `difflab train ...` is `difflab-train ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version

COMMANDS = {
    "train": "train a run, measure it, and print what was found",
    "evaluate": "measure a run with any sampler; train it first if it is missing",
    "sample": "draw from a trained run; invert, interpolate, edit, restore",
    "figure": "draw the pictures of the field: processes, schedules, scores, samplers, guidance",
    "report": "compare what was measured: a page, tables and figures",
    "runs": "list the runs; show one, compare two, remove some",
    "search": "search settings for the best distance at the fewest network evaluations",
    "reflow": "straighten a trained flow: short for train teacher=RUN",
    "check": "hold a part, ours or yours, to the laws of its kind; place it beside ours",
    "catalogue": "print the table of samplers",
}


def main(argv: Sequence[str] | None = None) -> None:
    """List the commands, or run one of them with the rest of the words."""
    words = list((sys.argv if argv is None else argv)[1:])
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("difflab COMMAND ...   (the same as difflab-COMMAND ...)\n")
        print("\n".join(f"  {name:<{width}}  {meaning}" for name, meaning in COMMANDS.items()))
        print("\ndifflab COMMAND --help describes a command.")
        print_extensions()
        return
    if words[0] == "--version":
        print(f"difflab {version('difflab')}")
        return
    name = words[0]
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, 1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        raise SystemExit(f"difflab: {name} is no command; valid: {', '.join(COMMANDS)}{hint}")
    importlib.import_module(f"difflab.cli.{name}").main([f"difflab-{name}", *words[1:]])


def print_extensions() -> None:
    """List the installed extensions, and how each is switched on."""
    from difflab.experiment.parts.extensions import installed
    from difflab.experiment.parts.search_path import VARIABLE, outside

    on = outside().extensions
    for extension in installed().values():
        state = f"on, by {VARIABLE}" if extension in on else f"off; extensions=[{extension.name}] switches it on"
        print(f"extension {extension.name} {extension.version}: {state}")
