"""The benchmarks, run with sizes of moments."""

import json
import re

import pytest
from PIL import Image

from benchmarks import derivatives, faults, gpu, inverse_problems, speed, training_step, verdicts
from helpers.conf import options
from helpers.pictures import faults as picture_faults
from helpers.pictures import tiles_of
from helpers.runs import write_exact_run


@pytest.mark.long
def test_training_steps_are_measured_for_every_variant(capsys):
    """The operations counted are those of each image."""
    words = ["--width=16", "--rounds=1", "--steps=1", "--matrix=32"]
    few, many = (training_step.main([*words, f"--batch={batch}"]) for batch in (1, 2))
    assert many.flop == 2 * few.flop > 0
    said = capsys.readouterr().out.splitlines()[-len(many.ratios) - 1 :]
    for line, (name, ratio) in zip(said, many.ratios.items(), strict=False):
        assert line.split() == f"{name} {ratio:.2f} times the default's time".split()
    assert f"{many.images_per_s:.0f} images/s, {many.flop * many.images_per_s / 2 / many.peak:.0%} of" in said[-1]


@pytest.mark.long
def test_everything_is_measured_and_compared_with_the_run_before(tmp_path, capsys):
    """In a table, a JSON and a figure; of two runs the second names how much faster it is."""
    words = ["--small", "--rounds=1", "--window=0.001", f"--out={tmp_path}"]
    first, _ = speed.main(words), capsys.readouterr()
    assert json.loads((tmp_path / "speed.json").read_text()) == first
    assert Image.open(tmp_path / "speed.png").width > 100
    assert [name for name, each in speed.rows(first).items() if not each["seconds"] > 0 and "loop" not in name] == []
    again = speed.table(first, first)
    assert set(again.columns[-1].cells) == {"", "1.00"}
    steps = [each for name, each in speed.rows(first).items() if "training step" in name]
    assert len(steps) == 2
    assert all(each["flop_per_s"] > 0 for each in steps)


@pytest.mark.long
def test_every_part_of_the_script_for_accelerators_runs():
    """Here on the CPU: no part fails, outputs are those of the CPU, and noise is."""
    found = gpu.main(["--small"])
    assert [*found] == [*gpu.PARTS]
    assert [row for rows in found.values() for row in rows if "FAILED" in row[0] + row[1]] == []
    assert ("noise equals the CPU's", "True") in found["noise"]
    errors = {name: float(text) for name, text in found["correctness"]}
    assert all(error < (1e-5 if "fp32" in name else 0.1) for name, error in errors.items()), errors


@pytest.mark.long
def test_derivatives_are_timed_and_compared(capsys):
    """Both are near that in float64, and so are the networks after four steps."""
    found = derivatives.main(["--width=16", "--batch=4", "--steps=4"])
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0].strip() for line in said[-2:]] == [*found] == ["forward mode", "difference"]
    forward, difference = found.values()
    assert max(forward.error, difference.error) < 0.05
    assert 0 < difference.residual == pytest.approx(forward.residual, rel=0.05)


@pytest.mark.long
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


@pytest.mark.long
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
