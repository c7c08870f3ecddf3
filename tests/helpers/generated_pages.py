"""The parts of the documentation that are made from the code: `cd tests && python -m helpers.generated_pages`.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; the pages of the claims are whole. The
tests hold that the pages are up to date.
"""

import importlib
import inspect
import re
from pathlib import Path

import difflab
from difflab.cli.catalogue import table as samplers
from difflab.experiment.config.files import family, groups, options, places, read
from helpers import claims

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = ("train", "sample", "evaluate")
BASIC = ("images", "batch_size", "lr", "nfe", "precision", "ema", "check_every", "seed", "runs_dir")  # of a training
HERE = ("train", "evaluate", "load", "generate")  # names whose full entries stand below the vocabulary
TYPE = re.compile(r"^(in \[\S+ \S+\]|float|str): ")  # before a comment
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def option_tables():
    """Each group with its places on the command line, and its options with the comments of their files."""
    choices = {}
    for choice in (choice for command in COMMANDS for choice in places(command).values()):
        choices.setdefault(choice.group, {}).setdefault(choice.place, choice)
    for group in sorted(groups()):
        found = choices.get(group, {})
        own = found.get(group) or next(iter(found.values()), None)
        yield f"\n## {group}\n"
        if own:
            typed = ", ".join(f"`{place}=`" for place in found)
            yield f"{sentence(own.comment)} Typed as {typed}.\n"
        yield "| option | what it is |"
        yield "|--|--|"
        yield from (f"| `{option}` | {escaped(read(f'{group}/{option}').about)} |" for option in options(group))


def basic_settings():
    """The settings of a training that are changed most, with their defaults and comments."""
    known = {setting.key: setting for file in family("train") for setting in file.settings}
    yield "| setting | default | what it is |"
    yield "|--|--|--|"
    for key in BASIC:
        value, comment = known[key].value, TYPE.sub("", known[key].comment)
        if key == "lr":
            chosen = next(choice.option for choice in read("train").choices if choice.place == "optimizer")
            own = next(setting.value for setting in read(f"optimizer/{chosen}").settings if setting.key == key)
            value, comment = own, f"peak learning rate of `optimizer={chosen}`; the others have their own defaults"
        yield f"| `{key}` | `{value}` | {escaped(comment)} |"


def sentence(comment):
    """A comment as a sentence."""
    return f"{comment[:1].upper()}{comment[1:].rstrip('.')}."


def escaped(text):
    """Text in a cell of a table: bars, tags and emphasis are written out, and code keeps its signs but for bars."""
    parts = text.split("`")
    plain = [part.replace("|", r"\|").replace("<", "&lt;").replace("_", r"\_").replace("*", r"\*") for part in parts]
    return "`".join(part.replace("|", "∣") if k % 2 else plain[k] for k, part in enumerate(parts))


def vocabulary():
    """The names that `difflab` exports, each with the first sentence of its docstring, linked to its full entry."""
    yield "| name | what it is |"
    yield "|--|--|"
    for name in difflab.__all__:
        found = getattr(difflab, name)
        folder = ".".join(found.__module__.split(".")[:2])
        place = f"{found.__module__}.{name}" if name in HERE else f"{folder}.{name}"
        yield f"| [`{name}`][{place}] | {escaped(first(found))} |"
    yield from (f"\n{entry(getattr(difflab, name))}" for name in HERE)


def first(found):
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.getdoc(found).split("\n\n")[0].split())


def entries(package):
    """The public names of a package that imports them when they are used: mkdocstrings reads where they are defined."""
    module = importlib.import_module(package)
    return "\n\n".join(entry(getattr(module, name)) for name in module.__all__)


def entry(found):
    """What mkdocstrings fills with the signature and the docstring."""
    options = "{show_root_heading: true, show_root_toc_entry: true}"
    return f"::: {found.__module__}.{found.__name__}\n    options: {options}"


PARTS = {"samplers": samplers, "options": lambda: "\n".join(option_tables()).lstrip("\n")}
PARTS |= {"settings": lambda: "\n".join(basic_settings())}
PARTS |= {"vocabulary": lambda: "\n".join(vocabulary())}
PARTS |= {name: lambda name=name: entries(f"difflab.{name}") for name in ("metric", "report")}


def pages():
    """Each page that is made or has a part that is, and its text as it should be."""
    yield DOCS / "claims.md", claims.page("en")
    yield DOCS / "claims.zh.md", claims.page("zh")
    for page in sorted(DOCS.glob("**/*.md")):
        text = page.read_text()
        if PART.search(text):
            yield page, PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}\n{part[3]}", text)


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text)
        print(page)
