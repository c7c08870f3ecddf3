"""The help and the types of settings, which are made from the files of conf/ and their comments."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from difflab.cli.help import text
from difflab.experiment.config.compose import register_settings
from difflab.experiment.config.files import Setting, family, options, places, read
from difflab.experiment.config.settings import TYPES, hint
from difflab.experiment.parts.build import WORDS
from difflab.experiment.parts.search_path import conf_dir

COMMANDS = ("train", "evaluate", "sample", "reflow")
FILES = sorted(str(path.relative_to(conf_dir()).with_suffix("")) for path in Path(conf_dir()).rglob("*.yaml"))
GROUPS = sorted(folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir())


def flat(node, path=()):
    """The leaves of nested dicts by dotted key, other than the classes that they name."""
    if not isinstance(node, Mapping):
        return {".".join(path): node}
    inner = (flat(child, (*path, key)) for key, child in node.items() if key not in WORDS)
    return {key: value for each in inner for key, value in each.items()}


def composed(command, words=()):
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return OmegaConf.to_container(compose(command, [*words]), resolve=True)


def stated(said, title):
    """The words KEY=VALUE at the beginning of the lines of a section of the help, as (KEY, VALUE)."""
    section = re.search(rf"^[^\n]*{re.escape(title)}[^\n]*:\n\n(.*?)(\n\n|\Z)", said, re.MULTILINE | re.DOTALL)
    return re.findall(r"^  (\S+)=(\S+)", section[1], re.MULTILINE) if section else []


def test_the_files_are_read_as_yaml_reads_them():
    for name in FILES:
        node = yaml.safe_load(Path(conf_dir(), f"{name}.yaml").read_text())
        values = {key: value for key, value in node.items() if key not in ("defaults", "hydra")}
        assert {each.key: yaml.safe_load(each.value) for each in read(name).settings} == flat(values), name


def test_comments_are_those_beside_the_values():
    file = read("data/folder")
    assert file.about.startswith("Any folder of images, flat or with one subfolder for each class")
    assert Setting("source.held_out", "0.1", "share of held-out images") in file.settings
    assert Setting("classes", "${classes_in:${data.source.root}}", "") in file.settings
    assert read("experiment/toy").package == ""
    assert [choice.word for choice in read("trained").choices] == [
        "sampler",
        "schedule@sampler.schedule",
        "grid",
        "guidance",
        "range",
    ]


def test_everything_that_help_lists_has_a_meaning():
    """Every option, command, group and setting of a command has a comment."""
    assert [name for name in FILES if not read(name).about] == []
    for command in COMMANDS:
        own = [setting for file in family(command) for setting in file.settings if "." not in setting.key]
        assert [setting.key for setting in own if not setting.comment] == []
        assert [choice.place for choice in places(command).values() if not choice.comment] == []


def test_what_help_states_is_the_configuration(subtests):
    """Its words, typed again, change nothing; and each setting of the configuration is stated."""
    for command, words in [
        ("train", []),
        ("train", ["paradigm=edm", "backbone=dit", "seed=3"]),
        ("train", ["experiment=toy", "data=moons"]),
        ("train", ["guidance=classifier_free", "protocol=paper", "protocol.extractor=lite0"]),
        ("evaluate", ["protocol=standard", "n=12"]),
        ("sample", ["task=interpolate", "sampler=ddim"]),
        ("reflow", ["pairs=100"]),
    ]:
        with subtests.test(" ".join([command, *words])):
            said, groups = text(command, [*words, "--help"]), places(command)
            word_of = {place: choice.word for place, choice in groups.items()}
            typed = [f"{word_of.get(key, key)}={value}" for key, _, value in (word.partition("=") for word in words)]
            every = [pair for title in ("GROUP=OPTION", "KEY=VALUE", "of the parts") for pair in stated(said, title)]
            restated = [f"{word_of.get(key, key)}={value}" for key, value in every if value not in ("???", "null")]
            config = composed(command, typed)
            assert len(restated) >= 4
            assert composed(command, [*typed, *restated]) == config
            settings = {key for key, value in config.items() if not isinstance(value, dict)} - groups.keys()
            assert {key for key, _ in stated(said, "KEY=VALUE")} == settings


def test_help_lists_every_option_of_every_group_and_describes_each():
    seen = set()
    for command in COMMANDS:
        said = " ".join(text(command).split())
        for place, choice in places(command).items():
            seen.add(choice.group)
            assert ", ".join(options(choice.group)) in said, place
            page = text(command, ["--help", place])
            for option in options(choice.group):
                assert (
                    f"  {place}={option}" in [line.rstrip() for line in page.splitlines()]
                    or f"  {place}={option} " in page
                )
                assert read(f"{choice.group}/{option}").about in " ".join(page.split())
    assert seen == {*GROUPS}


def test_help_shows_the_settings_that_are_shared_by_the_options_of_a_group():
    page = text("train", ["data"])
    assert re.search(r"data\.source\.n=100_000 +training samples", page)
    assert re.search(r"data\.flip=false +mirror", page)


def test_help_takes_no_torch():
    """Its own process loads nothing heavy: help is text, and comes at once."""
    code = """
import sys
from difflab.cli.help import text
print(text("train", ["--help"]))
assert not {"torch", "lightning", "wandb", "numpy"} & set(sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for flag in ("--multirun", "--cfg job", "--info", "--config-dir", "-sc install=bash", "--hydra-help"):
        assert flag in said


def test_words_that_do_not_compose_are_refused_by_help_too():
    with pytest.raises(HydraException, match="nowhere"):
        text("train", ["data=nowhere", "--help"])


def test_values_of_a_wrong_type_are_refused_by_name(subtests):
    """For each setting that takes no text, which any word is; nor can a setting be set that conf/ does not state."""
    register_settings()
    for command in COMMANDS:
        with subtests.test(command):
            checked = []
            for setting in (each for file in family(command) for each in file.settings if "." not in each.key):
                if hint(setting) in (str, str | None, Any):
                    continue
                checked.append(setting.key)
                with pytest.raises(HydraException) as refused:
                    composed(command, [f"{setting.key}=abc"])
                assert f"full_key: {setting.key}" in f"{refused.value} {refused.value.__cause__}"
            assert {"nfe", "ema", "seed"} <= {*checked}
            with pytest.raises(HydraException, match="seeed"):
                composed(command, ["seeed=1"])


def test_numbers_are_taken_as_the_type_of_their_setting():
    assert composed("train", ["ema=[1,0.5]", "study=2024"]).items() >= {"ema": [1.0, 0.5], "study": "2024"}.items()
    assert composed("evaluate", ["n=null", "ema=0.99"]).items() >= {"n": None, "ema": 0.99}.items()


def test_the_type_of_a_setting_is_that_of_its_default_or_the_one_that_its_comment_states():
    assert hint(Setting("a", "80_000", "")) is int
    assert hint(Setting("a", "false", "")) is bool
    assert hint(Setting("a", "[0.999]", "")) == list[float]
    assert hint(Setting("a", "???", "str: a run")) is str
    assert hint(Setting("a", "null", "float: a decay")) == float | None
    for comment in ("", "a run", "text: a run"):
        with pytest.raises(ValueError, match=f"a: null needs a comment that begins .* valid: {', '.join(TYPES)}"):
            hint(Setting("a", "null", comment))


def test_the_settings_of_hydra_stand_once_and_hold_for_every_command():
    assert [name for name in FILES if "output_subdir" in Path(conf_dir(), f"{name}.yaml").read_text()] == ["base"]
    for command in COMMANDS:
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            hydra = compose(command, return_hydra_config=True).hydra
            logged = compose(command, ["hydra/job_logging=disabled"], return_hydra_config=True).hydra
        assert (hydra.run.dir, hydra.output_subdir, hydra.runtime.choices["hydra/job_logging"]) == (".", None, "stdout")
        assert logged.runtime.choices["hydra/job_logging"] == "disabled"
