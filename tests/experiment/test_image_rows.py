"""The first samples of an evaluation one by one, in their file and as a table on W&B."""

import json

import pytest
import torch
import wandb

from difflab.experiment.mirror.wandb_mirror import image_table
from difflab.experiment.picture.image_rows import read_rows, save_rows
from helpers.jobs import TINY, measured, said_here, the_run
from helpers.studies import card


def test_rows_are_read_as_they_were_written(tmp_path):
    samples = torch.randint(256, (3, 1, 4, 4), dtype=torch.uint8)
    nearest = 255 - samples
    path = tmp_path / "rows.safetensors"
    about = torch.tensor([0, 1, 2]), torch.tensor([7, 8, 9]), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    save_rows(path, samples, nearest, *about, ["cat", "dog"])
    rows = [*read_rows(path)]
    assert [(row.k, row.label, row.nearest_index, row.closeness) for row in rows] == [
        (0, "cat", 7, 0.0),
        (1, "dog", 8, 0.5),
        (2, "", 9, 1.0),
    ]
    assert rows[1].image.tobytes() == bytes(samples[1].flatten().tolist())
    assert rows[1].nearest.tobytes() == bytes(nearest[1].flatten().tolist())
    table = image_table(path, card(nfe=10).to_dict())
    row = dict(zip(table.columns, table.data[1], strict=True))
    assert (row["class"], row["nfe"], row["sampler"], row["nearest_index"]) == ("dog", 10.0, card(nfe=10).sampler, 8)
    assert isinstance(row["image"], wandb.Image)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    said_here("train", *TINY, "images=320", "check_every=160", "watch=all", cwd=folder)
    return folder, the_run(folder)


def test_an_evaluation_leaves_the_rows_of_its_own_samples(trained):
    _, run = trained
    (path,) = run.folder.glob("evaluations/*-images.safetensors")
    rows = [*read_rows(path)]
    assert [row.label for row in rows[:11]] == [*"0123456789", "0"]
    assert len(rows) == 32 == measured(run)["card"]["n_generated"]
    assert all(row.image.size == row.nearest.size == (8, 8) for row in rows)
    (table,) = run.folder.glob("evaluations/wandb/offline-run-*/files/media/table/images*.table.json")
    stored = json.loads(table.read_text())
    assert len(stored["data"]) == 32
    assert {"class", "seed", "sampler", "nfe", "guidance", "nearest"} < set(stored["columns"])


def test_losses_by_noise_level_and_norms_by_block_are_logged(trained):
    _, run = trained
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    levels = [row for row in rows if "train/loss_log_snr_0" in row]
    assert [row["step"] for row in levels] == [9, 19]
    assert all(row["train/loss_log_snr_8"] > row["train/loss_log_snr_-4"] for row in levels), (
        "little noise, hard to see"
    )
    watched = [row for row in rows if any(key.startswith("gradients/") for key in row)]
    assert [row["step"] for row in watched] == [9, 19]
    for row in watched:
        total = sum(value**2 for key, value in row.items() if key.startswith("gradients/")) ** 0.5
        assert total == pytest.approx(row["train/grad_norm"], rel=1e-4)
        assert any(key.startswith("weights/") for key in row)


def test_what_is_watched_is_no_part_of_a_run_and_other_words_are_refused(trained):
    folder, run = trained
    words = [*TINY, "images=320", "check_every=160"]
    assert "to measure: 0" in said_here("train", *words, "dry_run=true", cwd=folder)
    assert the_run(folder) == run
    said = said_here("train", *words, "watch=grads", cwd=folder, status=1)
    assert "watch=grads; valid: gradients, weights, all" in said
