"""The search of spaces that end: each point is measured once, whatever is proposed."""

import math
from dataclasses import dataclass

from difflab.cli.search_space import Space, chosen
from difflab.cli.search_study import Trials
from difflab.experiment.parts.errors import UserError


@dataclass(frozen=True)
class Formula(Space):
    """A space whose points are measured by a formula."""

    def measure(self, point, study):
        nfe, worse = int(point["nfe"]), {"ddim": 3.0, "heun": 1.0}[point["sampler"]]
        if nfe == 6:
            raise UserError("six is refused")
        return [{"run": "r", "metrics": {"fd_lite0": worse / nfe}, "protocol": {"a": 1}, "cost": {"nfe": float(nfe)}}]


def test_each_point_of_a_finite_space_is_measured_once(tmp_path, capsys):
    words = [f"runs_dir={tmp_path}", "sampler=ddim,heun", "nfe=4,8,16"]
    for k, (targets, more) in enumerate([([30], []), ([2, 4, 6], ["seed=1"])]):
        found = Trials.of(Formula.of([*words, *more]), "fd_lite0", k, None, keep=False)
        for target in targets:
            assert found.until(target, "difflab-search") == []
            assert len({tuple(chosen(trial.params)) for trial in found.measured}) == len(found.measured)
            assert len(found.measured) == min(target, 6)
            assert f"the best of {min(target, 6)} points" in capsys.readouterr().out
        found.plan(30)
        assert "points measured: 6, left: 0, to ask again: 0" in capsys.readouterr().out
        assert {row["nfe"] for row in found.front} == {4, 8, 16}


def test_what_fails_in_a_space_that_ends_is_asked_again_and_nothing_else_is(tmp_path, capsys):
    space = Formula.of([f"runs_dir={tmp_path}", "sampler=ddim,heun", "nfe=4,6"])
    found = Trials.of(space, "fd_lite0", 0, None, keep=False)
    for _ in range(2):
        assert len(found.until(30, "difflab-search")) == 2
        assert "the best of 2 points" in capsys.readouterr().out
    tried = [chosen(trial.params) for trial in found.study.trials if "known" not in trial.user_attrs]
    assert sorted(tried) == sorted(
        [["nfe=4", f"sampler={name}"] for name in ("ddim", "heun")]
        + 2 * [["nfe=6", f"sampler={name}"] for name in ("ddim", "heun")]
    )


def test_the_points_of_a_space_are_counted():
    for words, size in [
        (["sampler=ddim,heun", "nfe=range(4,65,10)"], 14),
        (["nfe=tag(log,range(4,9))", "guidance=[none],[classifier_free,rescale]"], 10),
        (["lr=range(0.5,2,0.5)"], 3),
        (["lr=interval(0.1,0.2)", "nfe=4,6"], math.inf),
    ]:
        assert Space.of(words).size == size, words
