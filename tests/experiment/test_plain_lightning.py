"""The paradigms without Hydra: each is trained, tested and sampled by a plain Trainer, with its paper's defaults."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from difflab import DDPM, EMA, MLP, VPSDE, DataModule, Digits, HalfUNet, Labels, NoisyClassifier, Sampling, paradigm
from difflab.backbone import MLPDiscriminator, MLPGenerator
from difflab.data import Moons, Points
from difflab.denoiser import AnyClassifier, Denoiser
from difflab.guidance import Chain, ClassifierFree, ClassifierGuidance, Clip
from difflab.objective import Chain as ChainOfDraws
from difflab.objective import OptimalTransport
from difflab.paradigm import (
    EDM,
    GAN,
    VAE,
    Adversary,
    Diffusion,
    FlowMapMatching,
    FlowMatching,
    ImprovedDDPM,
    Optimisation,
    RectifiedFlow,
)
from difflab.paradigm.base import HELD_OUT
from difflab.process import VP, CosineBetas, Eps
from difflab.sampler import DDIM, Heun, Uniform, generate
from helpers.networks import AffineAutoencoder, perturbed

EXPORTED = [getattr(paradigm, name) for name in paradigm.__all__]
DIFFUSIONS = [cls for cls in EXPORTED if issubclass(cls, Diffusion) and cls is not Diffusion]
HELD = 10  # held-out points: two batches of 4 and one of 2


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """Lightning writes its logs and checkpoints into a folder of each test's own."""
    monkeypatch.chdir(tmp_path)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*")


def points(batch_size=4, n=64):
    source = Moons(n=n, held_out=HELD)
    return DataModule(source, shape=(2,), classes=0, sigma_data=1.0, batch_size=batch_size, codec=Points())


def mlp(classes=0, **settings):
    torch.manual_seed(0)
    return MLP((2,), classes, width=16, depth=1, **settings)


def trainer(**settings):
    plain = {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(**plain | settings)


def test_each_module_trains_tests_and_samples_with_its_papers_defaults(subtests):
    assert len(DIFFUSIONS) >= 10
    for cls in DIFFUSIONS:
        with subtests.test(cls.__name__):
            trains_tests_and_samples(cls)


def trains_tests_and_samples(cls):
    """Two steps, one batch of held-out points, three samples."""
    network = (
        AffineAutoencoder()
        if cls is VAE
        else MLPGenerator((2,), width=16)
        if cls is GAN
        else mlp(learned_variance=cls is ImprovedDDPM, second_time=cls is FlowMapMatching)
    )
    against = (Adversary(MLPDiscriminator((2,), width=16)),) if cls is GAN else ()
    model, data, plain = cls(network, *against), points(), trainer(limit_test_batches=1)
    before = [p.clone() for p in model.denoiser.parameters()]
    plain.fit(model, data)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.denoiser.parameters(), strict=True))
    (measured,) = plain.test(model, data, verbose=False)
    assert measured.keys() >= {"test/loss", *(f"test/{score}" for score in cls.scores)}
    assert all(math.isfinite(value) for value in measured.values())
    assert not any(key.startswith(("held_out", "measured")) for key in model.state_dict()), "metrics are not saved"
    how = cls.defaults.sampling
    if how.range == Clip():
        model.sampling = replace(how, range=Clip(3.0))  # the range of the points
    (drawn,) = plain.predict(model, Labels(3, [0]))
    assert drawn.k.tolist() == [0, 1, 2]
    assert drawn.x.shape == (3, 2)
    assert drawn.x.isfinite().all()
    assert drawn.nfe == how.nfe if how.nfe else drawn.nfe > 6


def test_a_classifier_trains_tests_and_predicts():
    torch.manual_seed(0)
    model = NoisyClassifier(HalfUNet((1, 8, 8), 10, 16, (1, 2), 1, (4,), None), optimisation=Optimisation(lr=1e-3))
    data = DataModule(Digits(), shape=(1, 8, 8), classes=10, sigma_data=0.75, batch_size=32)
    plain = trainer(max_steps=40)
    plain.fit(model, data)
    (measured,) = plain.test(model, data, verbose=False)
    log_p = torch.cat(plain.predict(model, data))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(len(data.held_out)))
    right = (log_p.argmax(1) == data.held_out.y).double().mean().item()
    assert 1 / 10 < measured["test/accuracy"] < right, "clean digits are told best"


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


class Sides(AnyClassifier):
    """Tells left from right: `p(y | x_t)` is a logistic function of the first coordinate."""

    schedule, shape, classes = VP(), (2,), 2

    def forward(self, x, t):
        return (x[:, :1] * torch.tensor([-1.0, 1.0])).log_softmax(1)


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


def test_a_loader_of_pairs_will_do():
    x, y = torch.randn(22, 2), torch.arange(22) % 3
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    for model in (FlowMatching(mlp(3), coupling=OptimalTransport()), EDM(mlp(3))):
        plain = trainer(max_steps=-1, max_epochs=2, accumulate_grad_batches=2)
        plain.fit(model, loader, DataLoader(TensorDataset(x, y), batch_size=5))
        assert plain.global_step == 4
        assert math.isfinite(plain.callback_metrics["val/loss"])


class Noises(VPSDE):
    """Notes the noise of each training batch."""

    def loss(self, noised):
        if self.training:
            self.noises.append(noised.eps)
        return super().loss(noised)


def test_the_parts_of_an_accumulated_batch_have_noise_of_their_own():
    model = Noises(mlp())
    model.noises = []
    loader = DataLoader(TensorDataset(torch.zeros(32, 2), torch.zeros(32).long()), batch_size=8)
    trainer(accumulate_grad_batches=2).fit(model, loader)
    assert len({eps.sum().item() for eps in model.noises}) == len(model.noises) == 4


def test_what_cannot_work_is_refused_with_a_way_out(subtests):
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield torch.zeros(4, 2), torch.zeros(4).long()

    def fit(model, data):
        return lambda: trainer(num_sanity_val_steps=0).fit(model, data)

    flat = DataLoader(TensorDataset(torch.zeros(8, 3), torch.zeros(8).long()), batch_size=4)
    for attempt, message in [
        (
            fit(VPSDE(mlp()), DataLoader(Endless(), batch_size=None)),
            "does not state its batch size: give the model batch",
        ),
        (fit(VPSDE(mlp()), flat), r"x of float \(B, 2\).* this x is torch.float32 \(4, 3\)"),
        (lambda: trainer().predict(VPSDE(mlp()), points()), "give trainer.predict a difflab.data.Labels"),
        (lambda: trainer().predict(VPSDE(mlp(3)), Labels(2, [4])), r"labels in 0\.\.3"),
        (lambda: trainer().predict(DDPM(mlp()), Labels(2, [0])), r"Clip\(limit=1\.0\), which is for images"),
        (lambda: Labels(0, [0]), "at least one of each"),
        (lambda: VPSDE(Denoiser(mlp(), VP(), Eps()), schedule=VP()), "has a schedule and a target of its own"),
        (lambda: NoisyClassifier(Sides(), schedule=VP()), "Sides has a schedule of its own"),
        (lambda: ImprovedDDPM(mlp()), "backbone.learned_variance=true"),
        (lambda: VPSDE(mlp()).batch_size, "without a trainer VPSDE needs batch_size"),
        (lambda: trainer(max_steps=-1, max_epochs=-1).fit(VPSDE(mlp()), flat), "give the Trainer max_steps or max_epo"),
        (fit(DDPM(mlp(), draws=ChainOfDraws()), points()), "which do not divide a batch of 4"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            attempt()


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


def test_a_resumed_training_is_the_uninterrupted_one():
    """From a checkpoint of Lightning's own, which holds plain values."""
    whole, resumed, data = VPSDE(mlp()), VPSDE(mlp()), points()
    save = ModelCheckpoint("saved", filename="{step}", every_n_train_steps=3, save_top_k=-1)
    trainer(max_steps=6, callbacks=[save]).fit(whole, data)
    for parameter in resumed.parameters():
        torch.nn.init.zeros_(parameter)
    path = "saved/step=3.ckpt"
    trainer(max_steps=6).fit(resumed, points(), ckpt_path=path, weights_only=True)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    loaded = VPSDE.load_from_checkpoint("saved/step=6.ckpt", denoiser=mlp(), weights_only=True)
    for ours, theirs in zip(loaded.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
