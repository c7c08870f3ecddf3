"""Parts from outside: the package in tests/extension, installed from a wheel, in every command; and what is refused."""

import json
import shutil
import sys

import pytest
import yaml

from difflab.cli.check.laws import FINDINGS
from difflab.cli.parts import Part, parts
from difflab.experiment import UserError, load, train
from difflab.experiment.parts.build import build, target
from difflab.experiment.parts.extensions import named
from difflab.experiment.parts.identity import identity
from difflab.experiment.parts.search_path import Outside, using
from difflab.experiment.store.run import Run
from difflab.experiment.training.job import Training
from difflab.process import Mix
from helpers.extensions import ON, matches, on_path
from helpers.jobs import said_here

WORDS = ["experiment=discs", "backbone.width=8", "backbone.depth=1", "data.source.n=100", "data.source.held_out=40"]
WORDS += ["images=64", "batch_size=16", "nfe=3", "protocol.n=32", "protocol.n_likelihood=0", "trainer=cpu"]
WORDS += ["precision=fp32", "logger=local"]


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


def only_run(here):
    (path,) = here.glob("runs/*/config.yaml")
    return Run(path.parent)


@pytest.mark.long
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
    assert "extrapolated_ddim" in (trained / "report" / "index.html").read_text(), said


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


def test_a_class_enters_the_identity_by_package_and_source(on, trained):
    schedule = {"_target_": "mypkg.Laplace", "b": 1}
    expected = {"class": "mypkg:Laplace", "source_sha256": named(["mypkg"])[0].sha256, "mu": 0.0, "b": 1.0}
    assert identity(schedule) == {**expected, "t_min": 1e-5, "t_max": 0.99999}
    assert identity(build(schedule)) == identity(schedule)
    assert only_run(trained).config["extensions"] == {"mypkg": expected["source_sha256"]}
    assert Training.of(only_run(trained).config).cache.extensions == {"mypkg": expected["source_sha256"]}
    card = json.loads(next(trained.glob("runs/*/evaluations/*.json")).read_text())["card"]
    assert card["extensions"] == f"mypkg {expected['source_sha256'][:12]}"


@pytest.mark.long
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
