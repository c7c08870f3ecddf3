"""The page of what is not alike: protocols, guidance scales, diverged cells, and names that contain code."""

import pytest

from difflab.report.page import write_page
from difflab.report.record import read_records
from difflab.report.study import Study
from helpers.pages import HOSTILE, TAG, measured, rows
from helpers.studies import card, config, record, write_record


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
        assert awkward.locator("output[for='pick-2-samples']").inner_text() == f"guidance.classifier_free.scale={scale}"
        assert awkward.locator(".gallery:has(#pick-2-samples) tbody tr:visible").count() == 1


def test_code_in_a_configuration_is_text_on_the_page(awkward):
    assert {row[0].partition(" guidance")[0] for row in rows(awkward, "#quality-1 .numbers")} == {
        f"sampler={HOSTILE}",
        "sampler=heun",
    }
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
    assert answers.locator(".best").all_inner_texts() == [
        "paradigm=ddpm sampler=heun",
        "paradigm=ddpm sampler=adaptive",
    ]
    assert "not a number" in answers.first.inner_text()
    fronts = "document.querySelector(\"[data-figure='1-fd_lite0-nfe']\").data.at(-1).y"
    assert all(value is not None for value in page.evaluate(fronts))
