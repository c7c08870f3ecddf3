"""Every number that a user can give is refused in one line before any work, or makes a part."""

import inspect
import math
import re
from pathlib import Path

import pytest

from difflab.experiment.config.files import family
from difflab.experiment.config.settings import check_ranges, select
from difflab.experiment.parts.build import build, check, target
from difflab.experiment.parts.ranges import bare, holds, outside, ranges, stated
from difflab.experiment.parts.search_path import conf_dir
from helpers.conf import composed

BAD = {int: (0, -1, 10**22, math.nan, math.inf), float: (0.0, -1.0, 1e30, math.nan, math.inf)}
NAMED = re.compile(r"_target_: (difflab[\w.]+)")
GIVEN = {"shape": [1, 16, 16], "classes": 0}


def classes():
    """The classes of difflab that the files of conf/ name, by these names."""
    texts = [path.read_text() for path in Path(conf_dir()).rglob("*.yaml")]
    return {name: target(name) for text in texts for name in NAMED.findall(text)}


def test_a_number_out_of_range_is_refused_in_one_line_that_names_it():
    wrong, count = [], 0
    for name, cls in classes().items():
        parameters = inspect.signature(cls, eval_str=True).parameters
        required = {name for name, each in parameters.items() if each.default is each.empty}
        for key, parameter in parameters.items():
            allowed = [*ranges(parameter.annotation)]
            kind = int if all(isinstance(bound(each), int) for each in allowed) else float
            many = "Sequence" in str(parameter.annotation) or "tuple" in str(parameter.annotation)
            for bad in BAD[kind] if allowed else ():
                value, count = [bad] if many else bad, count + 1
                node = {**{each: GIVEN[each] for each in required & {*GIVEN}}, "_target_": name, key: value}
                try:
                    check(node, required)
                    if required <= {*GIVEN, key} and not outside(value, allowed):
                        build(node)
                except ValueError as error:
                    said = f"{key}={value!r}" if outside(value, allowed) else ""
                    wrong += [] if said in str(error) and "\n" not in str(error) else [(cls, key, value, str(error))]
                except Exception as error:
                    wrong.append((cls, key, value, repr(error)))
                else:
                    wrong += [(cls, key, value, "accepted")] if outside(value, allowed) else []
    assert not wrong
    assert count > 800


def bound(interval):
    """A bound of a range, whose type is that of the numbers."""
    return next(each for each in (interval.ge, interval.gt) if each is not None)


def test_settings_without_a_class_state_their_range_and_are_held_to_it(subtests):
    for command in ("train", "sample", "evaluate"):
        words = [] if command == "train" else ["run=x"]
        config = composed(*words, name=command)
        known = {s.key: stated(s.comment) for file in family(command) for s in file.settings if stated(s.comment)}
        if command == "train":
            known |= {f"protocol.{key}": stated("in [0, 1e7]: ") for key in ("n", "n_likelihood")}
            assert {"seed", "images", "batch_size", "nfe", "check_every", "teacher.nfe", "teacher.pairs"} <= {*known}
        for key, allowed in known.items():
            with subtests.test(f"{command} {key}"):
                node, _, leaf = key.rpartition(".")
                place = select(config, node) if node else config
                for bad in (-1, math.nan, math.inf, 10**22):
                    before, place[leaf] = place[leaf], bad
                    with pytest.raises(ValueError, match=rf"{key}=.* must lie in "):
                        check_ranges(command, config)
                    place[leaf] = before
                assert place[leaf] is None or holds(allowed, place[leaf]) or isinstance(place[leaf], list)
        check_ranges(command, config)


def test_a_range_changes_no_type():
    assert bare(int) is int
    assert [*ranges(int | None)]
    assert not [*ranges(str | None)]
