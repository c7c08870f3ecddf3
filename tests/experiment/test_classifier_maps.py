"""The maps of a trained classifier, by which an autoencoder compares images."""

import pytest
import torch
import torch.nn.functional as F

from difflab.experiment.model.classifier_maps import ClassifierMaps
from helpers.jobs import run_here

SMALL = ["data=digits", "backbone.width=16", "backbone.multipliers=[1,2]", "images=160", "batch_size=32"]
SMALL += ["logger=local", "trainer=cpu", "precision=fp32"]


@pytest.mark.parametrize("paradigm", ["classifier", "noisy_classifier"])
def test_the_last_map_leads_to_the_logits_and_all_maps_to_the_image(tmp_path, monkeypatch, paradigm):
    monkeypatch.chdir(tmp_path)
    run_here("train", f"paradigm={paradigm}", "backbone=half_unet", *SMALL)
    (folder,) = tmp_path.glob("runs/*/weights.safetensors")
    maps = ClassifierMaps(folder.parent.name, "runs")
    x = torch.rand(3, 1, 8, 8, requires_grad=True)
    found = maps(x)
    assert [tuple(each.shape[1:]) for each in found] == [(16, 8, 8), (32, 4, 4), (32, 4, 4)]
    network = maps.classifier
    backbone, t = network.backbone, torch.tensor(network.schedule.t_min, dtype=torch.float64)
    logits = backbone.pool(F.silu(backbone.norm(found[-1])).flatten(2).mT)
    torch.testing.assert_close(logits.log_softmax(1), network(network.schedule(t).alpha.to(x) * x, t))
    for each in found:
        (slope,) = torch.autograd.grad(each.square().sum(), x, retain_graph=True)
        assert slope.isfinite().all()
        assert slope.any()
    with pytest.raises(ValueError, match=r"sees images of shape \[1, 8, 8\], not \[1, 16, 16\]"):
        maps(torch.zeros(1, 1, 16, 16))


@pytest.mark.long
def test_it_is_what_an_autoencoder_trains_by(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_here("train", "paradigm=classifier", "backbone=half_unet", *SMALL)
    small = [*SMALL[:2], "backbone.multipliers=[1,2]", *SMALL[3:], "protocol.n=0"]
    result = run_here(
        "train", "paradigm=autoencoder", "perceptual=classifier", "perceptual.run=classifier-digits", *small
    )
    run_here("train", "data=digits", "backbone.width=16", "backbone.multipliers=[1,2]", *SMALL[3:], "protocol.n=0")
    with pytest.raises(SystemExit, match=r"perceptual\.run=ddpm-digits.* is a UNet: choose a run of"):
        run_here("train", "paradigm=autoencoder", "perceptual=classifier", "perceptual.run=ddpm-digits", *small)
    assert "perceptual" in next(tmp_path.glob("runs/autoencoder*/metrics.jsonl")).read_text(), result
