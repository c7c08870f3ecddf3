"""A study: what is read, which records share a cell, which factors vary, and which cells are compared."""

from __future__ import annotations

import dataclasses
import json

import pytest

from difflab.report.record import read_records
from difflab.report.study import Study, load_study
from helpers.studies import card, config, record, started_from, write_record


def test_a_written_record_is_read_again(tmp_path):
    written = record(config(), card(), tmp_path, fd_lite0=3.0)
    write_record(written)
    (read,) = read_records([written.run])
    here = {**written.config, "runs_dir": str(tmp_path)}  # where the run lies now
    assert read == dataclasses.replace(written, config=here)
    assert read.pictures == {
        kind: tmp_path / written.run.folder.name / "evaluations" / f"{written.name}-{kind}.png"
        for kind in ("samples", "steps", "pairs")
    }


def test_repetitions_share_a_cell(study):
    assert len(study.cells) == 3 * 2 * 4
    assert all(len(cell.records) == 3 for cell in study.cells)
    assert len(study.groups) == 1
    assert study.varied == ("paradigm", "schedule", "target", "sampler")
    labels = {study.label(cell) for cell in study.cells}
    assert (
        "paradigm=rectified_flow sampler=heun" in labels
    )  # the paradigm implies the schedule, which the label leaves out
    assert [cell.nfe for cell in study.series(study.groups[0])["paradigm=ddpm sampler=ddim"]] == [5, 10, 20, 50]


def test_trainings_and_samplings_have_labels_of_their_own(study):
    trainings = {study.training_label(cell) for cell in study.cells}
    assert trainings == {"paradigm=ddpm", "paradigm=vp_sde", "paradigm=rectified_flow"}
    assert {study.sampling_label(cell) for cell in study.cells} == {"sampler=ddim", "sampler=heun"}
    assert {label: len(runs) for label, runs in study.trainings().items()} == {
        "paradigm=ddpm": 3,
        "paradigm=rectified_flow": 3,
        "paradigm=vp_sde": 3,
    }


def test_trainings_that_their_samplers_tell_apart_are_named_too():
    """Each training with a sampler of its own is one training, and not the same as the other."""
    ways = [(10_000, "Heun()"), (20_000, "DDIM(eta=0.0)")]
    records = [record(config(seed=s, images=n), card(sampler=by), fd_lite0=1.0) for n, by in ways for s in (0, 1)]
    study = Study.of(records)
    assert {label: len(runs) for label, runs in study.trainings().items()} == {"images=10000": 2, "images=20000": 2}


def test_noise_seeds_are_repetitions_too():
    records = [record(config(seed=s), card(seed=z), fd_lite0=1.0) for s in (0, 1) for z in (0, 1)]
    (cell,) = Study.of(records).cells
    assert cell.estimate("fd_lite0").n == 2
    assert len(cell.commands) == 4


def test_a_difference_that_no_option_explains_is_a_factor():
    adamw, sgd, cosine = ({"_target_": f"difflab.paradigm.{name}"} for name in ("AdamW", "SGD", "Cosine"))
    differences = [
        ({"images": 40_000}, "images", "40000"),
        ({"model__denoiser__backbone__width": 64}, "backbone.width", "64"),
        ({"model__denoiser__schedule__T": 64}, "schedule.T", "64"),
        ({"model__optimisation__lr": 0.001}, "lr", "0.001"),
        ({"model__optimisation__optimizer": {**adamw, "weight_decay": 0.1}}, "optimizer.weight_decay", "0.1"),
        ({"model__optimisation__lr_schedule": {**cosine, "warmup": 0.2}}, "lr_schedule.warmup", "0.2"),
        ({"model__optimisation__optimizer": sgd, "choices__optimizer": "sgd"}, "optimizer", "sgd"),
    ]
    for overrides, name, value in differences:
        study = Study.of([record(config(**c), card(), fd_lite0=1.0) for c in ({}, overrides)])
        assert study.varied == (name,), overrides
        assert {cell.factors[name] for cell in study.cells} >= {value}, overrides
        assert any(f"{name}={value}" in study.label(cell) for cell in study.cells), overrides


def test_a_setting_that_decides_no_weights_is_not_a_factor():
    study = Study.of([record(config(seed=s, runs_dir=f"{s}"), card(), fd_lite0=1.0) for s in (0, 1)])
    assert len(study.cells) == 1


def test_runs_that_start_from_repetitions_are_repetitions(tmp_path):
    records = []
    for seed in (0, 1):
        teacher = record(config("rectified_flow", seed), card(), tmp_path, fd_lite0=2.0)
        write_record(teacher)
        student = config("rectified_flow", 7, origins__init=started_from(teacher))
        records += [teacher, record(student, card(), tmp_path, fd_lite0=1.0)]
    study = Study.of(records)
    assert [cell.estimate("fd_lite0").n for cell in study.cells] == [2, 2]
    assert study.varied == ("init.ema", "init.kind")


def test_two_records_with_the_same_seeds_are_refused(tmp_path):
    records = [record(config(), card(), tmp_path / name, fd_lite0=1.0) for name in ("a", "b")]
    (cell,) = Study.of(records).cells
    with pytest.raises(ValueError, match=r"ddpm .*measured more than once.*give difflab-report the RUNS"):
        cell.values("fd_lite0")


def test_reflowed_runs_differ_in_the_settings_of_their_pairs():
    teacher = record(config("rectified_flow"), card())
    records = [
        record(config(origins__teacher={**started_from(teacher), "pairs": pairs, "nfe": nfe}), card(), fd_lite0=1.0)
        for pairs, nfe in ((1000, 10), (2000, 10), (2000, 50))
    ]
    study = Study.of(records)
    assert study.varied == ("teacher.nfe", "teacher.pairs")
    assert len({study.label(cell) for cell in study.cells}) == 3


def test_a_setting_of_sampling_that_no_option_explains_is_a_factor_in_the_words_that_users_type():
    guided = {"guidance": ["classifier_free", "interval"]}
    parts = "ClassifierFree(scale={}), Interval(low=-1.0, high={}), Clip(limit={})"
    before = {
        **{"sampler": "DDIM(eta=0.0)", "grid": "Karras(rho=7.0)", "guidance": parts.format(2.0, 3.0, 1.0)},
        **{"weights": "ema=0.999", "path": "as trained"},
    }
    differences = [
        ("sampler", "DDIM(eta=1.0)", {"sampler": "ddim"}, "sampler.eta=1.0"),
        ("grid", "Karras(rho=5.0)", {"grid": "karras"}, "grid.rho=5.0"),
        ("guidance", parts.format(3.0, 3.0, 1.0), guided, "guidance.classifier_free.scale=3.0"),
        ("guidance", parts.format(2.0, 4.0, 1.0), guided, "guidance.interval.high=4.0"),
        ("guidance", parts.format(2.0, 3.0, 0.9), guided, "range.limit=0.9"),
        ("weights", "ema=0.99", {}, "ema=0.99"),
        ("path", "Linear()", {}, "sampler.schedule=linear"),
    ]
    for field, value, choices, words in differences:
        cards = [card(**{field: each}) for each in (before[field], value)]
        study = Study.of([record(config(), each, choices=choices, fd_lite0=1.0) for each in cards])
        labels = [study.label(cell) for cell in study.cells]
        assert words in labels, (words, labels)
        assert not any("(" in label for label in labels), labels


def test_a_study_has_the_name_that_all_its_evaluations_were_given():
    named = dataclasses.replace(record(config(), card(), fd_lite0=1.0), study="mine")
    other = record(config("vp_sde"), card(), fd_lite0=1.0)
    assert Study.of([named, dataclasses.replace(other, study="mine")]).name == "mine"
    assert Study.of([named, other]).name == ""


def test_unlike_data_are_unlike_protocols():
    study = Study.of([record(config(data=d), card(), fd_lite0=1.0) for d in ("fashion16", "digits")])
    assert [group.differing for group in study.groups] == [{"data": "digits"}, {"data": "fashion16"}]


def test_a_cell_has_the_commands_that_reproduce_it(study):
    cell = study.series(study.groups[0])["paradigm=vp_sde sampler=heun"][0]
    assert cell.commands == (
        *(f"difflab-train paradigm=vp_sde seed={seed}" for seed in (0, 1, 2)),
        *(f"difflab-evaluate paradigm=vp_sde seed={seed} sampler=heun nfe=5" for seed in (0, 1, 2)),
    )


def test_a_metric_that_was_not_measured_is_refused_with_the_valid_ones(study):
    with pytest.raises(ValueError, match=r"'fid' was not measured of paradigm=ddpm .* nfe=5; valid: .*fd_lite0"):
        study.cells[0].estimate("fid")


def test_a_damaged_file_is_named(tmp_path):
    for text in ("{", '{"metrics": {}}', '{"card": {"sampler": "ddim"}}'):
        damaged = record(config(), card(), tmp_path)
        path = write_record(damaged)
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"{path.name} is (damaged|no evaluation).*evaluate again"):
            read_records([damaged.run])


def test_a_run_of_an_older_difflab_and_an_empty_study_are_refused_with_the_way_out(tmp_path):
    old = record(config(), card(), tmp_path)
    path = write_record(old).parents[1] / "config.yaml"
    path.write_text(json.dumps({key: value for key, value in config().items() if key != "choices"}))
    with pytest.raises(ValueError, match="has no choices: an older difflab wrote it; train it again"):
        read_records([old.run])
    with pytest.raises(ValueError, match="difflab-evaluate"):
        Study.of([])


def test_a_study_of_named_runs_holds_these_alone(study, runs_dir):
    chosen = load_study(runs_dir, ["ddpm-fashion16-s0", "vp_sde-fashion16-s1"])
    assert {cell.factors["paradigm"] for cell in chosen.cells} == {"ddpm", "vp_sde"}
    assert sum(len(cell.records) for cell in chosen.cells) == 2 * 2 * 4
    with pytest.raises(ValueError, match="Did you mean 'fd_lite0'"):
        load_study(runs_dir, metric="fd_lite")


def test_the_error_that_seeds_share_is_part_of_the_interval(tmp_path):
    """As that of bits/dim by the held-out samples, which no seed of training changes."""
    scores = {0: 3.30, 1: 3.31, 2: 3.32}
    records = [
        record(
            config(seed=seed), card(), tmp_path, bits_per_dim_bound=value, bits_per_dim_bound_se=0.04, fd_lite0=value
        )
        for seed, value in scores.items()
    ]
    (cell,) = Study.of(records).cells
    seeds, both = cell.estimate("fd_lite0"), cell.estimate("bits_per_dim_bound")
    assert both.half_width == pytest.approx((seeds.half_width**2 + (1.96 * 0.04) ** 2) ** 0.5, rel=1e-4)
    assert both.mean == seeds.mean
