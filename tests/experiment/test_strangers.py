"""A run that somebody sent: nothing of it is executed, leaks, hangs or ends in a traceback."""

import io
import json
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from difflab.experiment.parts import sizes
from difflab.experiment.parts.build import build
from difflab.experiment.store.checkpoint import Checkpoint, newest
from difflab.experiment.store.run import Run, find
from difflab.experiment.store.weights import load_module
from helpers import hostile
from helpers.conf import composed


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return hostile.sound_run(tmp_path_factory.mktemp("sent"))


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text(hostile.SECRET)
    return tmp_path / "outside"


def test_a_sound_run_is_read(template, tmp_path):
    assert hostile.tried(template, tmp_path, lambda folder: lambda: None, tmp_path / "out") == {
        "report": ("passed", ""),
        "sample": ("passed", ""),
    }


def test_no_change_of_a_run_comes_through(template, tmp_path, outside):
    """A part of what `benchmarks.strangers` tries."""
    assert hostile.faults(template, tmp_path, outside, every=15, number=6).lines == []


def test_links_and_pipes_are_named_with_the_reason(template, tmp_path, outside):
    folder = shutil.copytree(template, tmp_path / "runs" / "sent")
    cases = dict(hostile.entries(folder, outside))
    for name, reason in [
        ("weights.json: a link out", "weights.json is a link that leaves the run: .*cp -rL"),
        ("samples/: a link out", "samples is a link that leaves the run"),
        ("weights.json: a pipe", "weights.json is neither a file nor a folder"),
    ]:
        cases[name]()
        with pytest.raises(ValueError, match=reason):
            find(tmp_path / "runs", "sent")
        path = folder / name.partition(":")[0].strip("/")
        path.unlink()
        shutil.copy(template / path.name, path) if (template / path.name).exists() else None
    find(tmp_path / "runs", "sent")


def test_a_class_of_another_kind_and_a_bare_mapping_are_of_no_type():
    node = composed("data=digits")["model"]
    for lie in ({"a": 1}, {"_target_": "difflab.sampler.DDIM"}):
        with pytest.raises(ValueError, match=r"target=.* should be of type"):
            build({**node, "denoiser": {**node["denoiser"], "target": lie}})


def test_sizes_are_refused_before_memory_is_given(monkeypatch):
    monkeypatch.setattr(sizes, "MOST", 50)
    for words, reason in [
        (["backbone.width=100000", "backbone.multipliers=[1]"], r"it needs [\d,.]+ GiB, and this machine has"),
        (["backbone.blocks=1000", "backbone.width=16"], "it is made of more than 50 tensors"),
    ]:
        node = composed("data=digits", *words)["model"]
        with pytest.raises(ValueError, match=reason), sizes.bounded("backbone="):
            build(node)


def test_weights_that_a_network_would_round_or_that_are_not_finite_are_refused(template, tmp_path):
    run = Run(shutil.copytree(template, tmp_path / "sent"))
    sound = load_file(run.weights)
    name = next(name for name in sound if sound[name].ndim > 1)
    for value, reason in [(sound[name].long(), "is of torch.int64"), (sound[name] / 0, "not finite")]:
        save_file({**sound, name: value}, run.weights)
        facts = json.loads(run.facts.read_text())
        run.facts.write_text(json.dumps({**facts, "sha256": hostile.sha256(run.weights)}))
        with pytest.raises(ValueError, match=f"weights.safetensors: .*{reason}"):
            load_module(run)


def test_checkpoints_that_no_training_wrote_are_damaged(tmp_path):
    run = Run(tmp_path)
    run.checkpoint.parent.mkdir()
    state = {"global_step": 3, "state_dict": {"weight": torch.ones(2)}, "optimizer_states": [], "lr_schedulers": []}
    state |= {"loops": {}, "callbacks": {"EMA": {}, "RunProgress": {}}}
    torch.save(state, run.checkpoint)
    found = newest(run)
    assert found == Checkpoint(run.checkpoint, 3)
    for wrong in [
        {**state, "global_step": -1},
        {**state, "global_step": True},
        {**state, "callbacks": {}},
        {"global_step": 3},
        torch.ones(3),
        [],
        {**state, "callbacks": None},
    ]:
        torch.save(wrong, run.checkpoint)
        with pytest.raises(ValueError, match=r"last.ckpt is damaged"):
            newest(run)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as records:
        records.writestr("archive/data.pkl", b"0" * 1000)
    run.checkpoint.write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match=r"last.ckpt is damaged"):
        newest(run)
    network = torch.nn.Linear(2, 1, bias=False)
    for weight, reason in [(torch.ones(5), "of another network"), (torch.full((1, 2), torch.nan), "is not finite")]:
        torch.save({**state, "state_dict": {"weight": weight}}, run.checkpoint)
        with pytest.raises(ValueError, match=reason):
            newest(run).check(network)
