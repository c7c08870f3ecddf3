"""The entry point: Hydra's flags work wherever they stand, words are refused in one line, commands are listed."""

import subprocess
import sys

import pytest

from difflab.cli import main, train
from difflab.cli.extensions import outside_of
from difflab.cli.line import Line
from difflab.experiment.parts.search_path import using
from helpers.jobs import said_here

COMMANDS = {
    "train": ["data=digits", "seed=3", "images=640"],
    "evaluate": ["run=RUN", "nfe=3", "n=640"],
    "sample": ["run=RUN", "nfe=3", "seed=5"],
    "reflow": ["run=RUN", "nfe=3", "images=640"],
}
FLAGS = {  # words of a flag, and what it prints with the words of COMMANDS
    ("--cfg", "job"): ["runs_dir: runs\n", "640|seed: 5"],
    ("-c", "job"): ["runs_dir: runs\n", "640|seed: 5"],
    ("--cfg=job",): ["runs_dir: runs\n", "640|seed: 5"],
    ("--cfg", "job", "--resolve"): ["runs_dir: runs\n", "640|seed: 5"],
    ("--cfg", "hydra"): ["sweeper:"],
    ("--cfg", "job", "--package", "runs_dir"): ["runs\n"],
    ("--help",): ["runs_dir=runs", "difflab-"],
    ("-h",): ["runs_dir=runs", "difflab-"],
    ("--hydra-help",): ["Hydra"],
    ("--info",): ["Config search path|Defaults"],
    ("-i",): ["Config search path|Defaults"],
    ("--info", "searchpath"): ["provider|Provider"],
    ("--info=defaults",): ["_self_|Config path"],
    ("--version",): ["difflab 0."],
}


def positions(words, flag):
    """The flag before, between and after the words."""
    for k in range(len(words) + 1):
        yield [*words[:k], *flag, *words[k:]]


def parsed(name, words):
    """The line of these words, which is all that a command knows of them."""
    with using(outside_of(words)):
        return Line.of(f"difflab-{name}", name, words)


@pytest.mark.long
def test_hydras_flags_work_in_any_position_of_every_command(tmp_path, subtests):
    """A flag makes the same line of the words in each position of each command.

    It is run in one of them, another one for each flag; each command runs a quarter of the flags.
    """
    for j, (name, words) in enumerate(COMMANDS.items()):
        for k, (flag, expected) in enumerate(FLAGS.items()):
            with subtests.test(" ".join((name, *flag))):
                lines = [*positions(words, flag)]
                assert {parsed(name, line) for line in lines} == {parsed(name, lines[0])}
                if k % len(COMMANDS) == j:
                    said = said_here(name, *lines[k % len(lines)], cwd=tmp_path)
                    assert all(any(word in said for word in each.split("|")) for each in expected), said


def test_flags_that_run_jobs_work_in_any_position(tmp_path, monkeypatch, capsys, subtests):
    monkeypatch.chdir(tmp_path)
    words = ["experiment=toy", "data=moons", "images=640", "batch_size=64", "dry_run=true", "logger=local"]
    for k, flag in enumerate((["-m"], ["--multirun"], ["--run"], ["-r"], ["--config-dir", "."])):
        with subtests.test(flag[0]):
            lines = [*positions(words, flag)]
            assert {parsed("train", line) for line in lines} == {parsed("train", lines[0])}
            train.main(["difflab-train", *lines[k]])
            assert "jobs: 1; runs: 1, of which 1 to train" in " ".join(capsys.readouterr().out.split())


def test_a_path_with_letters_that_hydras_grammar_lacks_needs_no_quotes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["runs_dir=grün/å"], ["runs_dir=grün/å b", "-m"]):
        train.main(["difflab-train", "experiment=toy", "data=moons", "dry_run=true", "logger=local", *words])
        assert "1 to train" in " ".join(capsys.readouterr().out.split())


def test_completion_knows_the_groups(capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "difflab-train data=dig")
    monkeypatch.setenv("_HYDRA_OLD_COMP", "")
    for line in positions(["query=bash"], ["-sc"]):
        train.main(["difflab-train", *line])
        assert "data=digits" in capsys.readouterr().out


def test_flags_and_overrides_are_told_apart():
    line = Line.of("difflab-train", "train", ["a=1", "--cfg", "job", "-i", "b=2", "+c=3", "~d", "-m"])
    assert line.flags == ("--cfg", "job", "--info=all", "-m")
    assert line.words == line.overrides == ("a=1", "b=2", "+c=3", "~d")


def test_wrong_words_are_refused_in_one_line(tmp_path, monkeypatch, capsys, subtests):
    monkeypatch.chdir(tmp_path)
    for words, said in [
        (["sampler=ddm"], "difflab-train: sampler=ddm does not exist; valid: "),
        (["dat=digits"], "difflab-train: 'dat' is not a key of train; "),
        (["seed=abc"], "difflab-train: "),
        (["seed=0", "guidance=[]"], "difflab-train: guidance=[] chooses nothing"),
        (["data=folder"], "difflab-train: please give a value: data.source.root=..."),
        (["data=folder", "data.source.root=nowhere"], "difflab-train: no folder nowhere"),
        (["images=3"], "difflab-train: images=3 is less than one batch"),
        (["--config-dir", "nowhere"], "difflab-train: --config-dir nowhere: there is no such folder"),
        (["sampler=ddim,hein", "-m"], "difflab-train: sampler=hein does not exist; valid: "),
        (["teacher=nothing", "paradigm=rectified_flow", "seed=1"], "difflab-train: teacher=nothing: no such folder"),
        (["teacher=nothing"], "difflab-train: teacher=nothing: DDPM has no use for a teacher"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(SystemExit) as refusal:
                train.main(["difflab-train", *words])
            assert refusal.value.code.startswith(said)
            assert len(refusal.value.code.splitlines()) == 1
            assert capsys.readouterr().out == ""
            assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_difflab_lists_its_commands_and_runs_them(capsys):
    for words in ([], ["--help"]):
        main.main(["difflab", *words])
        said = capsys.readouterr().out
        assert all(f"  {name} " in said for name in main.COMMANDS)
    main.main(["difflab", "train", "data=digits", "--cfg", "job"])
    by_one = capsys.readouterr().out
    train.main(["difflab-train", "data=digits", "--cfg", "job"])
    assert capsys.readouterr().out == by_one
    with pytest.raises(SystemExit, match=r"difflab: trian is no command; valid: .*Did you mean 'train'\?"):
        main.main(["difflab", "trian"])
    listed = subprocess.run([sys.executable, "-m", "difflab"], capture_output=True, text=True, check=True).stdout
    assert listed == said


def test_a_reader_that_has_gone_ends_the_help_without_a_word(tmp_path):
    command = [sys.executable, "-m", "difflab", "train", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
