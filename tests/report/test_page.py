"""The page in a browser, opened from the disk without a network."""

from __future__ import annotations

import functools
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from difflab.data.codec import Pixels
from difflab.data.fashion16 import Fashion16
from difflab.experiment.evaluation import STEPS
from difflab.experiment.picture import save_png, sheet, tiles
from difflab.experiment.run import Run
from difflab.report.gallery import MOMENTS, Sprite
from difflab.report.page import write_page
from difflab.report.record import read_records
from difflab.report.study import Study
from difflab.report.style import FRONT, Styles
from helpers.studies import NFES, PARADIGMS, SAMPLERS, SEEDS, card, config, distance, record, write_record

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
TAG = "<img src=x onerror=alert(3)>"  # in the name of a run's folder, which holds no slash


@functools.cache
def clothes():
    test = Fashion16().load().test
    return torch.stack([test.x[test.y == label][row] for row in range(2) for label in range(10)]).float()


def pictures(path, noise):
    """The pictures beside an evaluation: clothes with the more noise, the worse it is."""
    chosen = clothes()
    eps = 128 + 128 * torch.randn(chosen.shape, generator=torch.Generator().manual_seed(0))
    mixed = {share: tiles(torch.lerp(chosen, eps, share).clamp(0, 255).byte(), Pixels()) for share in (0, noise)}
    save_png(sheet([mixed[noise][:10], mixed[noise][10:]]), path.with_name(f"{path.stem}-samples.png"))
    save_png(sheet([mixed[noise][:8], mixed[0][:8]]), path.with_name(f"{path.stem}-pairs.png"))
    way = [torch.lerp(chosen[:4], eps[:4], max(noise, 1 - k / 11)) for k in range(12)]
    steps = [tiles(each.clamp(0, 255).byte(), Pixels()) for each in way]
    save_png(sheet([list(row) for row in zip(*steps, strict=True)]), path.with_name(f"{path.stem}-steps.png"))


def measured(
    folder, level, paradigm="ddpm", seed=0, sampler="Heun()", nfe=20, choices=None, data="fashion16", **card_of
):
    rng = np.random.default_rng([seed, int(nfe)])
    made = record(
        config(paradigm, seed, data, command=f"difflab-train paradigm={paradigm} seed={seed} '{HOSTILE}'"),
        card(sampler=sampler, nfe=nfe, **card_of),
        folder,
        choices,
        fd_lite0=level + 0.3 * rng.normal() + 0.2 * np.random.default_rng([seed, int(100 * level)]).normal(),
        fd_lite0_floor=1.2,
        kid_lite0=level / 1000,
        kid_lite0_floor=-0.0001,
        precision_lite0=0.9 - level / 100,
        precision_lite0_floor=0.95,
        copies=0.001,
        copies_floor=0.001,
    )
    made.cost["peak_memory"] = 300 * 2**20
    path = write_record(made, pictures=False)
    if seed == 0:
        pictures(path, min(0.9, level / 40))
    return made.run


def grid(folder, nfes=NFES, seeds=SEEDS, **card_of):
    """The study of the page: 3 paradigms, 2 samplers, 4 NFE, 3 seeds."""
    runs = [
        measured(folder, distance(paradigm, sampler, nfe), paradigm, seed, sampler, nfe, **card_of)
        for paradigm in PARADIGMS
        for sampler in SAMPLERS
        for nfe in nfes
        for seed in seeds
    ]
    return list(dict.fromkeys(runs))


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no chromium is installed: apt install chromium")
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def look(browser):
    """Open a page; each message on its console and each request to a network is an error."""
    complaints = []

    def requested(request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            complaints.append(request.url)

    def opened(path, width=1280):
        page = browser.new_page(viewport={"width": width, "height": 850})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", requested)
        page.goto(path.as_uri())
        return page

    yield opened
    assert complaints == []


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return write_page(Study.of(read_records(grid(folder / "runs"))), folder / "report")


@pytest.fixture(scope="module")
def page(look, path):
    return look(path)


def names(page, figure):
    """The names of the traces that a chart shows."""
    return page.evaluate("id => document.querySelector(`[data-figure='${id}']`).data.map(t => t.name)", figure)


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def rows(page, table=".numbers"):
    """The visible rows of a table, by their cells."""
    visible = page.locator(f"{table} tbody tr:visible").all()
    return [row.locator("th, td").all_inner_texts() for row in visible]


def test_the_page_is_one_file_that_needs_no_network(look, path):
    assert [each.name for each in path.parent.iterdir()] == ["index.html"]
    assert path.stat().st_size < 8e6
    page = look(path)
    assert page.title() == "difflab study: paradigm × sampler × NFE"
    assert page.locator("header").inner_text().count("72 evaluations") == 1
    assert page.locator("img").count() == 2 * 24  # samples and pairs of each cell
    assert all(page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))


def test_the_answer_names_the_best_at_each_nfe(page):
    answers = page.locator("#answer article:visible")
    assert answers.locator("h4").all_inner_texts() == [f"NFE {nfe}" for nfe in NFES]
    assert set(answers.locator(".best").all_inner_texts()) == {"rectified_flow heun"}
    assert "better than all 5 others" in answers.first.inner_text()
    page.select_option("#metric", "precision_lite0")
    assert answers.count() == 4
    assert names(page, "1-precision_lite0-nfe")[-1] == "Pareto front"
    assert page.locator("[data-figure='1-fd_lite0-nfe']").is_hidden()
    page.select_option("#metric", "fd_lite0")


def test_filters_act_on_charts_tables_and_pictures(page):
    assert len(rows(page)) == 24
    assert len(names(page, "1-fd_lite0-nfe")) == 6 + len(("floor", "Pareto front"))
    page.uncheck("[data-filter='paradigm'][value='rectified_flow']")
    page.uncheck("[data-filter='sampler'][value='heun']")
    assert {row[0] for row in rows(page)} == {"ddpm ddim", "vp_sde ddim"}
    assert names(page, "1-fd_lite0-nfe") == ["ddpm ddim", "vp_sde ddim", "floor: real against real", "Pareto front"]
    assert set(names(page, "noise-levels")) == {"ddpm", "vp_sde"}
    assert page.locator(".gallery tbody tr:visible").count() == 3 * 2
    best = page.evaluate("document.querySelector(\"[data-figure='1-fd_lite0-nfe']\").data.at(-1).y")
    drawn = [float(row[2].split()[0]) for row in rows(page) if row[0] == "vp_sde ddim"]
    assert best == pytest.approx(drawn, rel=1e-2)  # the front is that of the traces that are drawn
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".numbers tbody tr:visible")).to_have_count(24)


def test_tables_sort_by_mouse_and_by_keyboard(page):
    button = page.locator(".numbers th button", has_text="fd_lite0")
    button.click()
    rising = [float(row[2].split()[0]) for row in rows(page)]
    assert rising == sorted(rising)
    button.press("Enter")
    assert [float(row[2].split()[0]) for row in rows(page)] == rising[::-1]
    assert page.locator(".numbers th[aria-sort='descending']").inner_text().startswith("fd_lite0")


def test_lines_have_the_colours_of_print_and_the_front_lies_below_them(page, path):
    styles = Styles.of(Study.of(read_records([Run(each) for each in sorted((path.parents[1] / "runs").iterdir())])))
    lines = "id => document.querySelector(`[data-figure='${id}']`).data.map(t => [t.name, t.line.color, t.zorder])"
    drawn = {name: (colour, order) for name, colour, order in page.evaluate(lines, "1-fd_lite0-nfe")}
    for paradigm in PARADIGMS:
        assert drawn[f"{paradigm} heun"] == (styles.training(paradigm).colour, None)
    assert drawn["Pareto front"] == (FRONT.colour, -1)


def test_the_slider_walks_from_noise_to_data(page):
    tile = "getComputedStyle(document.querySelector('.frames span')).backgroundPositionX"
    end = page.evaluate(tile)
    page.locator("input.walk").fill("0")
    assert page.locator("output[for='walk-1']").inner_text() == "1 of 12"
    assert page.evaluate(tile) != end


def test_a_tile_of_a_sprite_is_cut_at_its_place(tmp_path):
    save_png(sheet([[Image.new("L", (16, 8))] * 12] * 4), tmp_path / "steps.png")
    assert MOMENTS == STEPS
    found = Sprite.of(tmp_path / "steps.png", (1, 8, 16))
    assert (found.tile, found.rows) == ((96, 48), 4)
    values = dict(part.removeprefix("--").split(":") for part in found.style.split(";"))
    left = float(values["left"]) + 11 * float(values["across"])  # of the room that is left beside a tile
    assert left * (found.size[0] - 96) == pytest.approx(2 + 11 * 98, abs=0.1)


def test_fits_a_phone_by_day_and_by_night(look, path):
    page = look(path, width=390)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('.chart .xtick text')).fill")
        assert (brightness(paper) > 200 > 80 > brightness(ink)) == (scheme == "light")
        assert (brightness(ink) > 200 > 80 > brightness(paper)) == (scheme == "dark")


def test_commands_can_be_copied(page):
    folded = page.locator("details.commands").first
    folded.locator("summary").click()
    code = folded.locator("code").first.inner_text().splitlines()
    assert [line.split()[0] for line in code] == ["difflab-train"] * 3 + ["difflab-evaluate"] * 3
    folded.locator("button").first.click()
    expect(folded.locator("button").first).to_have_text(re.compile("Copied|Selected"))


@pytest.fixture(scope="module")
def awkward(look, tmp_path_factory):
    """Two protocols, three guidance scales, and names that contain code."""
    folder = tmp_path_factory.mktemp("awkward")
    for sampler, name, n in [("A()", HOSTILE, 2000), ("B()", "heun", 2000), ("B()", "heun", 500)]:
        for scale in (1.0, 10.0, 2.5):
            choices, guidance = {"sampler": name, "guidance": ["classifier_free"]}, f"ClassifierFree(scale={scale})"
            run = measured(folder, 5.0, data=TAG, sampler=sampler, choices=choices, guidance=guidance, n_generated=n)
    return look(write_page(Study.of(read_records([run])), folder / "report"))


def test_unlike_protocols_are_never_ranked_together(awkward):
    assert awkward.locator("#answer article:visible").count() == 2
    assert awkward.locator("#answer table tbody").inner_text().split() == ["n_generated", "2000", "500"]
    assert awkward.locator("h2", has_text="Protocol").all_inner_texts() == ["Protocol 1", "Protocol 2"]
    assert [len(rows(awkward, f"#quality-{k} .numbers")) for k in (1, 2)] == [6, 3]
    assert awkward.locator("#answer p:visible", has_text="One seed each").count() == 2


def test_a_slider_goes_through_the_guidance_scales(awkward):
    for place, scale in enumerate((1.0, 2.5, 10.0)):
        awkward.locator("#pick-2-samples").fill(str(place))
        assert awkward.locator("output[for='pick-2-samples']").inner_text() == f"ClassifierFree(scale={scale})"
        assert awkward.locator(".gallery:has(#pick-2-samples) tbody tr:visible").count() == 1


def test_code_in_a_configuration_is_text_on_the_page(awkward):
    assert {row[0].partition(" guidance")[0] for row in rows(awkward, "#quality-1 .numbers")} == {HOSTILE, "heun"}
    assert awkward.locator("img[src=x]").count() == 0
    assert any(HOSTILE in text for text in awkward.locator(".legendtext").all_text_contents())
    assert TAG in awkward.locator("details.card table").first.text_content()
    awkward.uncheck("[data-filter='sampler'][value='heun']")
    assert len(rows(awkward, "#quality-1 .numbers")) == 3


def test_a_diverged_cell_and_an_adaptive_sampler_are_named(look, tmp_path):
    runs = [measured(tmp_path, 5.0, nfe=nfe, sampler=name) for nfe, name in ((20, "Heun()"), (0, "Adaptive()"))]
    diverged = record(config("vp_sde"), card(), tmp_path, fd_lite0=float("nan"))
    write_record(diverged, pictures=False)
    page = look(write_page(Study.of(read_records(list(dict.fromkeys([*runs, diverged.run])))), tmp_path / "report"))
    answers = page.locator("#answer article:visible")
    assert answers.locator("h4").all_inner_texts() == ["NFE 20", "NFE by tolerance"]
    assert answers.locator(".best").all_inner_texts() == ["ddpm heun", "ddpm adaptive"]
    assert "not a number" in answers.first.inner_text()
    fronts = "document.querySelector(\"[data-figure='1-fd_lite0-nfe']\").data.at(-1).y"
    assert all(value is not None for value in page.evaluate(fronts))
