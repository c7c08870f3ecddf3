"""What the page says: in words, with every metric explained, and the same on touch screens and on paper."""

from __future__ import annotations

import re

import pytest

from difflab.data.fashion_mnist import NAMES
from difflab.metric.direction import better, meaning, title
from difflab.report.page import write_page
from difflab.report.record import read_records
from difflab.report.study import Study
from helpers.pages import grid, rows

METRICS = ("fd_lite0", "kid_lite0", "precision_lite0", "copies")
REPR = re.compile(r"\b[A-Z]\w*\(\w+=|\w+\(\)|\bdifflab\.\w+\.[A-Z]")  # DDIM(eta=0.0), Heun(), difflab.sampler.DDIM


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    runs = grid(folder / "runs", nfes=(7, 20), seeds=(0,))
    return write_page(Study.of(read_records(runs)), folder / "report", "kid_lite0", heading="The name of the study")


@pytest.fixture(scope="module")
def page(look, path):
    return look(path)


def text(page):
    """All that the page says, folded parts, titles and names in charts too."""
    script = "document.querySelectorAll('script, style').forEach(e => e.dataset.code = '');"
    own = "[...document.body.querySelectorAll(':not([data-code])')].flatMap(e => [...e.childNodes]"
    return page.evaluate(f"{script} {own}.filter(n => n.nodeType === 3).map(n => n.textContent)).join('\\n')")


def test_the_heading_is_the_name_of_the_study(page):
    assert page.title() == "The name of the study - difflab study"
    assert page.locator("h1").inner_text() == "The name of the study"
    assert page.locator(".varied").inner_text() == "paradigm × sampler × NFE"


def test_no_class_is_written_as_python_does(page):
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    words = text(page)
    assert "sampler=heun" in words
    assert REPR.findall(words.replace("alert(1)", "").replace("alert(2)", "")) == []


def test_every_metric_is_explained_where_it_stands(page):
    offered = page.locator("#metric option").evaluate_all("options => options.map(o => o.value)")
    assert sorted(offered) == sorted(METRICS)
    assert offered[0] == "kid_lite0"  # the one that was asked for comes first
    for metric in METRICS:
        page.select_option("#metric", metric)
        assert meaning(metric) in page.locator(".meaning:visible").all_inner_texts()
        heading = page.locator(".numbers th:visible", has_text=title(metric))
        assert meaning(metric) in heading.get_attribute("title")
        assert meaning(metric) in page.locator(".meanings").inner_text()
    page.select_option("#metric", "kid_lite0")


def test_axes_state_what_they_show_and_which_way_is_better(page):
    for metric in METRICS:
        page.select_option("#metric", metric)
        for cost, words in (("nfe", "network evaluations a sample"), ("seconds_per_sample", "seconds a sample")):
            chart = page.locator(f"[data-figure='1-{metric}-{cost}']")
            shown = chart.locator(".infolayer").text_content()
            for part in (words, title(metric), better(metric)):
                assert part in shown, (metric, cost, part)
    page.select_option("#metric", "kid_lite0")
    drawn = page.locator("[data-figure='1-kid_lite0-nfe'] .xtick text").all_text_contents()
    assert drawn == ["7", "20"]


def test_other_metrics_and_costs_stand_behind_a_switch(page):
    headings = page.locator(".numbers thead th:visible")
    few = headings.all_inner_texts()
    assert [heading.rstrip("↕ ") for heading in few[:3]] == ["setting", "NFE", title("kid_lite0")]
    assert not any(title("fd_lite0") in heading for heading in few)
    page.check("input.columns")
    everything = headings.all_inner_texts()
    assert all(any(title(metric) in heading for heading in everything) for metric in METRICS)
    assert {len(row) for row in rows(page)} == {len(everything)}
    page.uncheck("input.columns")
    assert headings.all_inner_texts() == few


def test_settings_that_vary_stand_side_by_side_with_the_cost_of_training(page):
    trainings, samplings = page.locator("#trainings table").all()
    lines = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in trainings.locator("tbody tr").all()
    }
    assert lines["schedule"] == ["ddpm_cosine", "linear", "vp"]
    assert lines["training s"] == ["300"] * 3
    assert samplings.locator("tbody tr").count() == 1


def test_pictures_enlarge_with_the_names_of_their_classes(page):
    for kind, names in (("Samples", list(NAMES)), ("Pairs", [])):
        small = page.locator(f".gallery img[alt^='{kind}']").first
        before = small.bounding_box()["width"]
        small.click()
        large = page.locator("dialog img")
        assert large.bounding_box()["width"] > 2 * before
        assert page.locator("dialog .classes span").all_inner_texts() == names
        assert page.locator("dialog p").inner_text() == small.get_attribute("alt")
        page.keyboard.press("Escape")
        assert large.is_hidden()


def test_no_tool_bar_covers_a_chart_on_a_touch_screen(browser, path):
    for touch in (False, True):
        context = browser.new_context(viewport={"width": 390, "height": 850}, has_touch=touch, is_mobile=touch)
        opened = context.new_page()
        opened.goto(path.as_uri())
        assert (opened.locator(".modebar-btn").count() == 0) == touch
        context.close()


def test_paper_has_no_widgets_and_shows_charts_whole_in_light_colours(browser, path):
    context = browser.new_context(color_scheme="dark")
    opened = context.new_page()
    opened.goto(path.as_uri())
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    opened.emulate_media(media="print")
    assert (
        opened.locator("select:visible, button:visible:not(th *, .enlarge), input:visible, .modebar:visible").count()
        == 0
    )
    assert "by Kernel distance" in opened.locator(".printed:visible").inner_text()
    widths = opened.locator(".chart:visible .main-svg").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().width)"
    )
    assert widths
    assert max(widths) <= 640
    assert opened.evaluate("getComputedStyle(document.querySelector('.chart .xtick text')).fill") == "rgb(0, 0, 0)"
    for heading in opened.locator("h2, h3").all():
        assert heading.evaluate("e => getComputedStyle(e).breakAfter") == "avoid"
    context.close()
