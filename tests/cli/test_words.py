"""Words as people type them: what Hydra's grammar lacks works, or is answered with the word that does it here."""

import re
import shlex
import tempfile

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from difflab.cli import main, train
from difflab.cli.explain import explanation, unread
from difflab.cli.line import Line
from difflab.experiment.config.compose import compose, composition
from difflab.experiment.config.words import check_words, spelled
from difflab.experiment.parts.errors import UserError
from difflab.experiment.training.trainer import PLACEMENT
from helpers.conf import options, with_option
from helpers.jobs import TOY, said_here

PATHS = ["lr=0.1/imgs", "x[1]", "x(1)", "my data, (v2)/imgs", "it's/imgs", "grün/å (1)", "a$b", "~/x", "123", "1e3"]
PATHS += ["2024-01-01", "true", "a b", "C:\\data\\imgs", "x{1}", "%20", "a'b\"c", "#1"]


def value(word):
    """What Hydra reads in a word."""
    return OverridesParser.create().parse_override(spelled("train", word)).value()


def test_paths_are_read_as_they_stand(subtests):
    for key in ("data.source.root", "runs_dir", "init", "study"):
        for path in PATHS:
            with subtests.test(f"{key}={path}"):
                assert value(f"{key}={path}") == path


def test_none_is_null_and_whole_floats_are_whole_numbers():
    assert value("init=None") is None
    assert value("study=None") is None
    assert value("backbone.attention=[None, 1e3]") == [None, 1000]
    assert value('study="None"') == "None"
    assert value("study=Nonesuch") == "Nonesuch"
    assert (value("images=1e3"), value("images=2.5e4"), value("lr=1e-3")) == (1000, 25000, 1e-3)
    assert isinstance(value("images=1e3"), int)
    assert spelled("train", "images=1e3,2e3") == "images=1000,2000"


def test_what_is_no_setting_is_answered_with_the_way_to_say_it(subtests):
    for words, said in [
        (["images", "=", "200"], "'images' is no setting: write KEY=VALUE as one word"),
        (["=200"], "'=200' is no setting"),
        (["two words=1"], "'two words=1' is no setting"),
        (["runs_dir="], "runs_dir= has no value"),
        (["data.source.root=[x]/imgs"], "as text it is 'data.source.root=\"[x]/imgs\"'"),
        (['data.source.root="x'], "does not close a bracket or a quote"),
        (["paradigm=../paradigm/ddpm"], "paradigm=../paradigm/ddpm does not exist; valid: "),
        (["steps=1000"], "what does it here is images=N, the budget"),
        (["data=3"], "data=3 does not exist"),
        (["model=unet"], "backbone=OPTION"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(UserError) as refusal:
                Line.of("difflab-train", "train", words)
            assert said in str(refusal.value)
            assert len(str(refusal.value).splitlines()) == 1
    with pytest.raises(UserError, match=r"or run=ddpm-digits for a run of that name"):
        check_words("sample", ["ddpm-digits"])


def test_words_of_other_programs_are_answered_with_the_word_that_does_it_here(subtests):
    for word, said in {
        "epochs=3": "images=N, the budget",
        "max_steps=100": "images=N, the budget",
        "width=64": "backbone.width",
        "dropout=0.1": "backbone.dropout",
        "warmup=3": "lr_schedule.warmup",
        "learning_rate=1": "lr=X",
        "gpus=2": "trainer.devices",
        "cfg_scale=2": "guidance.classifier_free.scale",
    }.items():
        with subtests.test(word):
            assert said in explanation("train", [word])


def test_a_setting_of_an_option_that_is_the_runs_own_names_the_way_out(subtests):
    for word in ("protocol.labels=data", "guidance.classifier_free.scale=2", "schedule@sampler.schedule=vp"):
        key = word.partition("=")[0].rpartition("@")[2]
        with subtests.test(word):
            group = key.partition(".")[0]
            assert explanation("evaluate", [word]).startswith(f"{key} changes an option of {group}")
            assert f"choose {group}= too, of " in explanation("evaluate", [word])


def test_an_added_word_that_nothing_reads_is_refused(subtests):
    for word in ("+sed=1", "+teacher.foo=1", "+protocol.foo=2"):
        with subtests.test(word):
            assert "is not a key of" in unread("train", [word])
    for word in ("+hydra.job.env_set.A=1", "++images=3", "+backbone.foo=1", "+callbacks.mine=null", "seed=1"):
        assert not unread("train", [word])  # held against a class's arguments later, or the user's own names


def test_settings_of_the_trainer_are_ordinary_and_may_be_added(subtests):
    for option in options("trainer"):
        with subtests.test(option):
            assert {*PLACEMENT} <= {*with_option("trainer", option)["trainer"]}
    for word in ("trainer.num_nodes=2", "+trainer.num_nodes=2", "++trainer.num_nodes=2"):
        assert compose("train", [word])["trainer"]["num_nodes"] == 2


def test_several_values_without_a_multirun_are_answered_with_both_ways():
    line = Line.of("difflab-train", "train", ["data=folder", "data.source.root=a,b"])
    with pytest.raises(UserError, match=r"-m does a job for each; one text with commas is 'data.source.root=\"a,b\"'"):
        line.check_one_job()


def test_a_study_is_counted_before_its_jobs_are_composed():
    for words, said in [
        (["seed=0,1,2", "nfe=range(2,6)"], "study of 12 jobs, 3 seed x 4 nfe"),
        (["experiment=samplers_by_nfe", "seed=0,1", "nfe=5"], r"jobs, .*2 seed"),
        (["experiment=samplers_by_nfe"], r"^study of [0-9]{2,3} jobs, .*sampler"),
    ]:
        line = Line.of("difflab-train", "train", words)
        settings = composition("train", [word for word in line.overrides if word not in line.sweeps])
        study = line.study(settings)
        assert re.search(said, str(study))
        assert str(study).startswith(f"study of {study.count} jobs")


def test_the_version_is_difflabs(capsys):
    for command in (main.main, train.main):
        command(["difflab", "--version"])
        assert capsys.readouterr().out.startswith("difflab 0.")


def test_lines_of_strangers_are_answered_with_the_words_of_difflab(subtests):
    """Found by trying: what a newcomer types, and what the one line of the answer must hold."""
    train = {
        "images=1k": "images=1k: '1k' is not a whole number",
        "images=20,000": "images=20,000 has several values",
        "images=1e3.5": "is not a whole number",
        "batch_size=0x40": "is not a whole number",
        "batch_size=64.5": "batch_size=64.5: '64.5' is not a whole number",
        "nfe=ten": "nfe=ten: 'ten' is not a whole number",
        "seed=true": "is not a whole number",
        "lr=1e-3,": "'1e-3,' is not a number",
        "lr=1/1000": "lr=1/1000: '1/1000' is not a number",
        "ema=none": "'none' is not a number",
        "ema=1.5": "give one or more decays in [0, 1)",
        "--images=100": "--images=100: settings are written without dashes, as images=100",
        "--seed": "as seed=VALUE",
        "-images": "as images=VALUE",
        "images:100": "'images:100' is no setting",
        "dry_run": "'dry_run' is no setting: write KEY=VALUE as one word, without blanks around =, as dry_run=true",
        "seed": "as seed=0",
        "schedule=VP": "Did you mean 'vp'?",
        "sampler=DDIM": "Did you mean 'ddim'?",
        "optimizer=SGD": "Did you mean 'sgd'?",
        "paradigm=flow-matching": "Did you mean 'flow_matching'?",
        "paradigm='flow matching'": "Did you mean 'flow_matching'?",
        "paradigm=diffusion": "the word for it here is paradigm=ddpm",
        "data=CIFAR-10": "the word for it here is data=folder data.source.root=FOLDER",
        "data=FashionMNIST": "the word for it here is data=fashion_mnist",
        "data=/home/user/images": "data=folder data.source.root=/home/user/images",
        "logger=none": "the word for it here is logger=local",
        "logger=false": "the word for it here is logger=local",
        "guidance=cfg": "the word for it here is guidance=classifier_free",
        "guidance.scale=3": "guidance=classifier_free guidance.classifier_free.scale=X",
        "protocol=fid": "the word for it here is protocol=paper",
        "precision=fp16": "precision=fp16 is none of auto, bf16, fp32",
        "watch=everything": "valid: gradients, weights, all",
        "data.shape=16": "should be of type list[int]",
        "trainer.accelerator=tpu": "trainer: ",
        "init=nothing": "init=nothing: no such folder",
        "first_stage=nothing": "first_stage=nothing: no such folder",
        "backbone=dit": "choose backbone=mlp",
    }
    others = [
        ("sample", ["run="], "run= has no value"),
        ("sample", ["run=demo", "labels=[boot,Sneakers]"], "labels=Sneakers is none of this run's 10 classes"),
        ("sample", ["run=demo", "prompts=cat"], "prompts=['cat']: demo was trained on classes"),
        ("sample", ["run=demo", "task=restore"], "Restore needs problem=, restoration="),
        ("sample", ["run=demo", "guidance=autoguidance"], "please give a value: guidance.autoguidance.weak.run=..."),
        ("evaluate", ["run=demo", "n=1"], "n=1: a distance between distributions takes two images at least"),
        ("evaluate", ["run=demo", "seed=a"], "seed=a: 'a' is not a whole number"),
    ]
    for command, words, answer in [
        ("train", [*TOY, *shlex.split(each)], found) for each, found in train.items()
    ] + others:
        with subtests.test(" ".join(words)), tempfile.TemporaryDirectory() as folder:
            said = said_here(command, *words, cwd=folder, status=1)
            assert answer in said
            assert len(said.splitlines()) == 1
