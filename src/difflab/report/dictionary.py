"""The dictionary of the tidy table: what each of its columns means, and in which unit."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from difflab.experiment.store.typed import TRAINED
from difflab.metric.direction import BESIDE, better, meaning, scored, title
from difflab.report.costs import EVALUATIONS
from difflab.report.study import Study
from difflab.report.tables import tidy
from difflab.report.text import csv_cell
from difflab.report.words import SAMPLED, is_sampled

FIXED = {
    "run": ("", "The folder of the run."),
    "evaluation": ("", "The fingerprint of the protocol card, which names the files of the evaluation."),
    "nfe": ("evaluations", "The network evaluations that a sample may take; 0: as many as a tolerance asks."),
    "seed": ("", "The seed of the training."),
    "noise_seed": ("", "The seed of the noise that the samples were drawn from."),
    "training_command": ("", "The command that trained the run."),
    "command": ("", "The command that made the evaluation."),
}
COUNTS = {
    "n": "The number of generated samples.",
    "n_reference": "The number of real samples that they were compared with.",
    "n_floor": "The number of real samples on each side of the floor.",
    "n_floor_from": "The number of real samples that those of the floor were taken from.",
}
COSTS = {
    "nfe": ("evaluations", "Network evaluations a sample, as counted."),
    "seconds": ("s", "Time of drawing all samples."),
    "seconds_per_sample": ("s", "Time of drawing a sample, in batches."),
    "network_share": ("", "The share of that time that was spent in the network."),
    "peak_memory": ("bytes", "The most memory that was in use while drawing."),
    "device": ("", "The device that the times were measured on."),
}
TRAINING = {
    "images_seen": ("samples", "Samples that the training saw, repeated ones each time."),
    "evaluations": ("evaluations", EVALUATIONS),
    "seconds": ("s", "Time of the training."),
}
CARD = {
    "n_generated": "The number of generated samples.",
    "n_reference": "The number of real samples that they are compared with.",
    "n_likelihood": "The number of held-out samples whose bits/dim were taken.",
    "reference": "The data set and the split of the real samples.",
    "reference_sha256": "A hash of the real samples.",
    "extractor": "The network whose features are compared.",
    "extractor_sha256": "A hash of its weights.",
    "resize": "How samples are resized for it.",
    "sampler": "The sampler with its arguments.",
    "grid": "The grid of times with its arguments.",
    "path": "The schedule that was sampled along.",
    "nfe": "The network evaluations that a sample may take.",
    "guidance": "The guidance and the limit of x0, with their arguments.",
    "weights": "The weights that were sampled from: an average of the training's, or raw.",
    "labels": "How the labels of the generated samples are distributed.",
    "classifier": "The classifier whose scores are reported.",
    "contrastive": "The contrastive pair that says how well samples go with their texts.",
    "precision": "The precision of the network while sampling.",
    "space": "The latents that were modelled; empty where it was the samples.",
    "selection": "How the weights were chosen among those of the training; empty where they are the last.",
    "seed": "The seed of the noise.",
    "noise": "The version of the law that makes noise from the seed.",
    "likelihood": "Which bits/dim were taken: chain, decoder and estimator.",
    "extensions": "The extensions whose classes took part, with a hash of their source.",
    "versions": "The versions of the packages that decide a number.",
}


def described(column: str) -> tuple[str, str]:
    """The unit and the meaning of a column. Raises KeyError for a cost or a field of the card that has none here."""
    if column in FIXED:
        return FIXED[column]
    for prefix, known in (("cost_", COSTS), ("training_", TRAINING)):
        if column.startswith(prefix):
            unit, text = known[column.removeprefix(prefix).removesuffix("_before")]
            return unit, f"The same of the runs that it is made from: {text}" if column.endswith("_before") else text
    if column.startswith("card_"):
        return "", f"Of the protocol card: {CARD[column.removeprefix('card_')]}"
    if re.fullmatch(r"n(_\w+)?", column):
        stem, _, split = column.partition("_vs_")
        return "samples", f"{COUNTS[stem][:-1]}, against the {split} split." if split else COUNTS[stem]
    return "", factor(column) or score(column)


def factor(column: str) -> str:
    """The meaning of a factor; empty for another column."""
    if column in TRAINED:
        return f"The option that {column}= chose for the training."
    if column == "weights":
        return "The weights that were sampled from: an average of the training's, by its ema, or raw."
    if column in SAMPLED:
        return f"The option that {column}= chose for sampling."
    return f"The setting {column} of {'sampling' if is_sampled(column) else 'the training'}." if "." in column else ""


def score(column: str) -> str:
    """The meaning of a score, of its floor or of its standard error; else a setting of the training."""
    if (own := scored(column)) != column:
        return BESIDE[column.removeprefix(own)] + score(own)
    try:
        return f"{title(column)}, {better(column)}. {meaning(column)}"
    except ValueError:
        return f"The setting {column} of the training."


def dictionary(study: Study) -> dict[str, tuple[str, str]]:
    """The unit and the meaning of each column of the study's tidy table."""
    return {column: described(column) for column in dict.fromkeys(key for row in tidy(study) for key in row)}


def write_dictionary(study: Study, path: Path) -> Path:
    """Write the dictionary as CSV; return its path."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("column", "unit", "meaning"))
        writer.writerows((csv_cell(column), *entry) for column, entry in dictionary(study).items())
    return path
