"""The paradigms without Hydra: each is trained, tested and sampled by a plain Trainer, with its paper's defaults."""

import math
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from difflab import DDPM, VPSDE, DataModule, Digits, HalfUNet, Labels, NoisyClassifier, paradigm
from difflab.backbone import MLPDiscriminator, MLPGenerator
from difflab.denoiser import Denoiser
from difflab.guidance import Clip
from difflab.objective import Chain as ChainOfDraws
from difflab.objective import OptimalTransport
from difflab.paradigm import (
    EDM,
    EMA,
    GAN,
    VAE,
    Adversary,
    Constant,
    Diffusion,
    FlowMapMatching,
    FlowMatching,
    ImprovedDDPM,
    Optimisation,
    PowerAverages,
)
from difflab.process import VP, Eps
from helpers.classifiers import Sides
from helpers.networks import AffineAutoencoder
from helpers.plain_lightning import in_a_folder_of_its_own, mlp, points, trainer

EXPORTED = [getattr(paradigm, name) for name in paradigm.__all__]
DIFFUSIONS = [cls for cls in EXPORTED if issubclass(cls, Diffusion) and cls is not Diffusion]
quiet = pytest.fixture(in_a_folder_of_its_own, autouse=True)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*")


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


def test_an_accumulated_step_is_averaged_once_and_its_rate_counts_its_images():
    """Two batches a step, with two a half as long: averages and rates are those of whole steps."""
    loader = DataLoader(TensorDataset(torch.zeros(64, 2), torch.zeros(64).long()), batch_size=8)
    model, ema, kept = VPSDE(mlp(), optimisation=Optimisation(lr_schedule=Constant(warmup=64))), EMA([0.9]), []
    powers = PowerAverages(2, lambda step, averages: kept.append(step))
    plain = trainer(accumulate_grad_batches=2, max_steps=4, callbacks=[ema, powers])
    plain.fit(model, loader)
    assert plain.global_step == 4
    assert {int(each.n_averaged) for each in [*ema.averages.values(), *powers.averages.values()]} == {4}
    assert kept == [2, 4]
    assert [model.optimisation.factor(step, 4, 16) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    (lambdas,) = [each.scheduler.lr_lambdas for each in plain.lr_scheduler_configs]
    assert [lambdas[0](step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


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
