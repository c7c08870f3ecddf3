"""Data that were moved, and runs that were renamed, are found by their content: nothing is trained again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difflab.data import Folder
from difflab.experiment import UserError, evaluate, find, train
from difflab.experiment.parts.identity import fingerprint
from helpers.conf import composed
from helpers.jobs import run_here

WORDS = ["data=folder", "data.shape=[3,8,8]", "paradigm=rectified_flow", "backbone.width=16", "backbone.attention=[]"]
WORDS += ["backbone.multipliers=[1]", "backbone.head_channels=null", "batch_size=8", "images=32", "nfe=2"]
WORDS += ["protocol.n=8", "protocol.n_likelihood=0", "logger=local", "trainer=cpu", "precision=fp32"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with images, and with a run that was trained on them by a relative path."""
    folder = tmp_path_factory.mktemp("finished")
    random = np.random.default_rng(0)
    for k in range(60):
        path = folder / "images" / "ab"[k % 2] / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(composed(*WORDS, "data.source.root=images"))
    return folder


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    """A working directory in which the images have moved, and the place that the run knows is gone."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    shutil.copytree(finished / "images", tmp_path / "moved")
    config = find(tmp_path / "runs", "rectified").folder / "config.yaml"
    config.write_text(config.read_text().replace(str(finished / "images"), str(tmp_path / "images")))
    monkeypatch.chdir(tmp_path)
    return find(Path("runs"), "rectified")


def counts(result):
    """What a command did."""
    return [result.get(key, 0) for key in ("trained", "measured", "cached")]


def of_run(*words):
    """The configuration of difflab-evaluate with the run."""
    return composed("run=rectified", *words, name="evaluate")


def test_a_run_keeps_an_absolute_path_of_its_data(finished):
    root = find(finished / "runs", "rectified").config["data"]["source"]["root"]
    assert root == str((finished / "images").resolve())


def test_moved_data_are_not_trained_on_or_measured_again(here):
    assert counts(train(composed(*WORDS, "data.source.root=moved"))) == [0, 0, 1]
    assert counts(evaluate(of_run("data.source.root=moved"))) == [0, 0, 1]
    assert counts(evaluate(of_run("data.source.root=moved", "sampler=heun"))) == [0, 1, 0]
    assert len(list(Path("runs").glob("*/weights.safetensors"))) == 1


def test_a_command_that_needs_the_data_says_how_to_name_their_place(here):
    with pytest.raises(UserError, match=r"no folder .*images: data\.source\.root must name a folder of images"):
        evaluate(of_run("sampler=heun"))
    run_here("sample", "run=rectified", "n=2")  # which needs none of them


def test_other_data_are_refused_by_every_command(here):
    shutil.copytree("moved", "other")
    for path in sorted(Path("other").rglob("*.png"))[:20]:
        path.unlink()
    refusal = "holds other training images than rectified_flow-folder-s0"
    with pytest.raises(UserError, match=refusal):
        evaluate(of_run("data.source.root=other"))
    for command, words in [("sample", ["n=2"]), ("reflow", ["pairs=40", "images=32"])]:
        with pytest.raises(SystemExit, match=refusal):
            run_here(command, "run=rectified", "data.source.root=other", *words)
    assert len(list(Path("runs").glob("*/config.yaml"))) == 1


def test_other_held_out_images_are_refused_where_their_sum_was_kept(here):
    """Their paths, and so the split, are as before; the sum enters no fingerprint."""
    folder = Folder("moved", [3, 8, 8])
    before = folder.load()
    for path in Path("moved").rglob("*.png"):
        if folder._fraction(path.relative_to("moved").as_posix()) < folder.held_out:
            Image.new("RGB", (8, 8)).save(path)
    after = folder.load()
    assert before.train.labelled_sha256 == after.train.labelled_sha256
    assert before.held_out_sha256 != after.held_out_sha256
    with pytest.raises(UserError, match="holds other held-out images than rectified_flow-folder-s0"):
        evaluate(of_run("data.source.root=moved"))
    config = here.config
    assert config["origins"]["data"]["held_out"] == before.held_out_sha256
    del config["origins"]["data"]["held_out"]  # as of an earlier version
    assert fingerprint(config, config["origins"]) == config["fingerprint"]
    (here.folder / "config.yaml").write_text(json.dumps(config))
    assert counts(evaluate(of_run("data.source.root=moved"))) == [0, 1, 0]


def test_data_without_a_folder_have_no_other_place(here, tmp_path):
    words = ["experiment=toy", "data=moons", "paradigm=exact", "denoiser=empirical", "images=64", "batch_size=64"]
    run = train(composed(*words, "data.source.n=200", "protocol.n=0", "logger=local", "trainer=cpu"))["run"]
    with pytest.raises(UserError, match=r"data\.source\.root=moved: the data of .* come from no folder"):
        evaluate(composed(f"run={run}", "data.source.root=moved", "n=8", name="evaluate"))


def test_a_teacher_of_moved_data_makes_the_same_student(here):
    """By difflab-reflow, and by difflab-train with the teacher's folder renamed."""
    words = ["images=32", "seed=1", "data.source.root=moved"]
    run_here("reflow", "run=rectified", "pairs=40", "nfe=2", *words)
    (student,) = Path("runs").glob("reflow-*")
    here.folder.rename("runs/renamed")
    result = train(composed(*WORDS, *words, "teacher=renamed", "teacher.pairs=40", "teacher.nfe=2"))
    assert counts(result) == [0, 0, 1]
    assert result["run"] == student.name


def test_a_renamed_run_is_found_by_its_fingerprint(here):
    here.folder.rename("runs/my run, (1)")
    result = train(composed(*WORDS, "data.source.root=moved"))
    assert (result["run"], counts(result)) == ("my run, (1)", [0, 0, 1])
