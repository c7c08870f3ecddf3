"""What cannot work is refused before any work, and what needs no work loads nothing heavy."""

import subprocess
import sys

import pytest
import torch

from helpers.jobs import run_here


def test_what_cannot_work_is_refused_in_one_line_with_nothing_written(tmp_path, monkeypatch, capfd, subtests):
    monkeypatch.chdir(tmp_path)
    for words, message in [
        (["seed=abc"], "'abc' is not a whole number"),
        (["images=10"], "images=10 is less than one batch"),
        (["nfe=1001"], "at most 1000 are possible"),
        (["schedule=linear"], "schedule.t_max=0.999"),
        (["sampler=ancestral_learned"], "backbone.learned_variance=true"),
        (["precision=fp8"], "none of auto, bf16, fp32"),
        (["backbone.multipliers=[1,2,2,2,2,2]"], "divide"),
        (["data=folder"], "please give a value: data.source.root"),
        (["data=folder", "data.source.root=nowhere"], "no folder nowhere"),
        (["data=folder", "data.source.root=d${x}"], "Interpolation key 'x' not found; ${KEY} stands for a setting"),
        (["teacher.nfe=3"], "teacher.nfe: there is no teacher"),
        (["protocol.n=1"], "two images at least"),
        (["trainer.accelerator=gpu"] if not torch.cuda.is_available() else ["trainer.devices=99"], "trainer: "),
        (["+trainer.max_steps=5"], "trainer.max_steps is no setting"),
        (["sampler=ddim", "sampler.eta=2"], "sampler.eta=2 must lie in [0, 1]"),
        (["ema=[1.5]"], r"decays in [0, 1)"),
        (["+sampler@foo.bar=null"], "sampler=null chooses nothing"),
        (["+sampler@foo.bar=ddim"], "'foo.bar' is inside no key of train; valid: "),
        (["+sampler@=ddim"], "'' is inside no key of train"),
        (["sampler@guidance.second=heun"], "+sampler@guidance.second=heun adds one"),
        (["+sampler@guidance.second=ddim"], "DDIM(eta=0.0) is no guidance"),
        (["+guidance@guidance.second=rescale"], "several guidances are a list, guidance=[classifier_free,rescale]"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(SystemExit) as refusal:
                run_here("train", *words)
            said = "".join((*capfd.readouterr(), refusal.value.code if isinstance(refusal.value.code, str) else ""))
            assert message in said
            assert len(said.strip().splitlines()) == 1
            assert list(tmp_path.iterdir()) == []


def test_help_lists_groups_and_settings_without_loading_torch(subtests):
    for command in ["train", "sample", "evaluate", "search"]:
        with subtests.test(command):
            program = f"""
import sys, difflab.cli.{command}
try:
    difflab.cli.{command}.main(["difflab-{command}", "--help"])
finally:
    print("loaded:", *sys.modules)
"""
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            said, _, loaded = done.stdout.partition("loaded:")
            for word in ("sampler", "nfe", f"difflab-{command}"):
                assert word in said
            assert not {"torch", "lightning", "wandb"} & {*loaded.split()}
