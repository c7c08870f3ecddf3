"""The ranges of the arguments of data. Whoever builds a part from a configuration checks them before."""

from typing import Annotated

from annotated_types import Interval

ClassCount = Annotated[int, Interval(ge=0, le=1_000_000)]
Count = Annotated[int, Interval(ge=1, le=10_000_000)]
Held = Annotated[int, Interval(ge=0, le=10_000_000)]
Seed = Annotated[int, Interval(ge=0, lt=2**63)]
Workers = Annotated[int, Interval(ge=0, le=1000)]
Real = Annotated[float, Interval(ge=-1e6, le=1e6)]
Size = Annotated[float, Interval(ge=0, le=1e6)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
Part = Annotated[float, Interval(gt=0, le=1)]
