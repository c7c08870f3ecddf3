"""Words that take another training: a run's name, or the words that train it, once."""

import pytest

from difflab.experiment import UserError, evaluate, find, train
from difflab.experiment.references import words_in
from helpers.conf import composed
from helpers.jobs import TINY, TOY, finish, job, run_here, said_here, wait_for

FLOW = [*TOY, "data=moons", "paradigm=rectified_flow", "nfe=4"]
DIGITS = [*TINY, "images=64", "logger=local"]
NOISY = " ".join(
    [*TINY[:6], "batch_size=16", "images=64", "trainer=cpu", "precision=fp32", "paradigm=noisy_classifier"]
)
CLEAN = NOISY.replace("noisy_classifier", "classifier")
GUIDED = ["guidance=classifier", f'guidance.classifier.classifier.run="{NOISY}"']


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(here):
    """The runs, and when their weights were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in here.glob("runs/*/weights.safetensors")}


def test_words_train_a_run_once_even_when_two_processes_ask_at_once(here):
    words = [*FLOW, "seed=1", f'init="{" ".join(FLOW)}"']
    first = job("train", *words, cwd=here)
    wait_for("runs/*/config.yaml", here, first)
    said = [said_here("train", *words, cwd=here), finish(first)]
    assert sum(each.count("training: 640/640") for each in said) == 2, "each of the two runs, by one process"
    before = trained(here)
    assert sorted(name[:23] for name in before) == ["rectified_flow-moons-s0", "rectified_flow-moons-s1"]
    for run in before:
        rows = (here / "runs" / run / "metrics.jsonl").read_text().splitlines()
        assert len(rows) == len(set(rows)), "no step was logged twice"
    run_here("train", *words)
    assert trained(here) == before


@pytest.mark.long
def test_words_may_stand_in_words(here):
    """A flow that starts from a flow that starts from a flow."""
    flow = {"experiment": "toy", "data": "moons", "paradigm": "rectified_flow", "images": 640, "batch_size": 64}
    flow |= {"data.source.n": 512, "data.source.held_out": 128, "backbone.width": 16, "logger": "local"}
    flow |= {"trainer": "cpu", "protocol.n": 0, "nfe": 4}
    words = " ".join(f"{key}={value}" for key, value in flow.items())
    second = f"""{words} seed=1 'init="{words}"'"""
    result = train({**flow, "seed": 2, "init": second})
    names = sorted(trained(here))
    assert [name.split("-")[2] for name in names] == ["s0", "s1", "s2"]
    origins = [find(here / "runs", name).config["origins"].get("init", {}).get("run") for name in names]
    assert origins == [None, *names[:2]]
    assert result["run"] == names[2]
    spent = [find(here / "runs", name).result["training"] for name in names]
    assert [each.get("images_seen_before", 0) for each in spent] == [0, 640, 1280]
    assert spent[2]["seconds_before"] == spent[0]["seconds"] + spent[1]["seconds"]


@pytest.mark.long
def test_a_guide_is_trained_by_words_in_every_command(here, capsys):
    """And then found from any folder, beside the run that it guides."""
    run_here("train", *DIGITS, *GUIDED)
    before = trained(here)
    assert sorted(name.partition("-")[0] for name in before) == ["ddpm", "noisy_classifier"]
    run = find(here / "runs", "ddpm")
    run_here("evaluate", "run=ddpm", *GUIDED, "guidance.classifier.scale=3", "n=16")
    run_here("sample", "run=ddpm", *GUIDED, "guidance.classifier.scale=3", "n=2")
    assert trained(here) == before
    assert len(list(run.folder.glob("evaluations/*.json"))) == 2
    (here / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here / "elsewhere")
        run_here("sample", f"run={run.folder.resolve()}", "n=2")
        run_here("evaluate", f"run={run.folder.resolve()}", "n=20")
    assert "2 images" in capsys.readouterr().out
    assert trained(here) == before


@pytest.mark.long
def test_what_measures_is_trained_by_words(here):
    """A judge of classes and an extractor of features, for a run that was trained without them."""
    run = train({**composed(*DIGITS, "protocol.n=0")})["run"]
    found = evaluate(
        composed(
            f"run={run}",
            "protocol=quick",
            "protocol.n_likelihood=0",
            f'protocol.classifier="{CLEAN}"',
            "n=20",
            name="evaluate",
        )
    )
    assert "class_accuracy" in found["metrics"]
    words = ["extractor=classifier", f'protocol.extractor.run="{CLEAN}"', "n=20", "protocol.n_likelihood=0"]
    found = evaluate(composed(f"run={run}", "protocol=quick", *words, name="evaluate"))
    assert "fd_classifier" in found["metrics"]
    assert sorted(name.partition("-")[0] for name in trained(here)) == ["classifier", "ddpm"]


def test_a_dry_run_names_the_first_training_and_does_nothing(here, capsys):
    run_here("train", *FLOW, "seed=1", f'init="{" ".join(FLOW)}"', "dry_run=true")
    said = " ".join(capsys.readouterr().out.split())
    assert "runs/rectified_flow-moons-s0-" in said
    assert "is to be trained first; what comes after it is not counted" in said
    assert "on 640 images in all" in said
    assert not list(here.glob("runs/*"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("data=nope", "data=nope does not exist; valid: "),
        ("imags=3", "imags"),
        ("paradigm=vp_sde schedule=linear", "singular"),
        ("experiment=ddpm_objectives", "is a sweep: choose one of each of draws=one,two,chain"),
        ("seed=0,1", "seed=0,1"),
    ],
)
def test_words_that_make_no_sense_are_refused_before_any_work(words, reason, here):
    with pytest.raises(UserError, match=reason):
        train({**composed(*FLOW, "seed=1"), "init": words})
    with pytest.raises(UserError, match=r"sampler=nope|nope does not exist"):
        train({"experiment": "toy", "sampler": "nope", "init": " ".join(FLOW)})
    assert not list(here.glob("runs/*"))


def test_names_are_told_from_words(here):
    """A folder may have = in its name; a name may be the beginning of another's; a run is `.` in its own folder."""
    config = composed(*FLOW, "runs_dir='a=b (c)'")
    name = train({**config, "protocol": {**config["protocol"], "n": 0}})["run"]
    runs = here / "a=b (c)"
    folder = f"a=b (c)/{name}"
    assert list(words_in({"init": folder})) == []
    assert list(words_in({"init": "a=b"})) == [(("init",), "a=b")]
    (runs / name).rename(runs / "flow")
    (runs / "flow2").mkdir()
    (runs / "flow2" / "config.yaml").write_text((runs / "flow" / "config.yaml").read_text())
    assert find(runs, "flow").folder.name == "flow"
    with pytest.raises(ValueError, match=r"init=flo may be flow, flow2"):
        find(runs, "flo", "init")
    with pytest.raises(ValueError, match="no such folder"):
        find(runs, "x" * 5000)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(runs / "flow")
        assert find(runs, ".").folder.name == "flow"


@pytest.mark.long
def test_the_processes_of_a_training_that_is_needed_meet_no_others(here):
    """Words of two processes, for a job of two processes."""
    several = [*FLOW, "trainer.devices=2", "trainer.strategy=ddp"]
    words = " ".join(several)
    said = said_here("train", *several, "seed=1", "protocol.n=0", f'init="{words} protocol.n=0"', cwd=here)
    assert "is trained first" in said
    names = sorted(name[:23] for name in trained(here))
    assert names == ["rectified_flow-moons-s0", "rectified_flow-moons-s1"]
