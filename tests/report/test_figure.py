"""The figures of the field: what they show is what the formulas say, and every word of them can be read."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from difflab.cli.figure import main as figure
from difflab.cli.figure.words import figure_of, image_of
from difflab.denoiser import continuous_bits_per_dim, variational_bits_per_dim
from difflab.process import VP, LinearBetas
from difflab.report.figure import FIGURES
from difflab.report.figure.base import themed, wrapped
from difflab.report.figure.schedules import beta
from helpers.figures import dull, outside, overlapping, texts_of
from helpers.runs import write_exact_run

OF_RUNS = {  # the words of each figure of a run, for a quick one
    "reverse": ["run=digits", "steps=12"],
    "samplers": ["run=digits", "nfe=2,8,40"],
    "eta": ["run=digits", "label=0,3", "nfe=8"],
    "guidance": ["run=digits", "scale=1,3", "label=1,7,9", "nfe=8"],
    "likelihood": ["run=points", "n=64"],
}
WORDS = {**{name: [] for name in FIGURES}, **OF_RUNS, "score": ["run=points"]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("digits", "points", "few", "chain"):
        write_exact_run(folder, name)
    return folder


@pytest.fixture
def made(runs):
    """A figure by its name and its words, of the runs of the tests."""
    return lambda name, *words: figure_of(name, [*words, *([f"runs_dir={runs}"] if "run=" in " ".join(words) else [])])


@pytest.mark.long
def test_every_word_of_every_figure_can_be_read_and_no_picture_is_blank(made, subtests):
    for name, words in WORDS.items():
        drawing = made(name, *words)
        for theme in ("light", "dark"):
            with subtests.test(name=name, theme=theme), themed(theme):
                drawn = drawing.draw()
                texts, size = texts_of(drawn)
                assert outside(texts, size) == []
                assert overlapping(texts) == []
                assert dull(drawn) == []
                lines = " ".join(s for s, _ in texts)
                assert FIGURES[name].title in lines
                assert "$" in drawing.caption


def test_a_figure_that_is_written_is_there_in_each_format_and_on_each_ground(tmp_path, capsys):
    figure(["difflab-figure", "embedding", f"out={tmp_path}", "width=16", "T=50"])
    stems = {"embedding", "embedding-dark"}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{s}.{form}" for s in stems for form in ("svg", "pdf", "png")
    }
    assert len(capsys.readouterr().out.split()) == 6
    light, dark = (np.asarray(Image.open(tmp_path / f"{s}.png").convert("L")) for s in sorted(stems))
    assert light[0, 0] == 255
    assert dark[0, 0] < 20


def test_the_same_words_make_the_same_file(tmp_path):
    for folder in ("a", "b"):
        figure(["difflab-figure", "embedding", f"out={tmp_path / folder}", "formats=svg,pdf", "themes=light", "T=9"])
    for form in ("svg", "pdf"):
        a, b = ((tmp_path / folder / f"embedding.{form}").read_bytes() for folder in ("a", "b"))
        assert a == b


def test_the_forward_figure_shows_the_image_at_its_clean_end_and_noise_at_its_other(made):
    drawing = made("forward", "schedule=vp", "image=3")
    (pictures, notes) = drawing.row(VP(), torch.tensor([12.0, -9.5], dtype=torch.float64))
    clean = ((drawing.image[0] + 1) * 127.5).numpy()
    assert np.abs(pictures[0] - clean).max() < 4
    assert np.corrcoef(pictures[1].ravel(), clean.ravel())[0, 1] < 0.2
    assert notes[0].startswith("t = ")
    levels = drawing.row(VP(), torch.tensor([-30.0], dtype=torch.float64))
    assert levels == ([None], [""])  # a noise level that the schedule does not have


def test_beta_of_a_chain_is_its_table_and_of_vp_the_line_of_song_2021():
    t = torch.arange(1, 1001, dtype=torch.float64)
    table = LinearBetas(T=1000)
    assert torch.equal(beta(table, t), 1000 * table.betas())
    share = torch.linspace(0.1, 1, 7, dtype=torch.float64)
    assert torch.allclose(beta(VP(), share), 0.1 + share * 19.9, rtol=1e-9)


def test_the_score_of_an_exact_denoiser_has_no_error_over_the_held_out_points_that_there_are(made):
    for run, n in (("points", "2,000"), ("few", "100")):
        drawing = made("score", f"run={run}")
        assert max(drawing.errors) < 1e-8
        assert f"{n} held-out points" in drawing.caption


def test_errors_of_a_sampler_fall_with_its_evaluations_to_those_of_the_flow(made):
    rows = made("samplers", "run=points", "sampler=ddim,ancestral", "nfe=4,16,128").cells
    errors = [float(note) for note in rows[0][1]]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1
    assert rows[1][1] == ["stochastic"] * 3


def test_a_sampler_that_cannot_pay_for_a_step_has_an_empty_place(made):
    guided = "guidance=classifier_free"  # two evaluations a step
    ((pictures, notes),) = made("samplers", "run=digits", guided, "sampler=ddim", "nfe=1,8").cells
    assert pictures[0] is None
    assert notes[0] == ""
    assert pictures[1] is not None


def test_the_reverse_process_along_another_path_has_the_times_and_noise_levels_of_that_path(made, subtests):
    for path, alpha, sigma in (("edm", lambda t: 1, lambda t: 80 * t), ("linear", lambda t: 1 - t, lambda t: t)):
        drawing = made("reverse", "run=digits", "sampler=ddim", f"sampler.schedule={path}", "columns=4")
        with subtests.test(path), themed("light"), np.errstate(divide="ignore"):
            t = drawing.times.numpy()[drawing.shown[:-1]]
            shown = [float(s[4:].replace("−", "-")) for s, _ in texts_of(drawing.draw())[0] if s.startswith("λ = ")]
            assert shown == pytest.approx([*2 * np.log(alpha(t) / sigma(t))], abs=0.06)
            end = drawing.found["ddim"][1][-1]  # of an exact denoiser of the digits: one of them
            assert np.abs(drawing.run.data.images.train.x[:, 0].numpy() - end.astype(float)).max((1, 2)).min() <= 1


def test_the_two_flows_and_the_flow_map_end_at_the_same_points(made):
    ends = {name: x[-1] for name, x in made("paths", "data=mixture", "particles=16").paths.items()}
    distance = (ends["flow map, 1 step"] - ends["straight schedule"]).norm(dim=1)
    assert distance.median() < 0.02
    assert (ends["probability flow"] - ends["straight schedule"]).norm(dim=1).median() < 0.05
    assert (ends["reverse SDE"] - ends["straight schedule"]).norm(dim=1).median() > 0.3


def test_both_ways_of_the_density_have_the_law_at_their_ends(made):
    drawing = made("density", "particles=2000", "steps=200")
    for name, (_, x) in drawing.paths.items():
        share = (x[-1, :, 0] > 1.2).float().mean()  # the component at 1.7, of weight 0.2
        assert abs(float(share) - 0.2) < 0.04, name


def test_the_terms_of_a_chain_have_its_sum(made):
    drawing = made("likelihood", "run=chain", "n=256")
    terms = drawing.terms
    x0 = drawing.run.data.encoded(drawing.run.data.images.test, slice(256))
    denoise = drawing.run.denoiser.bind(torch.zeros(256, dtype=torch.int64))
    bound = variational_bits_per_dim(denoise, x0, levels=None)
    assert float(terms.sums[-1] - terms.last.mean()) == pytest.approx(float(bound.diffusion.mean()), rel=0.03)
    assert float(terms.first.mean()) == pytest.approx(float(bound.reconstruction.mean()), abs=0.1)


def test_the_terms_of_the_bound_have_its_sum(made):
    drawing = made("likelihood", "run=points", "n=256")
    terms = drawing.terms
    x0 = drawing.run.data.encoded(drawing.run.data.images.test, slice(256))
    denoise = drawing.run.denoiser.bind(torch.zeros(256, dtype=torch.int64))
    bound = continuous_bits_per_dim(denoise, x0, n=64, levels=None)
    assert float(terms.sums[-1] - terms.last.mean()) == pytest.approx(float(bound.diffusion.mean()), rel=0.03)
    assert float(terms.last.mean()) == pytest.approx(float(bound.prior.mean()), abs=0.01)
    assert float(terms.first.mean()) == pytest.approx(float(bound.reconstruction.mean()), abs=0.1)


def test_an_image_of_ones_own_is_taken_as_it_is(tmp_path, made):
    Image.fromarray(np.full((12, 20, 3), (255, 0, 0), np.uint8)).save(tmp_path / "own.png")
    image = image_of(str(tmp_path / "own.png"))
    assert image.shape == (3, 12, 12)
    assert image[:, 0, 0].tolist() == [1.0, -1.0, -1.0]
    with themed("light"):
        made("targets", f"image={tmp_path / 'own.png'}", "columns=3").draw()


@pytest.mark.long
def test_an_animation_has_its_frames(tmp_path, made, monkeypatch):
    monkeypatch.setattr("difflab.report.figure.paths.FRAMES", 3)
    made("paths", "particles=3", "steps=4", "animate=true").write(tmp_path, "paths", ("png",), ("light",))
    with Image.open(tmp_path / "paths.gif") as movie:
        assert movie.n_frames >= 4


def test_lines_of_a_caption_do_not_break_a_formula():
    text = "the formula $a + b = c$ stands in a sentence that is long enough for two lines of a narrow page"
    lines = wrapped(text, 7.0, width=2.0)
    assert len(lines) > 1
    assert " ".join(lines) == text
    assert sum("$a + b = c$" in line for line in lines) == 1


def test_what_does_not_fit_is_refused_in_one_line_that_names_it(runs, tmp_path):
    where = f"runs_dir={runs}"
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "deep.tif")
    for words, said in {
        ("forwards",): "forwards is no figure",
        ("forward", "schedule=vpp"): "schedule=vpp does not exist",
        ("forward", "columns=x"): "columns=x should be of type int",
        ("forward", "columns=1"): "columns=1",
        ("forward", "nfe=3"): "nfe is no word of difflab-figure forward",
        ("forward", "vp"): "vp is no KEY=VALUE",
        ("forward", "image=none.png"): "image=none.png cannot be read",
        ("forward", "image=99999"): "image=99999",
        ("forward", f"image={tmp_path / 'deep.tif'}"): "deep.tif cannot be read: values that are not finite",
        ("score", "data=digits"): "no points in the plane",
        ("score", "data=moons,mixture"): "this figure shows one data",
        ("samplers", "run=nothing", where): "run=nothing",
        ("samplers", "run=digits", where, "label=12"): "label=12",
        ("samplers", "run=digits", where, "sampler=ancestral_learned"): "variance",
        ("guidance", "run=points", where): "unconditional",
        ("likelihood", "run=digits", where): "no likelihood",
        ("reverse", "run=digits", where, "sampler=adaptive"): "makes its own steps",
        ("embedding", "width=3"): "width=3",
        ("density", "dimensions=3"): "dimensions=3",
        ("embedding", "formats=gif"): "formats=gif",
        ("all", "columns=3"): "leave out columns=3",
    }.items():
        with pytest.raises(SystemExit) as ended:
            figure(["difflab-figure", *words, f"out={tmp_path / 'none'}"])
        assert said in str(ended.value), words
        assert "\n" not in str(ended.value)
    assert not (tmp_path / "none").exists()


def test_a_name_without_words_lists_them_all(capsys):
    figure(["difflab-figure"])
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in FIGURES)
    figure(["difflab-figure", "samplers", "--help"])
    told = capsys.readouterr().out
    assert "nfe=2,5,10,20,50" in told
    assert "run=demo" in told


def test_themes_leave_the_settings_of_others_alone():
    before = dict(matplotlib.rcParams)
    with themed("dark"):
        assert matplotlib.rcParams["text.color"] != before["text.color"]
    assert dict(matplotlib.rcParams) == before


def test_the_table_of_the_docs_names_every_figure_and_no_other():
    table = Path(__file__).parents[2].joinpath("docs", "claims.md").read_text()
    named = set(re.findall(r"`difflab-figure (\w+)", table))
    assert named == set(FIGURES)
