"""A dry run and the check before work refuse what the work would fail at, and leave no run behind."""

import errno
import fcntl
import re

import numpy as np
import pytest
from PIL import Image

from difflab.cli import train
from difflab.experiment.machine.lock import check_lockable
from difflab.experiment.parts.errors import UserError
from difflab.experiment.store.files import check_writable

WORDS = ["data=folder", "data.shape=[3,16,16]", "data.source.root=imgs", "backbone.width=16"]
WORDS += ["backbone.multipliers=[1,1]", "backbone.attention=[]", "logger=local", "protocol.n=0", "nfe=3", "trainer=cpu"]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """60 pictures, 54 of them for training."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imgs").mkdir()
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 28, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "imgs" / f"{i:03}.png")
    return tmp_path


def test_what_a_training_would_fail_at_is_refused_by_its_rehearsal(pictures, capsys, subtests):
    (pictures / "file").write_text("")
    for words, said in [
        ([], r"batch_size=128 must lie in 1\.\.\d+, the number of training images"),
        (["batch_size=8", "runs_dir=file/runs"], r"file is a file, where a folder should be: runs_dir=FOLDER"),
        (["batch_size=8", "seed=-1"], r"seed=-1 must lie in \[0, "),
        (["batch_size=8", "images=4"], r"images=4 is less than one batch"),
        (["batch_size=8", "images=1e22"], r"images=1\d+ must lie in \[1, "),
        (["batch_size=8", "backbone.width=0"], r"width=0 in .* must lie in \[1, "),
        (["batch_size=8", "data.source.held_out=0.001"], r"data\.source\.held_out=0\.001 puts 0 of the 60 images"),
    ]:
        for rehearsal in [[], ["dry_run=true"]] if not words or "runs_dir" in words[-1] else [["dry_run=true"]]:
            with subtests.test(" ".join([*words, *rehearsal])):
                with pytest.raises(SystemExit) as refusal:
                    train.main(["difflab-train", *WORDS, *words, *rehearsal])
                assert len(refusal.value.code.splitlines()) == 1
                assert re.search(said, refusal.value.code)
                assert "run:" not in capsys.readouterr().out
                assert not [*pictures.rglob("config.yaml")]


def test_a_folder_is_tried_without_being_made(tmp_path):
    check_writable(tmp_path / "a" / "b", "", make=False)
    check_lockable(tmp_path / "a" / "b")
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match=r"cannot be written to|is a file"):
        check_writable(tmp_path.joinpath("/proc/version/runs"), "out=FOLDER", make=False)


def test_a_share_without_locks_is_refused_with_the_way_out(tmp_path, monkeypatch):
    """As NFS without a lock daemon answers."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match=r"without file locks .*: runs_dir=FOLDER keeps runs on another one"):
        check_lockable(tmp_path)
    assert not [*tmp_path.iterdir()]
