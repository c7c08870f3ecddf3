"""Runs with captions: trained, drawn from by prompts, measured by a contrastive pair, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from difflab import load, train
from difflab.cli.sample import main as sample
from difflab.data import CaptionedFolder
from difflab.experiment import UserError, evaluate
from difflab.experiment.store.run import find
from helpers.captioned import write_captioned

pytestmark = pytest.mark.long

BUDGET = {"images": 320, "batch_size": 32, "logger": "local", "trainer": "cpu", "precision": "fp32", "nfe": 4}
BOOK = {"width": 16, "depth": 1, "heads": 2}
NARROW = {"width": 16, "multipliers": [1, 2], "attention": [], "head_channels": None}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with images, a contrastive pair and a flow that reads captions; nobody changes it."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "images").mkdir()
    write_captioned(folder / "images")
    data = {
        "data": "captioned_folder",
        "data.source.root": str(folder / "images"),
        "data.source.held_out": 0.25,
        "data.shape": [3, 8, 8],
    }
    common = {**BUDGET, **data, "book": BOOK}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pair = train({**common, "paradigm": "contrastive", "backbone": {**NARROW, "classes": 16}})
        protocol = {"n": 24, "n_likelihood": 16, "contrastive": pair["run"]}
        backbone = {**NARROW, "cross": [4]}
        flow = train({**common, "paradigm": "rectified_flow", "backbone": backbone, "protocol": protocol})
    return folder, pair, flow


@pytest.fixture
def there(runs, tmp_path, monkeypatch):
    """The flow's name, in a copy of the folder."""
    shutil.copytree(runs[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return runs[2]["run"]


def images_of(run):
    """The images of a run, with their captions."""
    return CaptionedFolder(run.config["data"]["source"]["root"], [3, 8, 8], 0.25).load()


def drawn(folder, *words):
    """What `difflab-sample` writes: the samples and the report."""
    sample(["difflab-sample", *words, f"out={folder}"])
    return np.load(folder / "samples.npz"), json.loads((folder / "report.json").read_text())


def test_the_pair_finds_texts_and_says_so(runs):
    folder, pair, _ = runs
    result = json.loads((folder / "runs" / pair["run"] / "result.json").read_text())
    for name in ("image_to_text_R@1", "text_to_image_R@1", "image_to_text_R@5", "alignment"):
        assert -1 <= result[name] <= 1
    assert result["image_to_text_R@5"] >= result["image_to_text_R@1"]
    assert "zero_shot" not in result, "this folder has no class prompts"
    assert (folder / "runs" / pair["run"] / "similarity" / "final.png").exists()
    words = json.loads((folder / "runs" / pair["run"] / "weights.json").read_text())["vocabulary"]["words"]
    assert {"a", "square", "bar"} <= {*words}


def test_the_flow_is_measured_with_the_pair_beside_real_images(runs):
    _, pair, flow = runs
    assert {"text_alignment", "text_alignment_floor", "text_retrieval", "text_retrieval_floor"} <= flow[
        "metrics"
    ].keys()
    assert flow["card"]["contrastive"].startswith("sha256 ")
    assert "contrastive" not in pair


def test_a_prompt_means_what_the_caption_of_the_data_means(runs, tmp_path, monkeypatch):
    folder, _, flow = runs
    monkeypatch.chdir(folder)
    texts = images_of(find(folder / "runs", flow["run"])).names
    by_label, _ = drawn(tmp_path / "label", f"run={flow['run']}", "label=5", "n=4")
    by_prompt, report = drawn(tmp_path / "prompt", f"run={flow['run']}", f'prompts=["{texts[5]}"]', "n=4")
    np.testing.assert_array_equal(by_label["arr_0"], by_prompt["arr_0"])
    assert report["prompts"] == [texts[5]]
    other, _ = drawn(tmp_path / "other", f"run={flow['run']}", f'prompts=["{texts[0]}"]', "n=4")
    assert (other["arr_0"] != by_prompt["arr_0"]).any()


def test_negative_prompts_words_that_are_new_and_files(there, tmp_path, capsys):
    run, guided = f"run={there}", ["guidance=classifier_free", "guidance.classifier_free.scale=3"]
    plain, _ = drawn(tmp_path / "a", run, 'prompts=["a red square"]', "n=3", *guided)
    empty, _ = drawn(tmp_path / "b", run, 'prompts=["a red square"]', 'negative=""', "n=3", *guided)
    np.testing.assert_array_equal(plain["arr_0"], empty["arr_0"])
    away, report = drawn(tmp_path / "c", run, 'prompts=["a red square"]', 'negative="a blue bar"', "n=3", *guided)
    assert (plain["arr_0"] != away["arr_0"]).any()
    assert report["negative"] == "a blue bar"
    capsys.readouterr()
    (tmp_path / "prompts.txt").write_text("a red square\n\na purple unicorn square\n")
    both, report = drawn(tmp_path / "d", run, f"prompts=[{tmp_path}/prompts.txt]", "n=4")
    assert report["prompts"] == ["a red square", "a purple unicorn square"]
    assert both["labels"].tolist() == [0, 1, 0, 1]
    assert "left out, as the training captions do not have them: purple, unicorn" in capsys.readouterr().out
    _, report = drawn(tmp_path / "e", run, "prompts=a red square", "n=1")
    assert report["prompts"] == ["a red square"], "one text is a list of one"
    _, report = drawn(tmp_path / "f", run, 'prompts="a red, red square"', "n=1")
    assert report["prompts"] == ["a red, red square"]


def test_what_is_measured_and_infinite_is_null(there, tmp_path):
    """The log-SNR of pure noise, which JSON does not have."""
    flow = ["guidance=none", "range=none", "sampler=ddim"]
    _, report = drawn(tmp_path / "out", f"run={there}", "task=invert", "n=2", *flow)
    assert report["measured"]["log_snr"] is None
    assert report["measured"]["rmse"] > 0


def test_rows_of_prompts_and_the_way_between_them(there, tmp_path):
    run, prompts = f"run={there}", 'prompts=["a red square","a blue bar"]'
    rows, _ = drawn(tmp_path / "rows", run, prompts, "task=classes", "n=3")
    assert rows["labels"].tolist() == [0] * 3 + [1] * 3
    way, _ = drawn(tmp_path / "way", run, prompts, "task=between", "task.frames=3", "n=2")
    ends = way["arr_0"].reshape(2, 3, 8, 8, 3)  # (sample, frame, ...)
    for k in range(2):
        np.testing.assert_array_equal(ends[k, 0], rows["arr_0"][k])
        np.testing.assert_array_equal(ends[k, 2], rows["arr_0"][3 + k])
        assert (ends[k, 1] != ends[k, 0]).any()


def test_without_prompts_captions_of_held_out_images_are_drawn(there, tmp_path):
    found, _ = drawn(tmp_path / "out", f"run={there}", "n=6")
    held_out = images_of(find(tmp_path / "runs", there)).test.y
    assert {*found["labels"].tolist()} <= {*held_out.tolist()}


def test_a_notebook_gives_prompts(there, tmp_path):
    denoiser = load(f"runs/{there}", prompts=["a red square", "a blue bar"])
    assert denoiser.classes == 2
    x, t = torch.zeros(2, 3, 8, 8), torch.tensor(0.5, dtype=torch.float64)
    red, blue = (denoiser(x, t, torch.full((2,), k)).x0 for k in (0, 1))
    assert not torch.equal(red, blue)


def test_refusals_name_the_way_out(there, runs, tmp_path):
    run = f"run={there}"
    for words, said in (
        (["prompts=[xyzzy]"], r"knows \d+ words, and none of 'xyzzy'"),
        (["negative=red"], "negative= is used beside prompts="),
        (["prompts=[gone.txt]"], "there is no such file"),
        (["task=classes"], "a row for each prompt"),
        (["task=between"], "from one prompt to the next"),
        (["task=between", "prompts=[red]"], "from one prompt to the next"),
        (["prompts=[red,blue]", "label=2"], "none of this run's 2 classes"),
    ):
        with pytest.raises(SystemExit, match=said):
            sample(["difflab-sample", run, *words])
    with pytest.raises(SystemExit, match=r"contrastive pair, which generates nothing"):
        sample(["difflab-sample", f"run={runs[1]['run']}"])
    config = find(tmp_path / "runs", there).config
    with pytest.raises(UserError, match=r"look up more than a class"):
        train({**config, "model": {**config["model"], "denoiser": unread(config["model"]["denoiser"])}})
    with pytest.raises(UserError, match="compares images with captions"):
        train(
            {"data": "digits", **BUDGET, "protocol": {"n": 16, "contrastive": str(tmp_path / "runs" / runs[1]["run"])}}
        )
    with pytest.raises(
        UserError, match=r"reads what labels look up, as captions, and the labels of Digits are classes"
    ):
        train({"data": "digits", "book": "tokens", "backbone": {"cross": [4], "attention": []}, **BUDGET})
    assert evaluate({"run": there})["cached"] == 1


def unread(denoiser):
    """The same network with a table of classes."""
    backbone = {key: value for key, value in denoiser["backbone"].items() if key not in ("book", "cross")}
    return {**denoiser, "backbone": backbone}
