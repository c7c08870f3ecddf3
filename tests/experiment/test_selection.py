"""Held-out samples that are set aside: they change no run, are no reference, and give a distance while training."""

import json

import pytest
import torch

from difflab.data.images import Images, Split
from difflab.experiment.training import Training
from helpers.conf import composed
from helpers.jobs import TOY, measured, said_here, the_run


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
