"""`difflab-sample`: every task as a user runs it."""

import json

import numpy as np
import pytest
from PIL import Image

from difflab.experiment.store.run import find
from helpers.jobs import run_here
from helpers.pictures import faults, tiles_of, words_of
from helpers.runs import EXACT, write_exact_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two runs without training: the digits themselves, by their labels, and points."""
    folder = tmp_path_factory.mktemp("runs")
    for name in EXACT:
        write_exact_run(folder, name)
    return folder


def sample(folder, *words):
    """What `difflab-sample` does with these words."""
    run_here("sample", f"runs_dir={folder}", "precision=fp32", *words)


WRITTEN = [  # the words, and the tiles across and down of each picture
    (["run=digits", "task=draw", "n=12", "task.singles=true"], {"grid.png": (10, 2), "000011.png": None}),
    (["run=digits", "task=invert", "n=5"], {"invert.png": (5, 3)}),
    (
        ["run=digits", "task=interpolate", "n=2", "task.frames=4"],
        {"interpolate.png": (4, 2), "interpolate.gif": (2, 1)},
    ),
    (["run=digits", "task=edit", "n=20", "task.label=3"], {"edit.png": (4, 10)}),
    (["run=digits", "task=edit", "n=20", "task.label=3", "task.invert=true"], {"edit.png": (4, 10)}),
    (
        ["run=digits", "task=trajectory", "n=2", "task.columns=3"],
        {"trajectory.png": (3, 4), "trajectory.gif": (2, 2)},
    ),
    (["run=digits", "task=classes", "n=3"], {"classes.png": (3, 10)}),
    (
        ["run=digits", "task=restore", "n=5", "problem=super_resolution", "restoration=pigdm", "task.noise_std=0.1"],
        {"restore.png": (5, 3)},
    ),
    (["run=points", "task=draw"], {"grid.png": (1, 1)}),
    (["run=points", "task=invert"], {"invert.png": (1, 3)}),
    (["run=points", "task=interpolate", "task.frames=4"], {"interpolate.png": (4, 1), "interpolate.gif": (1, 1)}),
    (
        ["run=points", "task=trajectory", "task.columns=3"],
        {"trajectory.png": (1, 1), "densities.png": (3, 2), "trajectory.gif": (1, 2)},
    ),
]
TEXTS = {  # what a reader sees in the first picture, by its name and the first words
    ("digits", "draw"): ["12 samples", "0 1 2 3 4 5 6 7 8 9", "run digits", "sampler Heun", "NFE 11", "seed 0"],
    ("digits", "invert"): ["held-out", "encoded noise", "log-SNR −10", "reconstruction", "PSNR"],
    ("digits", "interpolate"): ["0 0.33 0.67 1", "by seed 0", "by seed 1"],
    ("digits", "edit"): ["held-out to 3 held-out to 3", "NFE"],
    ("digits", "trajectory"): ["t=1 log-SNR −10", "t=0 log-SNR ∞", "0 x_t 0 x0 estimate 1 x_t 1 x0 estimate"],
    ("digits", "classes"): ["0 1 2 3 4 5 6 7 8 9", "guidance none"],
    ("digits", "restore"): [
        "SuperResolution restored by PiGDM",
        "pseudo-inverse",
        "PSNR",
        "noise of the measurement 0.1",
    ],
    ("points", "draw"): ["1,000 samples", "−2 −1 0 1 2 −2 −1 0 1 2"],
    ("points", "invert"): ["RMSE", "−2 0 2"],
    ("points", "interpolate"): ["0 0.33 0.67 1"],
    ("points", "trajectory"): ["x_t of 300 samples, from noise (○) to data (●)"],
}


def test_every_task_writes_its_pictures_and_how_they_were_made(runs, tmp_path, capsys, subtests):
    for k, (words, pictures) in enumerate(WRITTEN):
        out = tmp_path / str(k)
        with subtests.test(" ".join(words)):
            sample(runs, *words, f"out={out}")
            data, task = (word.partition("=")[2] for word in words[:2])
            for name, tiles in pictures.items():
                picture = Image.open(out / name)
                if name.endswith("gif"):
                    assert picture.n_frames > 1
                elif tiles is None:
                    assert picture.size == (8, 8)
                else:
                    assert tiles_of(picture) == tiles
                    assert faults(picture, cloud=data == "points") == []
            shown = words_of(Image.open(out / next(iter(pictures))))
            assert [text for text in TEXTS[data, task] if text not in shown] == []
            said, report = capsys.readouterr().out, json.loads((out / "report.json").read_text())
            assert f"{next(iter(pictures))}" in said
            assert report["task"].lower().startswith(words[1].removeprefix("task="))
            assert report["sampler"] == "Heun()"
            levels = {"log_snr", "least_std", "largest_std", "rmse"}
            found = {
                "task=invert": levels | {"psnr"} if data == "digits" else levels,
                "task=restore": {"psnr", "psnr_pinv"},
            }
            assert set(report["measured"]) == found.get(words[1], set())


def test_every_task_writes_its_samples_as_arrays(runs, tmp_path, subtests):
    for words, shape, labels, others in [
        (["task=draw", "n=12"], (12, 8, 8, 1), [*range(10), 0, 1], {}),
        (["task=draw", "n=2", "label=3"], (2, 8, 8, 1), [3, 3], {}),
        (["task=draw", "n=3", "labels=3"], (3, 8, 8, 1), [3, 3, 3], {}),
        (["task=draw", "n=3", "labels=[3,1]"], (3, 8, 8, 1), [3, 1, 3], {}),
        (["task=classes", "n=2", "labels=[3,1]"], (4, 8, 8, 1), [3, 3, 1, 1], {}),
        (["task=invert", "n=2"], (2, 8, 8, 1), [0, 1], {"held_out": (2, 8, 8, 1), "noise": (2, 8, 8, 1)}),
        (["task=interpolate", "n=2", "task.frames=3"], (6, 8, 8, 1), [0, 1] * 3, {"weights": (6,)}),
        (
            ["task=edit", "n=2", "task.label=3"],
            (2, 8, 8, 1),
            [3, 3],
            {"held_out": (2, 8, 8, 1), "held_out_labels": (2,)},
        ),
        (
            ["task=trajectory", "n=2"],
            (2, 8, 8, 1),
            [0, 1],
            {"x_t": (7, 2, 8, 8, 1), "x0": (7, 2, 8, 8, 1), "times": (7,), "log_snr": (7,)},
        ),
        (["task=classes", "n=1"], (10, 8, 8, 1), [*range(10)], {}),
        (
            ["task=restore", "n=2", "problem=deblur", "restoration=pigdm"],
            (2, 8, 8, 1),
            [0, 1],
            {"held_out": (2, 8, 8, 1), "pseudo_inverse": (2, 8, 8, 1)},
        ),
    ]:
        with subtests.test(" ".join(words)):
            sample(runs, "run=digits", *words, f"out={tmp_path}")
            found = np.load(tmp_path / "samples.npz")
            assert (found["arr_0"].shape, found["arr_0"].dtype) == (shape, np.uint8)
            assert found["labels"].tolist() == labels
            assert {name: found[name].shape for name in found.files if name not in ("arr_0", "labels")} == others
    sample(runs, "run=points", "n=5", f"out={tmp_path}")
    assert {name: found.shape for name, found in np.load(tmp_path / "samples.npz").items()} == {"arr_0": (5, 2)}


def test_what_inversion_prints_is_what_it_writes(runs, tmp_path, capsys):
    sample(runs, "run=points", "task=invert", "nfe=99", "n=200", f"out={tmp_path}")
    measured = json.loads((tmp_path / "report.json").read_text())["measured"]
    assert f"rmse {measured['rmse']:.4g}" in capsys.readouterr().out
    assert measured["rmse"] < 0.015  # the noise that the way up begins with has .011


def test_tasks_do_not_share_a_folder(runs):
    for words in (
        ["task=classes"],
        ["task=classes", "seed=1"],
        ["task=interpolate"],
        ["task=interpolate", "task.to=2"],
    ):
        sample(runs, "run=digits", "n=1", *words)
    folders = {path.parent.name for path in find(runs, "digits").folder.glob("samples/*/report.json")}
    assert len(folders) == 4


def test_what_cannot_be_done_is_refused_before_anything_is(runs, tmp_path, subtests):
    for words, message in [
        (["run=points", "task=classes"], "this run is unconditional"),
        (["run=digits", "label=seven"], "label=seven is none of this run's 10 classes, which count from 0: 0 "),
        (["run=digits", "task=edit", "task.label=seven"], "task.label=seven is none of this run's 10 classes"),
        (["run=points", "task=edit", "task.label=0"], "this run is unconditional"),
        (["run=points", "task.singles=true"], "these samples are points"),
        (["run=digits", "label=2", "labels=[1,2]"], "label=2 and labels="),
        (["run=digits", "labels=[1,seven]"], "labels=seven is none of this run's 10 classes"),
        (["run=digits", "task=edit"], "please give a value: task.label"),
        (["run=digits", "task=edit", "task.label=10"], "none of this run's 10 classes"),
        (["run=digits", "task=edit", "task.label=1", "task.strength=2"], "must lie in"),
        (["run=digits", "task=edit", "task.label=1", "task.invert=true", "sampler=ancestral"], "choose sampler="),
        (["run=digits", "task=interpolate", "sampler=ancestral"], "choose sampler="),
        (["run=digits", "task=interpolate", "task.frames=1"], "two ends"),
        (["run=digits", "task=trajectory", "task.columns=1"], "two at least"),
        (["run=digits", "task=invert", "n=1000"], "held-out samples with the label 0: 27 exist"),
        (["run=digits", "task=restore"], "Restore needs problem=, restoration="),
        (["run=digits", "problem=deblur"], "'problem' is not a key of Draw"),
        (["run=points", "task=restore", "problem=deblur", "restoration=dps"], "inverse problems are about images"),
        (["run=digits", "task=restore", "problem=deblur", "restoration=dps", "task.noise_std=-1.0"], "noise_std=-1"),
        (["run=digits", "n=0"], r"n=0 must lie in \[1, "),
        (["run=digits", "label=10"], "none of this run's 10 classes"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(SystemExit, match=message):
                sample(runs, *words, f"out={tmp_path / 'out'}")
            assert not (tmp_path / "out").exists()
