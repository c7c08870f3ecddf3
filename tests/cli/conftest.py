"""What tests of the commands share."""

import pytest

from helpers.extensions import example_in, on_path


@pytest.fixture(scope="session")
def installed_example(tmp_path_factory):
    """The folder of installed packages that holds the example extension, once in a process."""
    return example_in(tmp_path_factory.mktemp("extension"))


@pytest.fixture(scope="module")
def site(installed_example):
    """The same on sys.path, as after pip install."""
    with on_path(installed_example):
        yield installed_example
