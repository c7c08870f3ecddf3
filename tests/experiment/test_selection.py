"""Held-out samples that are set aside: they change no run, are no reference, and give a distance while training."""

import json

import pytest
import torch
from safetensors.torch import load_file

from difflab.data.images import Images, Split
from difflab.experiment.store.files import read_json
from difflab.experiment.training.job import Training
from difflab.metric.card import ProtocolCard
from helpers.conf import composed
from helpers.jobs import TOY, job, measured, said_here, the_run, wait_for


def test_what_is_set_aside_is_no_longer_held_out():
    rows = torch.arange(10)
    images = Images(Split(rows[:, None], rows), Split(rows[:, None], rows)).set_aside(4)
    parts = images.selection.y.tolist(), images.test.y.tolist()
    assert (len(parts[0]), sorted(parts[0] + parts[1])) == (4, rows.tolist())
    assert max(parts[0]) - min(parts[0]) == 9, "spread over the whole"
    assert images.train.y.tolist() == rows.tolist()
    for n in (1, 9):
        with pytest.raises(ValueError, match=rf"data.selection={n} of 10 held-out samples"):
            Images(Split(rows[:, None], rows), Split(rows[:, None], rows)).set_aside(n)


def test_a_run_is_the_same_and_its_reference_is_another(tmp_path):
    plain, aside = (
        Training.of(composed(*TOY, f"data.selection={n}", f"runs_dir={tmp_path}", "range=none")) for n in (0, 32)
    )
    assert plain.fingerprint == aside.fingerprint
    cards = [job.evaluations[0].card for job in (plain, aside)]
    assert [card.n_reference for card in cards] == [128, 96]
    assert cards[0].reference_sha256 != cards[1].reference_sha256


def test_the_distance_is_logged_at_each_validation_and_the_final_one_is_of_the_rest(tmp_path):
    said_here("train", *TOY, "data.selection=32", "check_every=320", cwd=tmp_path)
    run = the_run(tmp_path)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    found = [(row["step"], row["selection/w2"]) for row in rows if "selection/w2" in row]
    assert [step for step, _ in found] == [4, 9]
    assert all(value > 0 for _, value in found)
    assert measured(run)["card"]["n_reference"] == 96


def test_what_generates_nothing_has_no_use_for_it(tmp_path):
    words = ["paradigm=classifier", "data=digits", "backbone.width=16", "backbone.attention=[]", "trainer=cpu"]
    with pytest.raises(ValueError, match=r"data\.selection= is for models that generate"):
        Training.of(composed(*words, "data.selection=100", f"runs_dir={tmp_path}"))


def test_a_configuration_of_before_keeps_its_fingerprint(tmp_path):
    """One without the settings of later versions that change no weights, with one logger and no name for it."""
    now = composed(*TOY, f"runs_dir={tmp_path}")
    data = {key: value for key, value in now["data"].items() if key != "selection"}
    before = {**now, "data": data, "logger": {"_target_": "difflab.experiment.Local"}}
    del before["watch"]
    later = composed(*TOY, "watch=all", "data.selection=32", "logger=csv", f"runs_dir={tmp_path}")
    names = {Training.of(config).fingerprint for config in (before, now, later)}
    assert len(names) == 1


BEST = [*TOY, "data.selection=32", "check_every=320", "images=3200", "keep=best", "lr_schedule=constant", "lr=0.02"]


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    """A run that keeps the weights of one of ten checks, at a learning rate at which distances go up and down."""
    folder = tmp_path_factory.mktemp("best")
    return said_here("train", *BEST, cwd=folder), the_run(folder)


@pytest.mark.long
def test_the_best_weights_are_those_that_a_training_up_to_their_check_ends_with(best, tmp_path):
    said, run = best
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    found = {row["step"] + 1: row["selection/w2"] for row in rows if "selection/w2" in row}
    step = min(found, key=found.get)
    assert len(found) == 10
    assert read_json(run.facts)["best"] == {"score": "w2", "value": found[step], "step": step}
    assert f"keeps the weights of step {step}" in said
    said_here("train", *BEST, f"images={step * 64}", "keep=last", cwd=tmp_path)
    ours, theirs = load_file(run.weights), load_file(the_run(tmp_path).weights)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_their_card_says_so_and_keeps_them_out_of_the_ranking_of_others(best):
    card = measured(best[1])["card"]
    assert card["selection"] == "best of the checks by 32 held-out samples"
    chosen = ProtocolCard(**card)
    assert chosen.protocol != ProtocolCard(**{**card, "selection": ""}).protocol


@pytest.mark.long
def test_a_killed_training_keeps_the_same_weights(best, tmp_path):
    process = job("train", *BEST, cwd=tmp_path)
    wait_for("runs/*/checkpoints/last.ckpt", tmp_path, process)
    process.kill()
    process.communicate()
    said_here("train", *BEST, cwd=tmp_path)
    run = the_run(tmp_path)
    ours, theirs = load_file(run.weights), load_file(best[1].weights)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert read_json(run.facts)["best"] == read_json(best[1].facts)["best"]


def test_what_the_weights_are_chosen_by_is_part_of_the_run(tmp_path):
    def name(*words):
        return Training.of(composed(*TOY, "range=none", f"runs_dir={tmp_path}", *words)).fingerprint

    best = "data.selection=32", "keep=best"
    assert name("nfe=4") == name("nfe=6") == name("nfe=6", "data.selection=32", "keep=last")
    others = [*(("nfe=6",), ("sampler=heun",), ("data.selection=16",), ("check_every=320",), ("protocol.seed=1",))]
    assert len({name(), name(*best), *(name(*best, *words) for words in others)}) == 2 + len(others)


def test_refusals_of_keep(tmp_path):
    for words, said in {
        ("keep=best",): "chooses by held-out samples, which are then in no reference: data.selection=500",
        ("keep=best", "data.selection=32", "snapshots=16", "images=6400"): "keep=best goes with snapshots=0",
        ("keep=first",): "keep=first: give last or best",
    }.items():
        with pytest.raises(ValueError, match=said.replace(".", r"\.")):
            Training.of(composed(*TOY, "range=none", f"runs_dir={tmp_path}", *words))
