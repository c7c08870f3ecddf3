"""RUN/summary.json: what only torch can compute of a run, computed once."""

from __future__ import annotations

import copy
import json
import math

import pytest

from difflab.experiment.parts.identity import seedless
from difflab.experiment.store.summary import computed, keep, summary_of
from helpers.studies import card, config, record, write_record


@pytest.fixture
def written(tmp_path):
    made = record(config("vp_sde"), card(), tmp_path, fd_lite0=1.0)
    write_record(made, pictures=False)
    return made.run


def test_a_summary_is_computed_once_and_read_again(written):
    first = summary_of(written, written.config)
    kept = json.loads((written.folder / "summary.json").read_text())
    assert first.identity == kept["identity"] == seedless(written.config)
    assert len(first.time_share[0]) == len(first.time_share[1])
    assert min(first.time_share[1]) < 0.01 < 0.99 < max(first.time_share[1])
    assert (kept["classes"][0], len(kept["classes"])) == ("T-shirt", 10)
    (written.folder / "summary.json").write_text(json.dumps({**kept, "classes": ["mine"]}))
    assert list(summary_of(written, written.config).classes) == ["mine"]


def test_a_summary_of_another_configuration_or_format_and_a_damaged_one_are_replaced(written):
    expected = summary_of(written, written.config)
    path = written.folder / "summary.json"
    kept = json.loads(path.read_text())
    for text in ("{", json.dumps({**kept, "format": 0, "classes": []}), json.dumps({**kept, "config_sha256": "0"})):
        path.write_text(text)
        assert summary_of(written, written.config).classes == expected.classes
        assert json.loads(path.read_text())["config_sha256"] == kept["config_sha256"]


def test_a_training_keeps_the_names_of_its_classes(written):
    keep(written, written.config, computed(written, written.config, ("a", "b")))
    assert list(summary_of(written, written.config).classes) == ["a", "b"]


def test_infinite_settings_are_kept_as_users_type_them(tmp_path):
    """As `model.optimisation.clip=inf`, which several presets recommend, and which JSON cannot hold."""
    whole = copy.deepcopy(config("vp_sde"))
    whole["model"]["optimisation"] |= {"clip": math.inf}
    made = record(whole, card(), tmp_path, fd_lite0=1.0)
    write_record(made, pictures=False)
    first = summary_of(made.run, made.run.config)
    assert first.identity["model.optimisation.clip"] == "inf"
    assert summary_of(made.run, made.run.config).identity == first.identity
