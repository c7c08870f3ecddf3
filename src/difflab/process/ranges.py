"""The ranges of arguments. Whoever builds a part from a configuration checks them before."""

import math
from typing import Annotated

from annotated_types import Interval

Count = Annotated[int, Interval(ge=1, le=100_000)]  # steps, stages, repetitions
Rounds = Annotated[int, Interval(ge=1, le=30)]  # halvings
Label = Annotated[int, Interval(ge=0, le=1_000_000)]
Seed = Annotated[int, Interval(ge=0, lt=2**63)]
Budget = Annotated[int, Interval(ge=0, le=10**15)]  # images
Real = Annotated[float, Interval(ge=-1e6, le=1e6)]
Size = Annotated[float, Interval(ge=0, le=1e6)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
Bound = Annotated[float, Interval(gt=0, le=math.inf)]  # inf: none
Share = Annotated[float, Interval(ge=0, lt=1)]
Part = Annotated[float, Interval(gt=0, le=1)]
Chance = Annotated[float, Interval(ge=0, le=1)]
