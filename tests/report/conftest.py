"""The made-up study that the tests of the report share: 3 paradigms x 2 samplers x 4 NFE x 3 seeds."""

import pytest

from difflab.report.study import load_study
from helpers.studies import grid, write_record


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "runs"
    for record in grid(folder):
        write_record(record)
    return folder


@pytest.fixture(scope="session")
def study(runs_dir):
    return load_study(runs_dir)
