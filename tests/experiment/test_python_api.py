"""Training and evaluation as functions: a plain configuration in, plain values out, nothing changed on the way."""

import copy
import os
import shlex
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from difflab.backbone import MLP
from difflab.experiment import UserError, evaluate, find, train
from difflab.experiment.config.words import quoted
from helpers.conf import composed
from helpers.jobs import run_here

TOY = {
    "experiment": "toy",
    "data": "moons",
    "data.source.n": 500,
    "data.source.held_out": 100,
    "backbone": {"width": 16},
    "images": 640,
    "batch_size": 64,
    "nfe": 4,
    "protocol": {"n": 32, "n_likelihood": 0},
    "logger": "local",
    "trainer": "cpu",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_trainings_in_one_process_are_those_of_two_commands():
    """The second is not moved by the first: the same weights and scores as by itself, from the command line."""
    for paradigm in ("vp_sde", "rectified_flow"):
        train({**TOY, "paradigm": paradigm})
    words = [f"{key}={value}" for key, value in TOY.items() if not isinstance(value, dict)]
    words += ["backbone.width=16", "protocol.n=32", "protocol.n_likelihood=0", "paradigm=rectified_flow"]
    run_here("train", *words, "runs_dir=others")
    first, second = find(Path("runs"), "rectified"), find(Path("others"), "rectified")
    assert first.folder.name == second.folder.name
    assert first.weights.read_bytes() == second.weights.read_bytes()
    assert first.result["loss"] == second.result["loss"]


def test_a_finished_training_is_not_done_again_by_settings_or_by_its_stored_configuration():
    result = train(TOY)
    assert (result["trained"], result["measured"], result["cached"]) == (1, 1, 0)
    for config in (TOY, find(Path("runs"), result["run"]).config):
        again = train(config)
        assert (again["run"], again["trained"], again["cached"]) == (result["run"], 0, 1)
        assert again["metrics"] == result["metrics"]


def test_no_command_or_function_changes_its_process_or_its_configuration():
    config = composed(*(f"{key}={quoted(value)}" for key, value in TOY.items() if not isinstance(value, dict)))
    config["protocol"] |= {"n": 32, "n_likelihood": 0}
    before = copy.deepcopy(config), list(sys.argv), dict(os.environ), Path.cwd()
    run = train(config)["run"]
    settings = {"run": run, "n": 16, "sampler": "ddim"}
    evaluate(settings)
    assert settings == {"run": run, "n": 16, "sampler": "ddim"}
    run_here("sample", f"run={run}", "n=2")
    run_here("evaluate", "-m", f"run={run}", "n=16", "nfe=2,3")
    assert (config, sys.argv, dict(os.environ), Path.cwd()) == before
    assert not GlobalHydra.instance().is_initialized()


def test_a_function_needs_and_leaves_no_hydra_job(monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    train({**TOY, "protocol": {"n": 0}})
    assert not HydraConfig.initialized()


def test_a_network_is_built_once_by_an_evaluation(monkeypatch):
    run = train({**TOY, "protocol": {"n": 0}})["run"]
    built = []
    build = MLP.__init__

    def counted(self, *args, **kwargs):
        built.append(type(self))
        build(self, *args, **kwargs)

    counted.__wrapped__ = build  # whose signature configurations are checked against
    monkeypatch.setattr(MLP, "__init__", counted)
    evaluate({"run": run, "n": 16, "nfe": 3})
    assert built == [MLP]


def test_text_stands_for_itself_in_a_setting():
    """Spaces, quotes, brackets and = are no grammar in a value; a group's option may be quoted."""
    for text in ["a b", "x(1)", "x[1]", "lr=0.1", "it's", 'say "so"', "a,b", "", "back\\slash", "null", "1e3", "{a:b}"]:
        (parsed,) = OverridesParser.create().parse_overrides([f"study={quoted(text)}"])
        assert parsed.value() == text, text
    folder = "a=b (c), [d]"
    result = train({**TOY, "runs_dir": folder, "protocol": {"n": 0}})
    assert Path(folder, result["run"], "result.json").is_file()


def test_the_next_command_works_as_it_stands(capsys):
    """Also where the runs lie in a folder that needs quotes, and of a table of ten steps."""
    short = {"paradigm": "ddpm", "schedule": "ddpm_cosine", "schedule.T": 10, "sampler": "ddim", "grid": "uniform"}
    for more in ({"runs_dir": "runs"}, {"runs_dir": "scratch"}, {"runs_dir": "a=b (c), d"}, short):
        words = shlex.split(train({**TOY, **more})["next"])
        assert words[0] == "difflab-sample"
        run_here("sample", *words[1:], "n=2")
        assert "2 points" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sampler": "hein"}, "sampler=hein does not exist; valid: .*Did you mean 'heun'"),
        ({"imags": 3}, "imags"),
        ({"images": "many"}, "images"),
        ({"images": 32}, "images=32 is less than one batch of batch_size=64"),
        ({"experiment": "ddpm_objectives"}, "is a sweep: choose one of each of draws=one,two,chain"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_before_any_work(settings, reason, here):
    with pytest.raises(UserError, match=reason) as refusal:
        train({**TOY, **settings})
    assert "\n" not in str(refusal.value)
    assert not list(here.glob("runs/*"))
