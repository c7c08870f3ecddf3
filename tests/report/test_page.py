"""The page of a study in a browser, opened from the disk without a network."""

import math
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.measured import STEPS
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.store.run import Run
from difflab.report.gallery import MOMENTS, Sprite
from difflab.report.page import write_page
from difflab.report.record import read_records
from difflab.report.study import Study
from difflab.report.style import FRONT, Styles
from helpers.pages import grid, rows
from helpers.studies import NFES, PARADIGMS


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


INK = """light => {
    const ink = getComputedStyle(document.querySelector('.chart .xtick text')).fill;
    const [r, g, b] = ink.match(/\\d+/g).map(Number);
    return (r + g + b < 3 * 140) === light && ink;
}"""


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_the_page_is_one_file_that_needs_no_network(look, path):
    assert [each.name for each in path.parent.iterdir()] == ["index.html"]
    assert path.stat().st_size < 8e6
    page = look(path)
    assert page.title() == "paradigm × sampler × NFE - difflab study"
    assert page.locator("header").inner_text().count("72 evaluations") == 1
    assert page.locator(".gallery img").count() == 2 * 24  # samples and pairs of each cell
    loaded = "[...document.querySelectorAll('.gallery img')].map(i => i.complete && i.naturalWidth > 0)"
    assert all(page.evaluate(loaded))


def test_flow_maps_show_their_residuals_and_flows_how_straight_they_are(page):
    """The mean over three seeds, the second of which has twice, and the third three times the first's."""
    shown = page.evaluate("document.querySelector(`[data-figure='residual of paradigm=ddpm']`).data[0].z")
    assert shown[0][0] == pytest.approx(-1)
    assert shown[0][1] is shown[1][1] is None
    assert shown[1][0] == pytest.approx(math.log10(2))
    assert page.locator("#steps figure").count() == 2
    assert page.evaluate("document.querySelector(`[data-figure='straightness']`).data[0].x") == pytest.approx([0.2])


def test_the_answer_names_the_best_at_each_nfe(page):
    answers = page.locator("#answer article:visible")
    assert answers.locator("h4").all_inner_texts() == [f"NFE {nfe}" for nfe in NFES]
    assert set(answers.locator(".best").all_inner_texts()) == {"paradigm=rectified_flow sampler=heun"}
    assert "better than all 5 others" in answers.first.inner_text()
    assert answers.first.locator("details .bar").count() == 5
    assert answers.first.locator("details .difference").first.inner_text() == ""  # folded
    answers.first.locator("summary").first.click()
    assert re.fullmatch(r"\+\d+ % \(.+ to .+\)", answers.first.locator(".difference").first.inner_text())
    assert "Floor, real samples against real ones: 1.2 (n=2,000)." in page.locator("#answer").inner_text()
    page.select_option("#metric", "precision_lite0")
    assert answers.count() == 4
    assert "A secondary metric" in page.locator("#answer").inner_text()
    assert names(page, "1-precision_lite0-nfe")[-1] == "Pareto front"
    assert page.locator("[data-figure='1-fd_lite0-nfe']").is_hidden()
    page.select_option("#metric", "fd_lite0")


def test_filters_act_on_charts_tables_and_pictures(page):
    assert len(rows(page)) == 24
    assert len(names(page, "1-fd_lite0-nfe")) == 6 + len(("floor", "Pareto front"))
    page.uncheck("[data-filter='paradigm'][value='rectified_flow']")
    page.uncheck("[data-filter='sampler'][value='heun']")
    assert {row[0] for row in rows(page)} == {"paradigm=ddpm sampler=ddim", "paradigm=vp_sde sampler=ddim"}
    assert names(page, "1-fd_lite0-nfe") == [
        "paradigm=ddpm sampler=ddim",
        "paradigm=vp_sde sampler=ddim",
        "floor: real against real, n=2,000",
        "Pareto front",
    ]
    assert set(names(page, "noise-levels")) == {"paradigm=ddpm", "paradigm=vp_sde"}
    assert page.locator(".gallery tbody tr:visible").count() == 3 * 2
    best = page.evaluate("document.querySelector(\"[data-figure='1-fd_lite0-nfe']\").data.at(-1).y")
    drawn = [float(row[2].split()[0]) for row in rows(page) if row[0] == "paradigm=vp_sde sampler=ddim"]
    assert best == pytest.approx(drawn, rel=1e-2)  # the front is that of the traces that are drawn
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".numbers tbody tr:visible")).to_have_count(24)


def test_tables_sort_by_mouse_and_by_keyboard(page):
    button = page.locator(".numbers th button", has_text="Fréchet distance")
    button.click()
    rising = [float(row[2].split()[0]) for row in rows(page)]
    assert rising == sorted(rising)
    button.press("Enter")
    assert [float(row[2].split()[0]) for row in rows(page)] == rising[::-1]
    assert page.locator(".numbers th[aria-sort='descending']").inner_text().startswith("Fréchet distance")


def test_lines_have_the_colours_of_print_and_the_front_lies_below_them(page, path):
    styles = Styles.of(Study.of(read_records([Run(each) for each in sorted((path.parents[1] / "runs").iterdir())])))
    lines = "id => document.querySelector(`[data-figure='${id}']`).data.map(t => [t.name, t.line.color, t.zorder])"
    drawn = {name: (colour, order) for name, colour, order in page.evaluate(lines, "1-fd_lite0-nfe")}
    for paradigm in PARADIGMS:
        assert drawn[f"paradigm={paradigm} sampler=heun"] == (styles.training(f"paradigm={paradigm}").colour, None)
    assert drawn["Pareto front"] == (FRONT.colour, -1)


def test_the_slider_walks_from_noise_to_data(page):
    tile = "getComputedStyle(document.querySelector('.frames span')).backgroundPositionX"
    end = page.evaluate(tile)
    page.locator("input.walk").fill("0")
    assert page.locator("output[for='walk-1']").inner_text() == "1 of 12"
    assert page.evaluate(tile) != end


def test_a_tile_of_a_sprite_is_cut_at_its_place(tmp_path):
    sheet = Sheet([[Image.new("L", (16, 8))] * 12] * 4, [["call"] * 12], ["row"] * 4, "title", "footer")
    save_png(sheet.image, tmp_path / "steps.png")
    assert MOMENTS == STEPS
    found = Sprite.of(tmp_path / "steps.png", (1, 8, 16))
    assert (found.tile, found.rows) == ((128, 64), 4)
    values = dict(part.removeprefix("--").split(":") for part in found.style.split(";"))
    left = float(values["left"]) + 11 * float(values["across"])  # of the room that is left beside a tile
    assert left * (found.size[0] - 128) == pytest.approx(2 + 11 * 130, abs=0.1)


def test_fits_a_phone_by_day_and_by_night(look, path):
    page = look(path, width=390)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.wait_for_function(INK, arg=scheme == "light").json_value()  # a script draws the charts anew
        assert (brightness(paper) > 200 > 80 > brightness(ink)) == (scheme == "light")
        assert (brightness(ink) > 200 > 80 > brightness(paper)) == (scheme == "dark")


def test_commands_can_be_copied(page):
    folded = page.locator("details.commands").first
    folded.locator("summary").click()
    code = folded.locator("code").first.inner_text().splitlines()
    assert [line.split()[0] for line in code] == ["difflab-train"] * 3 + ["difflab-evaluate"] * 3
    folded.locator("button").first.click()
    expect(folded.locator("button").first).to_have_text(re.compile("Copied|Selected"))
