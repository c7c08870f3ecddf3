from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
import torch

from difflab.cli import report as command
from difflab.experiment.config import build
from difflab.process.schedule import Linear
from difflab.report.figures import errors, noise_levels, quality
from difflab.report.levels import emphasis
from difflab.report.study import Study, gather
from difflab.report.tables import escaped, latex, markdown, rankings, tidy, write_csv
from studies import card, config, evaluation, write

PARADIGMS = {"ddpm": 12.0, "vp_sde": 9.0, "rectified_flow": 7.0}
SAMPLERS = {"DDIM(eta=0.0)": 1.0, "Heun()": 0.7}
NFES, SEEDS = (5, 10, 20, 50), (0, 1, 2)


def grid(folder, paradigms=PARADIGMS, samplers=SAMPLERS, nfes=NFES, seeds=SEEDS, **changes):
    """3 paradigms x 2 samplers x 4 NFE x 3 seeds, each with the same noise of its seed."""
    rng = np.random.default_rng(0)
    common = {seed: rng.normal() for seed in seeds}
    return [
        evaluation(
            config(paradigm, seed),
            card(sampler=sampler, nfe=nfe, **changes),
            folder,
            fd_lite0=1.5 + level * factor * (8 / nfe) ** 0.8 + 0.3 * common[seed] + 0.05 * rng.normal(),
            fd_lite0_floor=1.2,
            precision_lite0=0.9 - 1 / nfe,
            precision_lite0_floor=0.95,
        )
        for paradigm, level in paradigms.items()
        for sampler, factor in samplers.items()
        for nfe in nfes
        for seed in seeds
    ]


@pytest.fixture
def study(tmp_path):
    evaluations = grid(tmp_path)
    for each in evaluations:
        write(each)
    runs = dict.fromkeys(each.run for each in evaluations)
    return Study.of(gather(list(runs)))


def test_what_is_written_is_gathered(tmp_path):
    made = evaluation(config(), card(), tmp_path, fd_lite0=3.0)
    write(made)
    (found,) = gather([made.run])
    assert found == made
    assert found.pictures == {
        kind: tmp_path / made.run.folder.name / "evaluations" / f"{made.name}-{kind}.png"
        for kind in ("samples", "steps", "pairs")
    }


def test_repetitions_share_a_cell(study):
    assert len(study.cells) == 3 * 2 * 4
    assert all(len(cell.evaluations) == 3 for cell in study.cells)
    assert len(study.groups) == 1
    assert study.varied == ("paradigm", "schedule", "target", "sampler")
    labels = {study.label(cell) for cell in study.cells}
    assert "rectified_flow heun" in labels  # the schedule follows from the paradigm, and goes unsaid
    assert [cell.nfe for cell in study.series(study.groups[0])["ddpm ddim"]] == [5, 10, 20, 50]


def test_noise_seeds_are_repetitions_too():
    made = [evaluation(config(seed=s), card(seed=z), fd_lite0=1.0) for s in (0, 1) for z in (0, 1)]
    (cell,) = Study.of(made).cells
    assert cell.estimate("fd_lite0").n == 2
    assert len(cell.commands) == 4


@pytest.mark.parametrize(
    ("overrides", "name", "value"),
    [
        ({"images": 40_000}, "images", "40000"),
        ({"model__denoiser__backbone__width": 64}, "backbone.width", "64"),
        ({"model__denoiser__schedule__T": 64}, "schedule.T", "64"),
        ({"model__optimisation__lr": 0.001}, "model.optimisation.lr", "0.001"),
        ({"data__pairs": "runs/a/pairs/b.safetensors"}, "data.pairs", "given"),
        ({"reflowed": {"pairs": 20_000}}, "reflowed.pairs", "20000"),
    ],
)
def test_what_options_leave_unsaid_is_a_factor(overrides, name, value):
    study = Study.of([evaluation(config(**c), card(), fd_lite0=1.0) for c in ({}, overrides)])
    assert study.varied == (name,)
    assert {cell.factors[name] for cell in study.cells} >= {value}
    assert any(f"{name}={value}" in study.label(cell) for cell in study.cells)


def test_what_decides_no_weights_is_none():
    study = Study.of([evaluation(config(seed=s, runs_dir=f"{s}"), card(), fd_lite0=1.0) for s in (0, 1)])
    assert len(study.cells) == 1


def test_runs_that_start_from_repetitions_are_repetitions(tmp_path):
    made = []
    for seed in (0, 1):
        teacher = evaluation(config("rectified_flow", seed), card(), tmp_path, fd_lite0=2.0)
        write(teacher)
        student = config("rectified_flow", 7, init=f"elsewhere/{teacher.run.folder.name}", data__pairs="some")
        made += [teacher, evaluation(student, card(), tmp_path, fd_lite0=1.0)]
    study = Study.of(made)
    assert [cell.estimate("fd_lite0").n for cell in study.cells] == [2, 2]
    assert study.varied == ("data.pairs", "init")


def test_two_trainings_that_nothing_tells_apart_are_refused(tmp_path):
    made = [evaluation(config(), card(), tmp_path / name, fd_lite0=1.0) for name in ("a", "b")]
    (cell,) = Study.of(made).cells
    with pytest.raises(ValueError, match=r"ddpm .*measured more than once.*give difflab-report the RUNS"):
        cell.values("fd_lite0")


def test_reflowed_runs_are_told_by_what_they_were_reflowed_with():
    made = [
        evaluation(config(reflowed={"pairs": pairs, "recipe": recipe, "weights": "raw"}), card(), fd_lite0=1.0)
        for pairs, recipe in ((1000, "Euler() nfe=10"), (2000, "Euler() nfe=10"), (2000, "Euler() nfe=50"))
    ]
    study = Study.of(made)
    assert study.varied == ("reflowed.pairs", "reflowed.recipe")
    assert len({study.label(cell) for cell in study.cells}) == 3


def test_what_took_its_own_number_of_evaluations_stands_apart():
    made = [evaluation(config(), card(sampler="Adaptive()", nfe=0), fd_lite0=1.0)]
    made += [evaluation(config(), card(nfe=nfe), fd_lite0=2.0) for nfe in (20, 5)]
    study = Study.of(made)
    assert study.groups[0].nfes == (5, 20, 0)
    (ranked,) = rankings(study, "fd_lite0")
    assert [row["NFE"] for row in ranked.rows] == ["5", "20", "by tolerance"]
    assert [row["against the best"] for row in ranked.rows] == ["best"] * 3
    assert any(note.startswith("By tolerance") for note in ranked.notes)
    (axes,) = quality(study, study.groups[0], "fd_lite0", "nfe").axes
    assert list(axes.get_xticks()) == [5, 20]


def test_times_of_unlike_devices_are_told_apart():
    made = [evaluation(config(seed=s), card(), fd_lite0=1.0) for s in (0, 1)]
    for each in made:
        each.cost["device"] = "cpu, 2 threads"
    (alike,) = rankings(Study.of(made), "fd_lite0")
    assert not any("devices" in note for note in alike.notes)
    made[1].cost["device"] = "NVIDIA H200"
    study = Study.of(made)
    (unlike,) = rankings(study, "fd_lite0")
    said = "The seconds are of different devices: NVIDIA H200; cpu, 2 threads."
    assert said in unlike.notes
    assert unlike.rows[0]["device"] == "NVIDIA H200, cpu, 2 threads"
    assert "device" not in study.cells[0].cost
    assert said in quality(study, study.groups[0], "fd_lite0", "seconds_per_sample").axes[0].get_title(loc="left")
    assert "devices" not in quality(study, study.groups[0], "fd_lite0", "nfe").axes[0].get_title(loc="left")


def test_latex_takes_every_sign():
    assert escaped(r"a_b $x^2 ~ \c") == r"a\_b \$x\textasciicircum{}2 \textasciitilde{} \textbackslash{}c"


def test_an_options_name_gives_way_where_it_stands_for_two_settings():
    made = [
        evaluation(config(), card(sampler=f"DDIM(eta={eta})"), choices={"sampler": "ddim"}, fd_lite0=1.0)
        for eta in (0.0, 1.0)
    ]
    assert [cell.factors["sampler"] for cell in Study.of(made).cells] == ["DDIM(eta=0.0)", "DDIM(eta=1.0)"]


def test_unlike_protocols_are_kept_apart_and_named(tmp_path):
    study = Study.of([*grid(tmp_path, nfes=(5,)), *grid(tmp_path, nfes=(5,), n_generated=10_000)])
    assert [group.differing for group in study.groups] == [{"n_generated": "2000"}, {"n_generated": "10000"}]
    assert [len(group.cells) for group in study.groups] == [6, 6]
    assert [ranked.title for ranked in rankings(study, "fd_lite0")] == [
        "Fréchet distance (EfficientNet-Lite0), lower is better: n_generated 2000",
        "Fréchet distance (EfficientNet-Lite0), lower is better: n_generated 10000",
    ]
    other = Study.of([evaluation(config(data=d), card(), fd_lite0=1.0) for d in ("fashion16", "digits")])
    assert [group.differing for group in other.groups] == [{"data": "digits"}, {"data": "fashion16"}]


@pytest.mark.parametrize("text", ["{", '{"metrics": {}}', '{"card": {"sampler": "ddim"}}'])
def test_names_the_file_that_cannot_be_read(tmp_path, text):
    path = write(evaluation(config(), card(), tmp_path))
    path.write_text(text)
    with pytest.raises(ValueError, match=path.name):
        gather([evaluation(config(), card(), tmp_path).run])


def test_says_what_to_do_about_old_runs_and_about_none(tmp_path):
    old = config()
    del old["choices"]
    path = write(evaluation(config(), card(), tmp_path))
    (path.parents[1] / "config.yaml").write_text(json.dumps(old))
    with pytest.raises(ValueError, match="says no choices"):
        gather([evaluation(config(), card(), tmp_path).run])
    with pytest.raises(ValueError, match="difflab-evaluate"):
        Study.of([])


def test_what_cannot_be_read_is_left_out_by_name(tmp_path, monkeypatch, capsys):
    runs = tmp_path / "runs"
    write(evaluation(config(seed=0), card(), runs, fd_lite0=1.0))
    damaged = write(evaluation(config(seed=0), card(seed=1), runs, fd_lite0=1.0))
    damaged.write_text("{")
    old = write(evaluation(config(seed=1), card(), runs, fd_lite0=1.0)).parents[1]
    (old / "config.yaml").write_text("seed: 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["difflab-report"])
    command.main()
    first, second = capsys.readouterr().err.splitlines()
    assert damaged.name in first
    assert f"{old.name}/config.yaml says no choices" in second
    monkeypatch.setattr(sys, "argv", ["difflab-report", old.name])
    with pytest.raises(SystemExit, match="says no choices"):
        command.main()


def test_the_tidy_table_holds_every_number(study, tmp_path):
    with write_csv(study, tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 72
    made = {(e.run.folder.name, e.name): e for cell in study.cells for e in cell.evaluations}
    for row in rows:
        e = made[row["run"], row["evaluation"]]
        assert float(row["fd_lite0"]) == e.metrics["fd_lite0"]
        assert (float(row["nfe"]), int(row["seed"])) == (e.card.nfe, e.seed)
        assert row["card_reference_sha256"] == e.card.reference_sha256
        assert row["command"] == e.command
        assert float(row["training_images_seen"]) == 79_872
    assert list(rows[0]) == list(tidy(study)[0])


def test_rankings_are_read_as_markdown_and_latex(study):
    text = markdown(study, "fd_lite0")
    assert text.count("| best") == len(NFES)
    assert "**" in text
    assert "rectified_flow heun" in text
    assert "1.2" in text
    assert "reference Fashion16/test" in text
    assert "52d652d652d6," in text
    tex = latex(study, "fd_lite0")
    assert tex.count("{") == tex.count("}")
    assert r"\toprule" in tex
    assert r"rectified\_flow heun" in tex
    assert r"$\pm$" in tex
    assert r"\textbf{" in tex
    assert "**" not in tex


def test_the_best_is_the_best_of_its_nfe(study):
    (ranked,) = rankings(study, "fd_lite0")
    for nfe in NFES:
        first, *others = [place for place in ranked.places if place.cell.nfe == nfe]
        assert first.says == "best"
        assert study.label(first.cell) == "rectified_flow heun"
        assert all(first.value.mean < other.value.mean for other in others)


def test_a_cell_says_how_to_have_it_again(study):
    cell = study.series(study.groups[0])["vp_sde heun"][0]
    assert cell.commands == (
        *(f"difflab-train paradigm=vp_sde seed={seed}" for seed in SEEDS),
        *(f"difflab-evaluate paradigm=vp_sde seed={seed} sampler=heun nfe=5" for seed in SEEDS),
    )


def test_a_figure_shows_every_series_its_floor_and_its_front(study):
    (axes,) = quality(study, study.groups[0], "fd_lite0", "nfe").axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines.keys() == {*study.series(study.groups[0]), "Pareto front", "real against real"}
    assert list(lines["ddpm ddim"].get_xdata()) == [nfe - 1 for nfe in NFES]  # as counted
    assert set(lines["real against real"].get_ydata()) == {1.2}
    assert len({(line.get_color(), line.get_linestyle()) for line in lines.values()}) == len(lines)


def test_errors_by_level_are_means_over_trainings(study):
    (axes,) = errors(study).axes
    line = axes.get_lines()[0]
    expected = np.mean([[0.9 / (1 + 1.5 ** (x + s / 10)) for x in range(-8, 9, 2)] for s in SEEDS], axis=0)
    assert list(line.get_xdata()) == list(range(-8, 9, 2))
    assert line.get_ydata() == pytest.approx(expected)


def test_schedules_and_weights_are_drawn_over_one_log_snr(study):
    schedules, weights = noise_levels(study).axes
    assert schedules.get_shared_x_axes().joined(schedules, weights)
    for line in (each for each in schedules.get_lines() if each.get_label() == "rectified_flow"):
        t = torch.tensor(line.get_ydata(), dtype=torch.float64)
        torch.testing.assert_close(
            torch.tensor(line.get_xdata(), dtype=torch.float64), 2 * ((1 - t) / t).log(), atol=1e-3, rtol=1e-3
        )


def test_flow_matching_weighs_eps_as_its_closed_form():
    """Kingma & Gao 2023 (arXiv:2303.00848), table 1: `exp(-log_snr / 2)` for flow matching on the straight path."""
    model = config("rectified_flow")["model"]
    found = emphasis(build(model["denoiser"]["schedule"]), model)
    x, y = np.array(found.log_snr), np.array(found.value)
    inner = np.abs(x) < 4
    assert isinstance(build(model["denoiser"]["schedule"]), Linear)
    np.testing.assert_allclose(y[inner], np.exp(-x[inner] / 2), rtol=0.1)


def test_the_command_refuses_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["difflab-report"])
    with pytest.raises(SystemExit, match="no evaluations yet: difflab-evaluate"):
        command.main()
    write(evaluation(config(), card(), tmp_path / "runs", fd_lite0=1.0))
    for words, message in ((["nothing"], "no such folder"), (["--metric", "fd_lite"], "Did you mean 'fd_lite0'")):
        monkeypatch.setattr(sys, "argv", ["difflab-report", *words])
        with pytest.raises(SystemExit, match=message):
            command.main()


def test_the_command_writes_page_tables_and_figures(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys,
        "argv",
        ["difflab-report", "--runs-dir", str(tmp_path), "--out", str(tmp_path / "report"), "ddpm-fashion16-s0"],
    )
    command.main()
    written = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"index.html", "results.csv", "ranking.md", "ranking.tex", "figures"} <= written
    names = {"fd_lite0-by-nfe", "fd_lite0-by-seconds", "noise-levels", "denoising-error"}
    figures = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert figures == {f"{name}.{form}" for name in names for form in ("pdf", "svg")}
    said = capsys.readouterr().out
    assert "ddim" in said
    assert str(tmp_path / "report" / "index.html") in said.replace("\n", "")
