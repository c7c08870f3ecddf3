"""The extractor that the tests of metrics share."""

import pytest

from difflab.metric.features import EfficientNetLite0


@pytest.fixture(scope="session")
def lite0():
    return EfficientNetLite0()
