"""The dictionary of the tidy table explains every column."""

from __future__ import annotations

import csv
import dataclasses

from difflab.metric.card import ProtocolCard
from difflab.metric.direction import READINGS, meaning
from difflab.report.costs import MEANINGS
from difflab.report.dictionary import CARD, described, dictionary, write_dictionary
from difflab.report.study import Study
from difflab.report.tables import write_csv
from helpers.studies import card, config, record


def columns_of(path):
    with path.open() as file:
        return next(csv.reader(file))


def test_every_column_is_in_the_dictionary_with_a_sentence(study, tmp_path):
    columns = columns_of(write_csv(study, tmp_path / "results.csv"))
    with write_dictionary(study, tmp_path / "columns.csv").open() as file:
        entries = {row["column"]: row["meaning"] for row in csv.DictReader(file)}
    assert list(entries) == columns
    for column, text in entries.items():
        assert text.endswith("."), (column, text)
        assert len(text.split()) > 3, (column, text)


def test_every_field_of_a_card_and_every_score_has_a_sentence():
    assert {field.name for field in dataclasses.fields(ProtocolCard)} == CARD.keys()
    for key in READINGS:
        assert meaning(key).endswith("."), key
        assert meaning(key) in described(key)[1]
        assert meaning(key) in described(f"{key}_floor")[1]


def test_settings_are_named_as_they_are_typed():
    records = [record(config(images=n), card(guidance=f"Clip(limit={n / 1e6})"), fd_lite0=1.0) for n in (1000, 2000)]
    entries = dictionary(Study.of(records))
    assert entries["images"] == ("", "The setting images of the training.")
    assert entries["range.limit"] == ("", "The setting range.limit of sampling.")
    assert described("cost_seconds") == ("s", "Time of drawing all samples.")
    assert "the runs that it is made from" in described("training_seconds_before")[1]
    assert described("training_evaluations") == ("evaluations", MEANINGS["training NFE"])
    assert (
        "backward passes are not counted" in MEANINGS["training NFE"]
    )  # as tests/experiment/test_network_cost.py has it
