"""conf/ and the code: nothing is orphaned, nothing foreign is built, and wrong keys, types and words are named."""

import re
from pathlib import Path

import pytest
import yaml

from difflab import objective, process
from difflab.cli.explain import explanation
from difflab.experiment.config.compose import conf_dir
from difflab.experiment.parts.build import build, check, target
from difflab.objective import (
    Anywhere,
    Coupling,
    Derivative,
    Distance,
    Draws,
    Drive,
    Gap,
    Half,
    Maps,
    Middle,
    Noised,
    Reconstruction,
    Residual,
    Step,
    Steps,
    Times,
    TrainedMap,
    Weighting,
)
from difflab.process import Betas, DiscreteSchedule, Schedule, Target
from difflab.sampler import Grid

PARTS = ("schedule", "discrete", "learned", "target", "times", "weighting", "coupling", "draws")  # files with options
PARTS += ("residual", "distance", "steps", "gap", "derivative", "reconstruction")


def test_the_two_sides_of_conf_match():
    """Each option names a class that exists, and each class of a concept has an option."""
    named = set()
    for path in Path(conf_dir()).glob("*/*.yaml"):
        node = yaml.safe_load(path.read_text())
        if path.parent.name in ("guidance", "callbacks", "logger"):  # whose options are merged, each under its own name
            assert [*node] == [path.stem]
            node = node[path.stem]
        node = node["optimizer"] if path.parent.name == "optimizer" else node  # beside its learning rate
        if "_target_" in node:
            named.add(node["_target_"])
            assert target(node["_target_"])
        else:
            assert path.parent.name in ("paradigm", "protocol", "experiment") or node["defaults"]  # of a base's class
    bases = {Schedule, DiscreteSchedule, Betas, Target, Times, Grid, Coupling, Weighting, Draws, Noised}
    bases |= {Maps, Reconstruction, Derivative, Distance, Drive, Gap, Residual, Step, Steps, TrainedMap} | {
        Middle,
        Half,
        Anywhere,
    }  # the last of semigroup
    for package in (process, objective):
        classes = {getattr(package, name) for name in package.__all__}
        parts = {c for c in classes if isinstance(c, type) and c.__module__.rpartition(".")[2] in PARTS} - bases
        offered = {f"{package.__name__}.{c.__name__}" for c in parts}
        assert offered <= named, f"without an option in conf/: {offered - named}"


def test_a_configuration_cannot_name_foreign_code(tmp_path, subtests):
    for hostile in [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "difflab.training.logging.FileHandler",
        "difflab.experiment.Path",
        "difflab.config.make",
        "difflab.nowhere.Thing",
        "torch.hub.load",
        "pathlib.Path",
        "torch.optim.AdamW",
        "lightning.pytorch.callbacks.LambdaCallback",
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.callbacks.lr_monitor.LearningRateMonitor",
    ]:
        with subtests.test(hostile):
            witness = tmp_path / "witness"
            with pytest.raises((ValueError, ModuleNotFoundError), match=r"refused|No module"):
                build(
                    {
                        "_target_": "difflab.guidance.Chain",
                        "parts": [{"_target_": hostile, "command": f"touch {witness}"}],
                    }
                )
            assert not witness.exists()


def test_keys_and_types_are_held_against_the_signature(subtests):
    for node, message in [
        (
            {"_target_": "difflab.process.LinearBetas", "TT": 5},
            r"'TT' is not a key of LinearBetas; valid: T, .*Did you mean 'T'",
        ),
        ({"_target_": "difflab.process.LinearBetas", "T": "5"}, "T='5' in LinearBetas should be of type int"),
        ({"_target_": "difflab.process.LinearBetas", "T": 5.5}, "should be of type int"),
        ({"_target_": "difflab.sampler.DDIM", "eta": True}, "should be of type float"),
        ({"_target_": "difflab.sampler.Ancestral", "v": "x"}, "float | None"),
        ({"_target_": "difflab.sampler.Sections"}, "Sections needs counts"),
        ({"_target_": "difflab.sampler.Sections", "counts": [1, "a"]}, "counts"),
        ({"_target_": "difflab.denoiser.Denoiser", "backbone": 3, "schedule": {}, "target": {}}, "backbone=3"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            check(node)


def test_numbers_of_the_right_kind_pass():
    check({"_target_": "difflab.sampler.DDIM", "eta": 1})
    check({"_target_": "difflab.sampler.Ancestral", "v": None})
    check({"_target_": "difflab.sampler.Sections", "counts": [1, 2]})


def test_mistyped_words_are_named_with_the_valid_ones(subtests):
    for overrides, message in [
        (["sampler=ddm"], "sampler=ddm does not exist; valid: .*Did you mean 'ddim'"),
        (["dat=digits"], "'dat' is not a key of train; .*Did you mean 'data'"),
        (["sampler=ddim", "sampler.etta=1"], "'etta' is not a key of sampler as chosen; valid: eta"),
        (["backbone.widht=3"], "'widht' .*Did you mean 'width'"),
        (["experiment=fst"], "experiment=fst does not exist"),
        (["optimizer.beta=1"], "'beta' is not a key of optimizer as chosen; .*Did you mean 'betas'"),
        (["optimizer=moun"], "optimizer=moun does not exist; .*Did you mean 'muon'"),
    ]:
        with subtests.test(" ".join(overrides)):
            assert re.match(message, explanation("train", overrides))


def test_a_right_command_line_needs_no_explanation():
    assert explanation("train", ["sampler=ddim", "sampler.eta=0.5", "seed=1"]) == ""
