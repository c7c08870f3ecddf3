"""The tables of a study: the tidy one, and rankings as Markdown."""

from __future__ import annotations

import csv

from difflab.report.study import Study
from difflab.report.tables import markdown, ranking_tables, tidy, write_csv
from helpers.studies import NFES, card, config, grid, record


def test_the_tidy_table_holds_every_number(study, tmp_path):
    with write_csv(study, tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 72
    records = {(r.run.folder.name, r.name): r for cell in study.cells for r in cell.records}
    for row in rows:
        r = records[row["run"], row["evaluation"]]
        assert float(row["fd_lite0"]) == r.metrics["fd_lite0"]
        assert (float(row["nfe"]), int(row["seed"])) == (r.card.nfe, r.seed)
        assert row["card_reference_sha256"] == r.card.reference_sha256
        assert row["command"] == r.command
        assert float(row["training_images_seen"]) == 79_872
    assert list(rows[0]) == list(tidy(study)[0])


def test_rankings_read_as_markdown(study):
    text = markdown(study, "fd_lite0")
    assert text.count("| best") == len(NFES)
    for words in ("**", "paradigm=rectified_flow sampler=heun", "1.2", "reference Fashion16/test", "52d652d652d6,"):
        assert words in text


def test_the_best_has_the_lowest_distance_at_its_nfe(study):
    (table,) = ranking_tables(study, "fd_lite0")
    for nfe in NFES:
        first, *others = [place for place in table.places if place.cell.nfe == nfe]
        assert first.outcome == "best"
        assert study.label(first.cell) == "paradigm=rectified_flow sampler=heun"
        assert all(first.value.mean < other.value.mean for other in others)


def test_an_adaptive_sampler_is_ranked_apart():
    records = [record(config(), card(sampler="Adaptive()", nfe=0), fd_lite0=1.0)]
    records += [record(config(), card(nfe=nfe), fd_lite0=2.0) for nfe in (20, 5)]
    study = Study.of(records)
    assert study.groups[0].nfes == (5, 20, 0)
    (table,) = ranking_tables(study, "fd_lite0")
    assert [row["NFE"] for row in table.rows] == ["5", "20", "by tolerance"]
    assert [row["against the best"] for row in table.rows] == ["best"] * 3
    assert any(note.startswith("By tolerance") for note in table.notes)


def test_times_of_several_devices_are_marked():
    records = [record(config(seed=s), card(), fd_lite0=1.0) for s in (0, 1)]
    for each in records:
        each.cost["device"] = "cpu, 2 threads"
    (alike,) = ranking_tables(Study.of(records), "fd_lite0")
    assert not any("devices" in note for note in alike.notes)
    records[1].cost["device"] = "NVIDIA H200"
    study = Study.of(records)
    (unlike,) = ranking_tables(study, "fd_lite0")
    assert "The seconds are of different devices: NVIDIA H200; cpu, 2 threads." in unlike.notes
    assert unlike.rows[0]["device"] == "NVIDIA H200, cpu, 2 threads"
    assert "device" not in study.cells[0].cost


def test_unlike_protocols_are_ranked_apart_and_named(tmp_path):
    study = Study.of([*grid(tmp_path, nfes=(5,)), *grid(tmp_path, nfes=(5,), n_generated=10_000)])
    assert [group.differing for group in study.groups] == [{"n_generated": "2000"}, {"n_generated": "10000"}]
    assert [len(group.cells) for group in study.groups] == [6, 6]
    assert [table.title for table in ranking_tables(study, "fd_lite0")] == [
        "Fréchet distance (EfficientNet-Lite0), lower is better: n_generated 2000",
        "Fréchet distance (EfficientNet-Lite0), lower is better: n_generated 10000",
    ]
