"""Parts from outside: the package in tests/extension, installed from a wheel, in every command; and what is refused."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from difflab.cli.check.laws import FINDINGS
from difflab.cli.check.parts import Part, parts
from difflab.cli.extensions import outside_of
from difflab.experiment import UserError, load, train
from difflab.experiment.build import build, target
from difflab.experiment.extensions import Extension, installed, named
from difflab.experiment.identity import identity
from difflab.experiment.process_group import run_apart
from difflab.experiment.run import Run
from difflab.experiment.search_path import Outside, in_full, using
from difflab.process import Mix
from helpers.jobs import finish, said_here, start

PACKAGE = Path(__file__).parents[1] / "extension"
WORDS = ["experiment=discs", "backbone.width=8", "backbone.depth=1", "data.source.n=100", "data.source.held_out=40"]
WORDS += ["images=64", "batch_size=16", "nfe=3", "protocol.n=32", "protocol.n_likelihood=0", "trainer=cpu"]
WORDS += ["precision=fp32", "logger=local"]
ON = "extensions=[mypkg]"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages that holds the example, from its wheel; on sys.path, as after pip install."""
    work = tmp_path_factory.mktemp("extension")
    shutil.copytree(PACKAGE, work / "source")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work)]
    subprocess.run(command, cwd=work / "source", check=True, capture_output=True)
    zipfile.ZipFile(next(work.glob("*.whl"))).extractall(work / "site")
    with on_path(work / "site"):
        yield work / "site"


@contextmanager
def on_path(folder):
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def python_path(site):
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(scope="module")
def trained(site, tmp_path_factory):
    """A working directory in which all parts of the package have been trained together."""
    here = tmp_path_factory.mktemp("own")
    said_here("train", ON, *WORDS, cwd=here)
    return here


@pytest.fixture
def on(site):
    with using(Outside(named(["mypkg"]))):
        yield


MINE = """# @package _global_
extensions: [mypkg]
defaults:
  - override /data: discs
  - override /backbone: convnet
"""


def own_experiment(here):
    """A folder of options with an experiment that switches the extension on."""
    path = here / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(MINE)


def only_run(here):
    (path,) = here.glob("runs/*/config.yaml")
    return Run(path.parent)


def test_the_extension_is_listed_and_off(site, monkeypatch):
    assert installed()["mypkg"] == Extension("mypkg", "mypkg", "0.1")
    monkeypatch.setenv("PYTHONPATH", python_path(site))
    assert "extension mypkg 0.1: off; extensions=[mypkg] switches it on" in finish(start(cwd=site))


def test_its_parts_work_in_every_command(trained, monkeypatch):
    """One training, and then evaluate, sample, search, multirun and report of it, without training it again."""
    run = only_run(trained)
    weights = run.weights.stat().st_mtime_ns
    said = said_here("evaluate", "run=huber_flow", ON, "nfe=2", "n=32", "n_likelihood=0", cwd=trained)
    assert "fd_lite0" in said
    said = said_here("evaluate", ON, *WORDS, "nfe=3,4", "-m", cwd=trained)
    assert "2 jobs: 0 trained, 1 measured, 1 cached, 0 failed" in said
    assert "task" in json.loads(next(sample_folder(trained, ON)).read_text())
    said = said_here("search", ON, *[w for w in WORDS if w != "nfe=3"], "nfe=2,3", "trials=2", cwd=trained)
    assert "fd_lite0" in said
    assert run.weights.stat().st_mtime_ns == weights
    assert len([*trained.glob("runs/*/config.yaml")]) == 1
    said = said_here("report", ON, cwd=trained)
    assert "ExtrapolatedDDIM" in (trained / "report" / "index.html").read_text(), said


def sample_folder(here, *words):
    said_here("sample", "run=huber_flow", "n=4", *words, cwd=here)
    return here.glob("runs/*/samples/*/report.json")


def test_a_run_says_which_extension_it_needs(trained):
    needed = "needs the extension mypkg, which is off: add extensions=\\[mypkg\\] if you trust its code"
    for command in ("evaluate", "sample"):
        assert "needs the extension mypkg, which is off" in said_here(command, "run=huber_flow", cwd=trained, status=1)
    said = said_here("report", cwd=trained, status=1)
    assert "needs the extension mypkg, which is off" in said
    with pytest.raises(ValueError, match=needed):
        load(only_run(trained).folder)
    assert load(only_run(trained).folder, extensions=["mypkg"]).shape == (1, 16, 16)


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


def matches(pattern, text):
    return re.search(pattern, " ".join(text.split()))


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
    package, about = tmp_path / "site" / "broken", tmp_path / "site" / "broken-1.dist-info"
    (package / "conf" / "sampler").mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    (package / "conf" / "sampler" / "own.yaml").write_text(option)
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[difflab.extensions]\nbroken = broken\n")
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


def test_a_class_enters_the_identity_by_package_and_source(on, trained):
    schedule = {"_target_": "mypkg.Laplace", "b": 1}
    expected = {"class": "mypkg:Laplace", "source_sha256": named(["mypkg"])[0].sha256, "mu": 0.0, "b": 1.0}
    assert identity(schedule) == {**expected, "t_min": 1e-5, "t_max": 0.99999}
    assert identity(build(schedule)) == identity(schedule)
    assert only_run(trained).config["extensions"] == {"mypkg": expected["source_sha256"]}
    card = json.loads(next(trained.glob("runs/*/evaluations/*.json")).read_text())["card"]
    assert card["extensions"] == f"mypkg {expected['source_sha256'][:12]}"


def test_its_parts_are_held_to_the_laws(on, site, tmp_path):
    """By name, which switches it on; and faults in copies of its parts are found."""
    from mypkg import ExtrapolatedDDIM, Laplace  # as it is installed here

    said = said_here("check", "sampler=extrapolated", ON, cwd=tmp_path)
    assert matches("order: 2 declared; observed 2.0", said)
    assert matches("evaluations of a step: 1 declared; counted 1", said)
    assert matches("> extrapolated .*dpm_solver_pp", said), "its error beside ours"
    named = {(part.group, part.option) for part in parts(["mypkg"])}
    assert {group for group, _ in named} == {"backbone", "data", "paradigm", "sampler", "schedule"}

    class WrongSign(ExtrapolatedDDIM):
        def step(self, denoise, x, t, s, state, noise):
            before = None if state is None else (state[0], 2 * denoise(x, t).x0 - state[1])
            return super().step(denoise, x, t, s, before, noise)

    class WrongOrder(ExtrapolatedDDIM):
        order = 3.0

    class WrongEvaluations(ExtrapolatedDDIM):
        evaluations = 2

    class NegativeNoise(Laplace):
        def __call__(self, t):
            alpha, sigma = super().__call__(t)
            return Mix(alpha, -sigma)

    faults = {
        WrongSign: ("sampler", "The observed order of convergence"),
        WrongOrder: ("sampler", "The observed order of convergence"),
        WrongEvaluations: ("sampler", "A step takes `evaluations` calls"),
        NegativeNoise: ("schedule", ""),
    }
    for cls, (group, law) in faults.items():
        broken = [finding.law for finding in FINDINGS[group](Part(group, "mine", cls())) if finding.fails]
        assert any(each.startswith(law) for each in broken), (cls, broken)


def test_another_source_is_noticed(site, trained, tmp_path):
    """The run says so when it is used, and the same words train another run."""
    shutil.copytree(site, tmp_path / "site")
    with (tmp_path / "site" / "mypkg" / "laplace.py").open("a") as file:
        file.write("\n# another line\n")
    shutil.copytree(trained / "runs", tmp_path / "runs")
    with on_path(tmp_path / "site"):
        for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
            del sys.modules[name]
        said = said_here("evaluate", "run=huber_flow", ON, "nfe=2", "n=32", "dry_run=true", cwd=tmp_path)
        assert f"{only_run(trained).folder.name} was trained with another source of mypkg" in said
        assert matches("of which 1 to train", said_here("train", ON, *WORDS, "dry_run=true", cwd=tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]
    assert matches("of which 0 to train", said_here("train", ON, *WORDS, "dry_run=true", cwd=tmp_path))


def test_attacks_are_refused(site, trained, tmp_path):
    """A stranger's run builds nothing of an extension that is off, and nothing but classes of one that is on."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    run = only_run(tmp_path)
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    for stored in (["mypkg"], {}, None):  # whatever it says of extensions, the user's words alone switch one on
        (run.folder / "config.yaml").write_text(yaml.safe_dump({**config, "extensions": stored}, sort_keys=False))
        said = said_here("evaluate", "run=huber_flow", "n=32", cwd=tmp_path, status=1)
        assert "is of the extension mypkg, which is off: add extensions=[mypkg]" in said
        with pytest.raises(UserError, match="which is off"):
            train({**run.config, "runs_dir": str(tmp_path)})
    facts = json.loads(run.facts.read_text())
    for evil in ("os.system", "subprocess.Popen", "builtins.eval", "difflab.cli.main.main", "mypkg.conf.x"):
        run.facts.write_text(json.dumps({**facts, "module": {**facts["module"], "schedule": {"_target_": evil}}}))
        said = said_here("sample", "run=huber_flow", ON, cwd=tmp_path, status=1)
        assert evil in said
    with using(Outside(named(["mypkg"]))):
        for alias in ("mypkg.laplace.dataclass", "mypkg.laplace.Mix", "mypkg.laplace.torch", "mypkg.discs.Split"):
            with pytest.raises(ValueError, match=f"_target_: {alias} is refused"):
                target(alias)
        assert target("mypkg.Laplace") is target("mypkg.laplace.Laplace")
    with pytest.raises(ValueError, match="which is off"):
        target("mypkg.Laplace")


def test_a_process_of_its_own_has_what_the_line_has(site, tmp_path, monkeypatch, capfd):
    """What a job of several processes in a multirun starts: a command with the same extension and the same folder."""
    own_experiment(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", python_path(site))
    with using(outside_of(["--config-dir", "own", "experiment=mine"])):
        assert in_full(["experiment=mine", "extensions=[]"])[1] == ON
        run_apart(["train", "experiment=mine", "--cfg", "job"])
    assert "mypkg.ConvNet" in capfd.readouterr().out
