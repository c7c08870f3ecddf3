"""What the words of a command line switch on: extensions and folders of options; and what is wrong with them."""

import importlib
import sys

import pytest
import torch

from difflab.cli.extensions import outside_of
from difflab.experiment.machine.launch import together
from difflab.experiment.parts.extensions import Extension, installed
from difflab.experiment.parts.search_path import in_full, outside, using
from helpers.extensions import ON, install, matches, own_experiment, python_path
from helpers.jobs import finish, said_here, start


def test_the_extension_is_listed_and_off(site, monkeypatch):
    assert installed()["mypkg"] == Extension("mypkg", "mypkg", "0.1")
    monkeypatch.setenv("PYTHONPATH", python_path(site))
    assert "extension mypkg 0.1: off; extensions=[mypkg] switches it on" in finish(start(cwd=site))


def test_words_that_are_wrong_get_the_nearest_of_its_own_options(site, tmp_path):
    own_experiment(tmp_path)
    cases = {
        (ON, "schedule=laplce"): "schedule=laplce does not exist; valid: .*laplace.*Did you mean 'laplace'",
        (ON, "schedule=laplace", "schedule.mue=1"): "'mue' is not a key of schedule as chosen; .*Did you mean 'mu'",
        (ON, "sampler=extrapolatd", "-m"): "Did you mean 'extrapolated'",
        ("extensions=[mypkgs]",): "extensions=mypkgs: no installed package .* valid: .*mypkg.*Did you mean 'mypkg'",
        ("schedule=laplace",): "schedule=laplace does not exist; valid: ",
        ("--config-dir", "own", "experiment=mine", "schedule=laplce"): "schedule=laplce .*Did you mean 'laplace'",
        ("experiment=miine", "--config-dir=own"): "experiment=miine does not exist; valid: .*Did you mean 'mine'",
        ("hydra.searchpath=[file://own]", "experiment=mine", "data=disc"): "data=disc .*Did you mean 'discs'",
        (ON, "schedule=laplace", "schedule.mu=high"): "mu='high' in .*Laplace.* should be of type float",
        ("--config-dir", "none"): "--config-dir none: there is no such folder",
        ("extensions=mypkg,other",): "extensions=mypkg,other: give one list",
        ("extensions=mypkg",): "extensions=mypkg: give one list, as extensions=\\[A,B\\]",
    }
    for words, reason in cases.items():
        said = said_here("train", *words, "dry_run=true", cwd=tmp_path, status=1)
        assert matches(reason, said), (words, said)


@pytest.mark.parametrize(
    ("code", "option", "reason"),
    [
        (
            "def f(:\n",
            "_target_: broken.S\n",
            "extensions=broken: broken cannot be imported: SyntaxError: invalid syntax",
        ),
        (
            "import nosuch\n",
            "_target_: broken.S\n",
            "cannot be imported: ModuleNotFoundError: No module named 'nosuch'",
        ),
        ("raise KeyError('x')\n", "_target_: broken.S\n", "cannot be imported: KeyError: 'x'; HYDRA_FULL_ERROR=1"),
        ("", "_target_: [\n", "extension broken: .*sampler/own.yaml is no YAML: "),
        ("", "_target_: broken.S\n", "_target_: broken.S is refused"),
    ],
)
def test_a_broken_extension_is_named_in_one_line(code, option, reason, tmp_path, monkeypatch):
    install(tmp_path / "site", "broken", "broken", code, {"sampler/own": option})
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    words = ["extensions=[broken]", "sampler=own", "dry_run=true", "images=640"]
    said = said_here("train", *words, cwd=tmp_path, status=1)
    sys.modules.pop("broken", None)
    assert matches(reason, said), said
    assert len(said.strip().splitlines()) == 1


def test_an_option_that_difflab_has_too_is_refused(site, tmp_path):
    """It would be searched after conf/, and never found."""
    (tmp_path / "own" / "sampler").mkdir(parents=True)
    (tmp_path / "own" / "sampler" / "ddim.yaml").write_text("_target_: mypkg.ExtrapolatedDDIM\n")
    said = said_here("train", "--config-dir", "own", "dry_run=true", cwd=tmp_path, status=1)
    assert "its option sampler/ddim is also one of difflab: rename the file" in said


def test_help_and_completion_know_its_options(site, tmp_path, monkeypatch):
    said = said_here("train", ON, "--help", cwd=tmp_path)
    assert matches("extrapolated.* laplace", said)
    said = said_here("train", ON, "--help", "schedule", cwd=tmp_path)
    assert matches("A Laplace law of the log-SNR.*how far they spread", said)
    monkeypatch.setenv("COMP_LINE", f"difflab-train {ON} schedule=lap")
    monkeypatch.setenv("COMP_POINT", str(len(f"difflab-train {ON} schedule=lap")))
    assert "schedule=laplace" in said_here("train", "-sc", "query=bash", cwd=tmp_path)


def test_the_experiment_and_the_variable_switch_it_on(site, tmp_path, monkeypatch):
    own_experiment(tmp_path)
    assert "mypkg.Discs" in said_here("train", "--config-dir", "own", "experiment=mine", "--cfg", "job", cwd=tmp_path)
    monkeypatch.setenv("DIFFLAB_EXTENSIONS", "mypkg")
    assert "mypkg.Discs" in said_here("train", "data=discs", "--cfg", "job", cwd=tmp_path)


def what_is_on():
    """The extensions that a process has, and what it can import of them."""
    return [extension.name for extension in outside().extensions], importlib.import_module("mypkg").__name__


def test_the_processes_of_a_job_have_what_the_line_has(site, tmp_path, monkeypatch):
    own_experiment(tmp_path)
    monkeypatch.chdir(tmp_path)
    with using(outside_of(["--config-dir", "own", "experiment=mine"])):
        assert in_full(["experiment=mine", "extensions=[]"])[1] == ON
        assert together([torch.device("cpu")] * 2, what_is_on) == [["mypkg"], "mypkg"]
