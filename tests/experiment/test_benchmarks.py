"""The benchmarks, run with sizes of moments."""

import re

import pytest
from PIL import Image

from benchmarks import derivatives, faults, inverse_problems, training_step, verdicts
from helpers.conf import options
from helpers.pictures import faults as picture_faults
from helpers.pictures import tiles_of
from helpers.runs import write_exact_run


def test_training_steps_are_measured_for_every_variant(capsys):
    """The operations counted are those of each image."""
    words = ["--width=16", "--rounds=1", "--steps=1", "--matrix=32"]
    few, many = (training_step.main([*words, f"--batch={batch}"]) for batch in (1, 2))
    assert many.flop == 2 * few.flop > 0
    said = capsys.readouterr().out.splitlines()[-len(many.ratios) - 1 :]
    for line, (name, ratio) in zip(said, many.ratios.items(), strict=False):
        assert line.split() == f"{name} {ratio:.2f} times the default's time".split()
    assert f"{many.images_per_s:.0f} images/s, {many.flop * many.images_per_s / 2 / many.peak:.0%} of" in said[-1]


def test_derivatives_are_timed_and_compared(capsys):
    """Both are near that in float64, and so are the networks after four steps."""
    found = derivatives.main(["--width=16", "--batch=4", "--steps=4"])
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0].strip() for line in said[-2:]] == [*found] == ["forward mode", "difference"]
    forward, difference = found.values()
    assert max(forward.error, difference.error) < 0.05
    assert 0 < difference.residual == pytest.approx(forward.residual, rel=0.05)


def test_inverse_problems_are_solved_by_every_method(tmp_path, capsys):
    """With the exact denoiser of the digits, which knows more of random pixels than the pseudo-inverse does."""
    write_exact_run(tmp_path, "digits")
    words = [str(tmp_path / "digits"), str(tmp_path / "out"), "--n=4", "--nfe=10", "--shown=2"]
    scores, said = inverse_problems.main(words), capsys.readouterr().out
    methods = ["pinv", *options("restoration")]
    for problem in options("problem"):
        clean, noisy = scores.pop((problem, 0.0)), scores.pop((problem, 0.1))
        assert [*clean] == [*noisy] == methods
        assert clean["pinv"] > noisy["pinv"]
        for found in (clean, noisy):
            assert " │ ".join(f"{score:.1f}" for score in found.values()) in re.sub(" +", " ", said)
            if problem == "inpaint_pixels":
                assert min(found["dps"], found["pigdm"]) > found["pinv"] + 3
    assert not scores
    across, down = 2 * 2, len(options("problem")) * (1 + len(methods))
    assert tiles_of(picture := Image.open(tmp_path / "out" / "inverse_problems.png")) == (across, down)
    assert picture_faults(picture) == []


def test_faults_are_tried_and_told(capsys):
    """One random point, which W&B sees, and one exact moment."""
    assert faults.main(["points", "--points=1"]) == []
    assert faults.main(["moments", "--only=SIGTERM in the last step"]) == []
    said = capsys.readouterr().out
    assert said.count("0 of 1 differ") == 2
    assert re.search(r"SIGKILL at [\d.]+% of evaluate, report, W&B online: stopped, goes on, equal \([\d.]+ s\)", said)
    assert "SIGTERM in the last step: 143, goes on, equal" in said


def test_verdicts_are_counted_for_each_law_of_the_noise():
    table = verdicts.main(["--studies=3", "--sizes", "3x3"])
    assert table.row_count == len(verdicts.LAWS) + 2
    false, power = ([float(cell) for cell in column.cells if cell] for column in table.columns[3:])
    assert 0 <= max(false) <= 100
    assert power[0] >= 200 / 3 - 1  # of equal noise: six standard deviations are seen
