"""The ranges of the arguments of networks. Whoever builds one from a configuration checks them before."""

from typing import Annotated

from annotated_types import Interval

ClassCount = Annotated[int, Interval(ge=0, le=1_000_000)]
Width = Annotated[int, Interval(ge=1, le=100_000)]  # channels, features, sides of images
Depth = Annotated[int, Interval(ge=1, le=1000)]
Share = Annotated[float, Interval(ge=0, lt=1)]
