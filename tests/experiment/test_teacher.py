"""A student of a teacher: what of the teacher names the run, and what is refused before any work."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from difflab.data.pairs import save_pairs
from difflab.experiment import UserError, train
from difflab.experiment.store.run import find
from difflab.experiment.training.job import Training
from difflab.process.noise import SampleNoise
from helpers.conf import composed
from helpers.jobs import run_here

FLOW = ["experiment=toy", "data=moons", "paradigm=rectified_flow", "backbone.width=16", "images=640", "batch_size=64"]
FLOW += ["data.source.n=500", "data.source.held_out=100", "ema=[0.9,0.5]", "nfe=4", "protocol.n=32"]
FLOW += ["protocol.n_likelihood=0", "logger=local", "trainer=cpu"]
PAIRS = ["teacher.pairs=200", "teacher.nfe=3"]
STUDENT = [*FLOW, *PAIRS, "teacher=rectified"]
IMAGES = ["data=gaussian_array", "data.shape=[1,8,8]", "backbone=unet", "backbone.multipliers=[1]"]
IMAGES += ["backbone.attention=[]", "backbone.head_channels=null"]
CLASSIFIER = ["paradigm=classifier", "data=digits", "backbone.width=16", "images=640", "logger=local", "trainer=cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a trained flow."""
    runs = tmp_path_factory.mktemp("teacher") / "runs"
    train(composed(*FLOW, f"runs_dir={runs}"))
    return runs


@pytest.fixture
def here(runs, tmp_path, monkeypatch):
    """A working directory with a copy of it."""
    shutil.copytree(runs, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def names(runs):
    """The runs of a folder."""
    return sorted(path.parent.name for path in runs.glob("*/config.yaml"))


def named(*words):
    """The fingerprint of a student."""
    return Training.of(composed(*STUDENT, *words)).fingerprint


def test_all_that_a_teacher_is_asked_for_names_the_run(here):
    """The words of the pairs and their weights, each; but no name or place of the teacher."""
    words = [
        (),
        ("teacher.nfe=2",),
        ("teacher.pairs=300",),
        ("teacher.sampler=heun",),
        ("teacher.grid=cosine",),
        ("teacher.range=none",),
        ("teacher.ema=0.5",),
        ("init=none",),
        ("seed=1",),
    ]
    fingerprints = [named(*each) for each in words]
    assert len(set(fingerprints)) == len(words)
    assert named("teacher.ema=0.9") == fingerprints[0], "its first decay is the default"
    assert named("teacher.sampler=euler", "teacher.grid=quadratic") == fingerprints[0], "they are the teacher's own"
    teacher = find(here, "rectified").folder
    moved = teacher.rename(here / "other")
    assert named("teacher=other") == fingerprints[0]
    assert named(f"teacher={moved.resolve()}") == fingerprints[0]
    shutil.copytree(moved, here / "copied")
    assert named("teacher=copied") == fingerprints[0]


def test_reflow_is_short_for_a_teacher_with_the_configuration_of_the_run(here):
    run_here("train", *STUDENT)
    (student,) = set(names(here)) - {find(here, "rectified").folder.name}
    trained = Path(here, student, "weights.safetensors").stat().st_mtime_ns
    run_here("reflow", "run=rectified", "pairs=200", "nfe=3", "images=640")
    assert len(names(here)) == 2
    assert Path(here, student, "weights.safetensors").stat().st_mtime_ns == trained
    assert find(here, student).config["origins"]["teacher"]["run"] == find(here, "rectified").folder.name


def test_words_that_train_the_teacher_stand_for_its_run(here):
    words = " ".join(FLOW)
    run_here("train", *FLOW, *PAIRS, f'teacher="{words}"')
    assert len(names(here)) == 2, "the teacher was there"
    (student,) = set(names(here)) - {find(here, "rectified").folder.name}
    assert find(here, student).config["fingerprint"] == named()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([*FLOW, "paradigm=ddpm"], "DDPM has no use for a teacher; choose paradigm=rectified_flow"),
        (CLASSIFIER, "CleanClassifier has no use for a teacher"),
        ([*FLOW, "teacher.pairs=50"], "nine tenths of them are trained on, and must fill a batch of 64"),
        ([*FLOW, "sampler=ancestral", "nfe=1", "images=32"], "less than one batch"),
    ],
)
def test_a_student_that_no_teacher_can_teach_is_refused_before_the_teacher_is_trained(words, reason, tmp_path):
    runs = tmp_path / "runs"
    config = composed(*PAIRS, f'teacher="{" ".join(FLOW)}"', *words, f"runs_dir={runs}")
    for dry_run in (False, True):
        with pytest.raises(UserError, match=reason):
            train({**config, "dry_run": dry_run})
    assert not names(runs)


def test_each_process_must_have_held_out_samples_of_the_set_that_is_validated_on(here):
    """The last tenth of the pairs, made or still to be made, whose parts of a batch of 128 are 64; not of the data."""
    save_pairs("few.safetensors", torch.zeros(500, 2), torch.zeros(500, 2), torch.zeros(500, dtype=torch.long))
    save_pairs("more.safetensors", torch.zeros(700, 2), torch.zeros(700, 2), torch.zeros(700, dtype=torch.long))
    two = [*FLOW, "batch_size=128", "trainer.devices=2", "dry_run=true"]
    words = f'teacher="{" ".join([*FLOW, "seed=1"])}"'  # of one that is still to be trained
    for wrong, said in [
        ([words, "teacher.pairs=500"], "50 held-out pairs, of teacher.pairs=500, leave one of 2 processes without any"),
        (["teacher=rectified", "teacher.pairs=500"], "give a batch_size of 98 or less"),
        (["data.pairs=few.safetensors"], "50 held-out samples leave one of 2 processes without any"),
        (["data.source.held_out=64"], "64 held-out samples leave one of 2 processes without any"),
        ([words, "teacher.pairs=9", "batch_size=2"], "teacher.pairs=9: .* 10 are needed"),
    ]:
        with pytest.raises(UserError, match=said):
            train(composed(*two, *wrong))
    for right in (
        ["teacher=rectified", "teacher.pairs=650"],
        ["data.pairs=more.safetensors", "data.source.held_out=9"],
    ):
        assert train(composed(*two, *right))["plan"]
    assert len(names(here)) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["teacher.ema=0.7"], "valid: 0.9, 0.5"),
        (["teacher=nothing"], "teacher=nothing: no such folder"),
        (["teacher.sampler=ancestral"], "Ancestral.* draws noise on the way: pairs need the flow alone"),
        (["data=eight_gaussians"], "was trained on other images than data= gives"),
        (IMAGES, r"samples of shape \[2\] and 0 classes, this model takes \[1, 8, 8\] and 0"),
        (["data.pairs=pairs.safetensors"], "data.pairs=.*: a teacher draws the pairs; leave out one of the two"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_before_its_pairs_are_drawn(words, reason, here):
    save_pairs("pairs.safetensors", torch.zeros(100, 2), torch.zeros(100, 2), torch.zeros(100, dtype=torch.long))
    before = sorted(here.rglob("*"))
    with pytest.raises(UserError, match=reason):
        train(composed(*STUDENT, *words))
    assert sorted(here.rglob("*")) == before


def test_settings_of_a_teacher_that_is_not_there_are_refused(tmp_path):
    for word in ("teacher.nfe=3", "teacher.sampler=heun", "teacher.pairs=200"):
        with pytest.raises(UserError, match=rf"{word.partition('=')[0]}: there is no teacher; add teacher=RUN"):
            train(composed(*FLOW, word, f"runs_dir={tmp_path}"))


def test_pairs_are_not_the_noise_that_samples_are_measured_with(here):
    """Whatever the seeds of both: the noise of a student's pairs is met by no seed of a protocol."""
    eps = load_file(Training.of(composed(*STUDENT, "teacher.pairs=72")).teacher.pairs)["eps"]
    measured = torch.stack([SampleNoise(seed, range(72))(eps, 0) for seed in range(20)])
    assert torch.isclose(measured, eps).sum() < 5, "numbers that are equal by chance"
