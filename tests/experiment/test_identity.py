"""A run is named by what it is: not by files of the code, paths of the data or names of folders."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import ClassVar

import pytest

import difflab
from difflab.experiment.parts.identity import described, fingerprint, identity, line, name_of, seedless
from difflab.metric.card import digest
from difflab.process.schedule import VP
from difflab.sampler.ddim import DDIM
from difflab.sampler.grid import Explicit, Shift, Uniform
from helpers.jobs import finish, job


@dataclasses.dataclass(frozen=True)
class Before:
    """A solver as it was."""

    order: int = 2


@dataclasses.dataclass(frozen=True)
class Added:
    """The same, with an argument that was added later."""

    as_before: ClassVar = {"damping": 0.0}
    order: int = 2
    damping: float = 0.0


@dataclasses.dataclass(frozen=True)
class Changed:
    """The same, when the default of the added argument was changed."""

    as_before: ClassVar = {"damping": 0.0}
    order: int = 2
    damping: float = 0.5


def named(cls, **given):
    """What a class with these arguments is, as if all the versions above were one class."""
    return {**described(cls, given), "class": "solver"}


def test_an_argument_added_later_changes_no_identity_at_the_value_that_means_as_before():
    assert named(Before) == named(Added) == named(Added, damping=0.0) == named(Changed, damping=0.0)
    assert named(Changed) == named(Added, damping=0.5) == {"class": "solver", "order": 2, "damping": 0.5}
    assert named(Changed) != named(Before)


def test_defaults_are_written_out_so_that_a_changed_default_changes_nothing_that_was_given():
    assert (
        identity({"_target_": "difflab.process.VP"})
        == identity(VP())
        == {
            "class": "process:VP",
            "beta_min": 0.1,
            "beta_max": 20.0,
            "t_min": 1e-5,
            "t_max": 1.0,
        }
    )
    nested = {"_target_": "difflab.sampler.Shift", "shift": 3}
    assert identity(nested) == identity(Shift()) == identity(Shift(3.0, Uniform()))
    assert identity(Shift())["grid"] == {"class": "sampler:Uniform"}


def test_whole_numbers_are_floats_where_floats_are_meant():
    for eta in (0, 0.0):
        assert json.dumps(identity({"_target_": "difflab.sampler.DDIM", "eta": eta})["eta"]) == "0.0"
        assert line(DDIM(eta)) == "DDIM(eta=0.0)"
    whole, real = ({"_target_": "difflab.sampler.Explicit", "times": times} for times in ([9, 3], [9.0, 3.0]))
    assert digest(identity(whole)) == digest(identity(real)) == digest(identity(Explicit((9, 3))))


def test_a_class_is_named_by_the_folder_that_exports_it():
    assert name_of(DDIM) == "sampler:DDIM"
    assert name_of(Before) == f"{__name__.split('.')[0]}:Before"


def test_repetitions_have_all_but_their_seeds_in_common():
    node = {"_target_": "difflab.process.VP"}
    data = {"_target_": "difflab.data.DataModule", "seed": 0, "workers": 0}
    config = {"model": {"schedule": node, "seed": 0}, "seed": 0, "images": 1, "batch_size": 1, "precision": "fp32"}
    config |= {"ema": [0.9], "data": data}
    other = {**config, "seed": 1, "model": {**config["model"], "seed": 1}, "data": {**data, "seed": 1, "workers": 4}}
    assert seedless(config) == seedless(other)
    origins = {"data": {"sha256": "0"}}
    assert fingerprint(config, origins) != fingerprint(other, origins)
    assert fingerprint(config, origins) != fingerprint(config, {"data": {"sha256": "1"}})
    workers = {**config, "data": {**data, "workers": 4}}
    assert fingerprint(config, origins) == fingerprint(workers, origins)


def difflab_of(source, cwd, command, *words):
    """A command of the package in a folder, which may be another than the one that is tested here; what it prints."""
    return finish(job(command, *words, cwd=cwd, source=source))


TOY = ["experiment=toy", "data=moons", "paradigm=rectified_flow", "backbone.width=16", "images=640", "batch_size=64"]
TOY += ["data.source.n=500", "data.source.held_out=100", "nfe=4", "protocol.n=32", "protocol.n_likelihood=0"]
TOY += ["logger=local", "trainer=cpu"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package beside its configuration, in which classes are moved and arguments added."""
    root = tmp_path_factory.mktemp("copy")
    package = Path(difflab.__file__).parent
    shutil.copytree(package, root / "src" / "difflab", ignore=shutil.ignore_patterns("__pycache__"))
    from difflab.experiment.parts.search_path import conf_dir

    shutil.copytree(conf_dir(), root / "conf")
    return root / "src"


def edit(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)


def test_code_is_moved_and_extended_and_no_run_is_trained_again(copy, tmp_path):
    """The same folder of runs, before and after: same fingerprints, weights that load, a report that reads them."""
    original = Path(difflab.__file__).parents[1]
    difflab_of(original, tmp_path, "train", *TOY)
    (weights,) = tmp_path.glob("runs/*/weights.safetensors")
    trained, folder = weights.stat().st_mtime_ns, weights.parent.name
    package = copy / "difflab"
    # The schedule, the backbone and the sampler move to other files of their folders.
    for group, old, new, name in [
        ("process", "schedule", "paths", "Linear"),
        ("sampler", "euler", "first_order", "Euler"),
        ("backbone", "mlp", "perceptron", "MLP"),
    ]:
        (package / group / f"{old}.py").rename(package / group / f"{new}.py")
        for path in package.rglob("*.py"):
            text = path.read_text()
            moved = re.sub(rf"\bdifflab\.{group}\.{old}\b", f"difflab.{group}.{new}", text)
            if moved != text:
                path.write_text(moved)
        assert name in (package / group / f"{new}.py").read_text()
    # The grid is given an argument, and the sampler a default that says what it did before.
    edit(
        package / "sampler" / "grid.py",
        (
            "class Uniform(Grid):\n",
            'class Uniform(Grid):\n    as_before = {"offset": 0.0}\n    offset: float = 0.0\n',
        ),
    )
    said = difflab_of(copy, tmp_path, "train", *TOY)
    assert weights.stat().st_mtime_ns == trained
    assert folder in said
    assert len(list(tmp_path.glob("runs/*/evaluations/*.json"))) == 1, "nothing was measured again"
    said = difflab_of(copy, tmp_path, "sample", f"run={folder}", "n=4", "nfe=2")
    assert "4 images" in said
    said = difflab_of(copy, tmp_path, "report")
    assert "rectified_flow" in said
    # The run's folder is renamed.
    weights.parent.rename(weights.parent.with_name("renamed"))
    difflab_of(copy, tmp_path, "train", *TOY)
    assert [path.parent.name for path in tmp_path.glob("runs/*/config.yaml")] == ["renamed"]
