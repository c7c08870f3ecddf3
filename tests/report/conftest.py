"""The made-up study that the tests of the report share, 3 paradigms x 2 samplers x 4 NFE x 3 seeds; and a browser."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from difflab.report.study import load_study
from helpers.studies import grid, write_record

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "runs"
    for record in grid(folder):
        write_record(record)
    return folder


@pytest.fixture(scope="session")
def study(runs_dir):
    return load_study(runs_dir)


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
