"""What a training costs in network evaluations."""

from difflab.experiment.training.job import Training
from difflab.experiment.training.network_cost import evaluations_an_image
from helpers.conf import composed


def test_each_pass_through_a_network_or_through_half_of_one_counts(tmp_path, subtests):
    small = ["data=digits", "trainer=cpu", "precision=fp32", "logger=local", "protocol.n=0", "batch_size=16"]
    patch = ["adversary=hinge", "discriminator=patch", "discriminator.layers=1"]
    for words, expected in [
        (["paradigm=ddpm"], 1),
        (["paradigm=vae"], 2),  # encoder, decoder
        (["paradigm=hierarchical_vae", "schedule.T=4"], 8),  # the same of each layer
        (["paradigm=gan"], 4),  # generator, and the discriminator of real samples and of generated ones for each player
        (["paradigm=autoencoder"], 2),
        (["paradigm=autoencoder", *patch], 5),
    ]:
        with subtests.test(" ".join(words)):
            job = Training.of(composed(*small, *words, f"runs_dir={tmp_path}"))
            halves = {name: [name in vars(net) for net in job.model.modules()] for name in ("encode", "decode")}
            assert evaluations_an_image(job.model, job.fitted) == expected
            assert halves == {name: [name in vars(net) for net in job.model.modules()] for name in halves}, "as before"
