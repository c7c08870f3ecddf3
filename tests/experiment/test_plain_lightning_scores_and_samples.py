"""The numbers and samples of a plain Trainer: means over all held-out samples, what `generate` draws, averages too."""

from pathlib import Path

import pytest
import torch

from difflab import DDPM, EMA, VPSDE, Labels, Sampling
from difflab.guidance import Chain, ClassifierFree, ClassifierGuidance, Clip
from difflab.paradigm import RectifiedFlow
from difflab.paradigm.base import HELD_OUT
from difflab.process import CosineBetas
from difflab.sampler import DDIM, Heun, Uniform, generate
from helpers.classifiers import Sides
from helpers.networks import perturbed
from helpers.plain_lightning import in_a_folder_of_its_own, mlp, points, trainer

quiet = pytest.fixture(in_a_folder_of_its_own, autouse=True)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*")


def test_what_is_measured_is_the_mean_over_all_held_out_samples():
    """Of 10 in batches of 4, 4 and 2: the loss of the same noise, and the likelihoods that the function gives."""
    data = points()
    x, y = data.encoded(data.held_out), data.held_out.y
    batches = list(zip(torch.split(x, 4), torch.split(y, 4), strict=True))
    for model in (DDPM(mlp(), schedule=CosineBetas(T=8)), RectifiedFlow(mlp())):
        plain = trainer()
        (measured,) = plain.test(model, data, verbose=False)
        by_hand = type(model)(model.denoiser, batch_size=4).eval()
        losses, bits = [], []
        with torch.no_grad():
            for k, (x0, label) in enumerate(batches):
                noised = by_hand.corrupt(x0, label, 0.0, HELD_OUT, k)
                losses.append(torch.stack([*by_hand.held_out_loss(noised).values()]).sum(0))
                bits.append(by_hand.bits_per_dim(x0, label))
        assert measured["test/loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-6)
        first, second = (loss.mean().item() for loss in losses[:2])  # the whole batches: s = |a - b| / sqrt(2)
        assert measured["test/loss_spread"] == pytest.approx(2**0.5 * abs(first - second) / (first + second), rel=1e-5)
        for score in {each.score for each in model.likelihoods()}:
            mean = torch.cat([each[score] for each in bits]).mean().item()
            assert measured[f"test/{score}"] == pytest.approx(mean, rel=1e-6), score
        if isinstance(model, RectifiedFlow):  # an exact trace and no noise: to the solver's tolerance
            whole = by_hand.bits_per_dim(x, y)["bits_per_dim"].mean().item()
            assert measured["test/bits_per_dim"] == pytest.approx(whole, abs=1e-4)


def test_samples_are_those_of_generate_whatever_sampler_grid_and_guidance():
    """DDIM on DDPM, the probability flow of VPSDE, and guidance of both kinds, one of which takes gradients."""
    labels = torch.tensor([0, 1, 2, 0, 1])
    guide = Chain((ClassifierGuidance(Sides, 3.0), Clip(3.0)))
    cases = [
        (DDPM(perturbed(mlp(3))), Sampling(DDIM(), Uniform(), nfe=6, seed=3)),
        (VPSDE(perturbed(mlp(3))), Sampling(Heun(), nfe=7)),
        (VPSDE(perturbed(mlp(3))), Sampling(DDIM(), nfe=8, guidance=ClassifierFree(2.0), range=Clip(3.0))),
        (VPSDE(perturbed(mlp(2))), Sampling(DDIM(), nfe=8, guidance=guide)),
    ]
    for model, how in cases:
        if model.denoiser.classes == 2:
            labels = labels.clamp(max=1)
        model.sampling = how
        drawn = trainer().predict(model, Labels(5, labels, batch_size=3))
        parts = [
            generate(
                how.range(how.guidance(model.denoiser)),
                how.sampler,
                how.grid,
                nfe=how.nfe,
                labels=labels[rows],
                indices=range(5)[rows],
                seed=how.seed,
            )
            for rows in (slice(0, 3), slice(3, 5))
        ]
        assert torch.equal(torch.cat([part.x for part in drawn]), torch.cat([part.images for part in parts])), how
        assert torch.cat([part.label for part in drawn]).equal(labels), how
        assert all(part.x.isfinite().all() for part in drawn), how
        assert {part.nfe for part in drawn} == {part.nfe for part in parts}, how
        (together,) = trainer().predict(model, Labels(5, labels))
        torch.testing.assert_close(together.x, torch.cat([part.x for part in drawn]), rtol=1e-4, atol=1e-5)


def test_averages_are_tested_and_sampled_and_the_raw_weights_come_back():
    model, ema, data = RectifiedFlow(mlp(), sampling=Sampling(DDIM(), nfe=4)), EMA([0.9, 0.99]), points()
    plain = trainer(max_steps=20, callbacks=[ema])
    plain.fit(model, data)
    raw = model.denoiser
    (measured,), (drawn,) = plain.test(model, data, verbose=False), plain.predict(model, Labels(4, [0]))
    assert model.denoiser is raw
    with pytest.raises(ValueError, match="labels in"):
        plain.predict(model, Labels(1, [4]))
    assert model.denoiser is raw, "after a failure too"
    averaged = RectifiedFlow(ema.average(), sampling=model.sampling)
    for other, same in ((averaged, True), (model, False)):
        (theirs,) = trainer().test(other, data, verbose=False)
        (again,) = trainer().predict(other, Labels(4, [0]))
        assert (measured == theirs) is same
        assert torch.equal(drawn.x, again.x) is same
    # A new process that loads the checkpoint has the averages, too.
    (path,) = Path().rglob("*.ckpt")
    (reread,) = trainer(callbacks=[EMA([0.9, 0.99])]).test(
        RectifiedFlow(mlp()), data, path, verbose=False, weights_only=True
    )
    assert reread == measured
