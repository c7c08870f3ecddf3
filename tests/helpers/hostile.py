"""A sound run that a stranger has changed: the changes, and what difflab says to each."""

import base64
import copy
import hashlib
import json
import os
import random
import shutil
import signal
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import yaml
from PIL import Image

from difflab.experiment.sampling.recipe import trained
from difflab.experiment.store.run import Run
from difflab.report.output import write_report
from difflab.report.study import load_study
from helpers.conf import composed
from helpers.hostile_values import TEXTS, VALUES

SOUND = Path(__file__).parents[1] / "experiment" / "runs_of_0_1" / "vp_sde-digits-s0-5e43b621"
SECRET = "the secret of another folder"
REFUSED = (ValueError, OSError, ImportError)  # what `user_errors` makes one line of


def sound_run(runs_dir):
    """A run as this version writes one, with an evaluation and its picture; its folder."""
    old = Run(SOUND)
    run = Run(runs_dir / "sound-run")
    run.folder.mkdir(parents=True)
    run.write_config({**old.config, "runs_dir": str(runs_dir)}, "0" * 16, {"data": {"sha256": "0"}})
    for name in ("weights.json", "weights.safetensors", "result.json"):
        shutil.copy(SOUND / name, run.folder / name)
    shutil.copytree(SOUND / "evaluations", run.evaluations)
    Image.new("L", (40, 20), 128).save(picture_of(run.folder))
    return run.folder


def evaluation_of(folder):
    return next((folder / "evaluations").glob("*.json"))


def picture_of(folder):
    path = evaluation_of(folder)
    return path.with_name(f"{path.stem}-samples.png")


def readers(folder, out):
    """What is done with a run that somebody sent: it is reported, and made ready to be sampled."""
    words = composed_sample(), str(folder.parent)
    config = {**words[0], "run": str(folder), "runs_dir": words[1]}
    return {
        "report": lambda: write_report(load_study(folder.parent), out),
        "sample": lambda: trained(config),
    }


def composed_sample(known=[]):  # noqa: B006  # it is slow, and always the same
    if not known:
        known.append(composed("run=RUN", "precision=fp32", name="sample"))
    return known[0]


def outcome(action, seconds=20):
    """`passed`, `refused: ...`, `hung`, or the traceback's last line."""

    def late(*_):
        raise TimeoutError("hung")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
            action()
        return "passed", said.getvalue()
    except TimeoutError:
        return "hung", ""
    except REFUSED as error:
        return "refused", str(error)
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"[:200], ""
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def places(node, path=()):
    """The paths to all values of a document."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(node, path, value):
    """A document with another value at a path."""
    if not path:
        return value
    made = copy.copy(node)
    made[path[0]] = changed(node[path[0]], path[1:], value)
    return made


def documents(folder):
    """The files of a run that are JSON or YAML, and how they are read and written."""
    as_json = json.loads, lambda value: json.dumps(value)
    yield folder / "config.yaml", yaml.safe_load, lambda value: yaml.safe_dump(value, sort_keys=False)
    for path in (folder / "weights.json", folder / "result.json", evaluation_of(folder)):
        yield path, *as_json


def lies(folder, number, seed=0):
    """Changes of single values: (name, change)."""
    rng = random.Random(seed)
    each = [(path, dump, load(path.read_text())) for path, load, dump in documents(folder)]
    for k in range(number):
        path, dump, value = each[k % len(each)]
        place, lie = rng.choice([*places(value)][1:]), rng.choice(VALUES)
        text = dump(changed(value, place, lie))
        yield (
            f"{path.name} {'.'.join(map(str, place))}={str(lie)[:20]!r}",
            lambda path=path, text=text: path.write_text(text),
        )


def entries(folder, outside):
    """Things in the place of files: (name, change)."""

    def in_place(path, make):
        def change():
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.parent.mkdir(exist_ok=True)
            make(path)

        return change

    kinds = {
        "a pipe": os.mkfifo,
        "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link out": lambda path: path.symlink_to(outside / "secret"),
        "a folder": lambda path: path.mkdir(),
        "a link to nothing": lambda path: path.symlink_to("nothing"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "1 TB of nothing": lambda path: (path.touch(), os.truncate(path, 2**40)),
    }
    names = ["config.yaml", "weights.json", "weights.safetensors", "result.json", "summary.json"]
    files = [folder / name for name in names] + [evaluation_of(folder), picture_of(folder)]
    for path in files:
        for kind, make in kinds.items():
            yield f"{path.name}: {kind}", in_place(path, make)
        for kind, content in TEXTS.items():
            yield f"{path.name}: {kind}", in_place(path, lambda path, content=content: path.write_bytes(content))
    for name in ("samples", "evaluations", "snapshots", "checkpoints"):
        yield f"{name}/: a link out", in_place(folder / name, lambda path: path.symlink_to(outside))


def tried(template, scratch, change_of, out):
    """What the readers say of a copy of the run that `change_of` has changed: their outcomes by name."""
    folder = scratch / template.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    shutil.rmtree(out, ignore_errors=True)
    change_of(folder)()
    return {name: outcome(action) for name, action in readers(folder, out).items()}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Faults:
    """How the readers ended, by kind, and a line for each case that did not end as it should."""

    counts: Counter = field(default_factory=Counter)
    lines: list = field(default_factory=list)


def faults(template, scratch, outside, every=1, number=0, seed=0):
    """What is seen of each `every`-th entry and of a `number` of lies."""
    folder, out, found = scratch / template.name, scratch / "report", Faults()
    shutil.copytree(template, folder)
    for name, change in [*[*entries(folder, outside)][seed % every :: every], *lies(folder, number, seed)]:
        before = set(scratch.iterdir()) | {out}, sorted(outside.iterdir())
        for reader, (ended, said) in tried(template, scratch, lambda folder, change=change: change, out).items():
            found.counts[ended.partition(":")[0]] += 1
            if ended not in ("passed", "refused"):
                found.lines.append(f"{name}: {reader}: {ended}")
            if ended == "refused" and "\n" in said.strip():
                found.lines.append(f"{name}: {reader}: several lines: {said!r}")
        if (set(scratch.iterdir()) | {out}, sorted(outside.iterdir())) != before:
            found.lines.append(f"{name}: wrote elsewhere")
        found.lines += [f"{name}: {path.name} has the secret" for path in out.rglob("*") if leaks(path)]
    return found


def leaks(path):
    """Whether a file has the secret, plain or as a data URI would."""
    forms = SECRET.encode(), base64.b64encode(SECRET.encode())[:-4]
    return path.is_file() and any(form in path.read_bytes() for form in forms)
