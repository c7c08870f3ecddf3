"""The search: what a word leaves open, what is asked for, what is kept, and what is refused."""

import json
import shlex
from dataclasses import fields

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from difflab.cli.search import Settings, search
from difflab.cli.search_space import Space, chosen, dimension, scores
from difflab.cli.search_study import Trials
from difflab.experiment.parts.errors import UserError
from helpers.conf import composed
from helpers.jobs import TOY, said_here

SHORT = [*TOY, "images=128"]
SPACE = ["sampler=ddim,heun", "nfe=range(4,13)"]
METRIC = "metric=w2"


def test_the_grammar_is_hydras(subtests):
    """What Hydra enumerates is what may be asked for; the end of a range or an interval is not in it."""
    for word, expected in [
        ("sampler=heun,ddim", CategoricalDistribution(["ddim", "heun"])),
        ("sampler=choice(ddim,heun)", CategoricalDistribution(["ddim", "heun"])),
        ("sampler=shuffle(heun,ddim)", CategoricalDistribution(["ddim", "heun"])),
        ("guidance=[none],[classifier_free,rescale]", CategoricalDistribution(["[classifier_free,rescale]", "[none]"])),
        ("compile=true,false", CategoricalDistribution(["False", "True"])),
        ("nfe=range(4,65)", IntDistribution(4, 64)),
        ("nfe=range(4,65,10)", IntDistribution(4, 64, step=10)),
        ("nfe=range(64,4,-20)", IntDistribution(24, 64, step=20)),
        ("nfe=tag(log,range(4,65))", IntDistribution(4, 64, log=True)),
        ("x=range(0,2,0.5)", FloatDistribution(0.0, 1.5, step=0.5)),
        ("x=interval(1,5)", FloatDistribution(1.0, 5.0)),
        ("lr=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("n=int(interval(16,65))", IntDistribution(16, 64)),
        ("n=tag(int,log,interval(1.5,9))", IntDistribution(2, 8, log=True)),
    ]:
        with subtests.test(word):
            override = OverridesParser.create().parse_override(word)
            assert dimension(override) == expected
            if override.is_range_sweep() and isinstance(expected, IntDistribution):
                assert set(override.sweep_iterator()) == set(range(expected.low, expected.high + 1, expected.step))


def test_a_glob_is_the_options_of_a_group():
    space = Space.of(["schedule=glob(ddpm_*)"])
    assert set(space.dimensions["schedule"].choices) >= {"ddpm_linear", "ddpm_cosine"}


def test_a_point_is_told_in_words_that_hydra_reads_back():
    assert chosen({"nfe": 7, "model.lr": 0.001234567890, "x": 1.0}) == ["model.lr=0.00123457", "nfe=7", "x=1.0"]


def test_the_settings_are_no_words_of_training():
    """Except dry_run, which says the same."""
    assert {field.name for field in fields(Settings)} & composed().keys() == {"dry_run"}


def test_a_search_is_named_by_what_it_asks_for(tmp_path):
    def name(*words, metric="w2", seed=0):
        return Trials.of(Space.of([*words, f"runs_dir={tmp_path}"]), metric, seed, None, keep=False).name

    known = name("seed=1", "sampler=ddim,heun", "nfe=range(4,9)")
    assert name("nfe=range(4,9,1)", "sampler=choice(heun,ddim)", "seed=1") == known
    others = [name("sampler=ddim,heun", "nfe=range(4,9)"), name("seed=1", "sampler=ddim,heun", "nfe=range(4,8)")]
    others += [
        name("seed=1", "sampler=ddim,heun", "nfe=range(4,9)", **other) for other in ({"metric": "energy"}, {"seed": 1})
    ]
    assert len({known, *others}) == 5
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of four points, and where it lies."""
    folder = tmp_path_factory.mktemp("searched")
    words = [*SHORT, *SPACE, METRIC, f"runs_dir={folder}"]
    assert search([*words, "trials=4"], "difflab-search") == []
    return folder, words


def trials(words, storage=None):
    space = Space.of([word for word in words if word != METRIC])
    return Trials.of(space, "w2", 0, storage, keep=True)


def test_a_search_trains_once_and_ends_in_what_is_best(searched, capsys):
    folder, words = searched
    assert len(list(folder.glob("*/result.json"))) == 1
    assert search([*words, "trials=4"], "difflab-search") == []
    said = capsys.readouterr().out
    assert "0 trained, 0 measured, 0 cached" in said
    found = trials(words)
    everything = [tuple(trial.values) for trial in found.measured]
    assert len(everything) == 4
    front = json.loads((folder / f"{found.name}.json").read_text())["front"]
    assert {(row["w2"], row["nfe"]) for row in front} == {
        v for v in everything if not any(beats(w, v) for w in everything)
    }
    evaluations = [json.loads(path.read_text()) for path in folder.glob("*/evaluations/*.json")]
    measured = {each["command"]: (each["metrics"]["w2"], each["cost"]["nfe"], each["study"]) for each in evaluations}
    for row in front:
        assert row["command"] in said
        assert measured[row["command"]] == (row["w2"], row["nfe"], found.name)
        assert shlex.split(row["command"])[0] == "difflab-evaluate"


def beats(a, b):
    """Whether a is as good as b in both, and better in one."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def test_a_search_goes_on_as_if_it_had_not_stopped(searched, capsys):
    """Even if that was in the midst of a point. What another search measured costs nothing."""
    folder, words = searched
    assert search([*words, "trials=6", "dry_run=true"], "difflab-search") == []
    assert "measured: 4, left: 2, to ask again: 0" in capsys.readouterr().out
    killed = trials(words).ask(None)
    assert search([*words, "trials=6"], "difflab-search") == []
    parts = trials(words).measured
    assert len(parts) == 6
    assert parts[4].params == killed.params
    other = f"{folder}/other.db"
    assert search([*words, "trials=6", f"storage={other}"], "difflab-search") == []
    assert "0 trained, 0 measured, 6 cached" in capsys.readouterr().out
    whole = trials(words, other).measured
    assert [(trial.params, trial.values) for trial in whole] == [(trial.params, trial.values) for trial in parts]


def test_a_point_that_fails_stops_no_other(searched, capsys):
    _, words = searched
    words = [word for word in words if word not in SPACE] + ["sampler=ddim,ancestral_learned", "nfe=4"]
    failed = search([*words, "trials=8"], "difflab-search")
    assert [line.partition(":")[0] for line in failed] == ["sampler=ancestral_learned"]
    assert "the variance that the network learned" in failed[0]
    said = capsys.readouterr().out
    assert f"failed: {failed[0]}" in said
    assert "sampler=ddim" in said[said.index("the best of") :]


def test_unlike_measurements_are_not_ranked(searched):
    _, words = searched
    with pytest.raises(UserError, match=r"n_generated.*storage=FILE begins another"):
        search([*words, "protocol.n=50,60", "trials=20"], "difflab-search")
    study = trials([*words, "protocol.n=50,60"]).study
    assert "n_generated" in study.trials[-1].user_attrs["reason"]
    assert TrialState.RUNNING not in {trial.state for trial in study.trials}


def test_the_scores_are_known_before_anything_is_trained(searched):
    folder, words = searched
    more = ["protocol.references=[test,train]", "protocol.n_likelihood=16", "study=both"]
    assert (
        search(
            [word for word in (*words, *more) if word != METRIC] + ["metric=w2_vs_train", "trials=1"], "difflab-search"
        )
        == []
    )
    evaluations = [json.loads(path.read_text()) for path in folder.glob("*/evaluations/*.json")]
    (found,) = [each["metrics"] for each in evaluations if each["study"] == "both"]
    known = set(scores(composed(*SHORT, *more)))
    assert known <= found.keys()
    assert known - {"nn_gap"} == {key for key in found if f"{key}_floor" in found} - {"n"}


def test_scores_of_texts_are_those_of_a_contrastive_pair(subtests):
    for pair, words in (("flow", ["protocol.contrastive=flow"]), (None, [])):
        with subtests.test(pair):
            known = scores(composed("data=emoji_captions", "book=tokens", "protocol=quick", *words))
            assert ({"text_alignment", "text_retrieval"} <= {*known}) == bool(pair)


def test_a_list_is_told_as_it_is(searched, capsys):
    _, words = searched
    times = "grid.times=[1000,600,300,100],[1000,500,200,100]"
    words = [word for word in words if word not in SPACE] + ["sampler=ddim", "nfe=4", "grid=explicit", times]
    assert search([*words, "trials=1"], "difflab-search") == []
    said = capsys.readouterr().out
    assert "grid.times=[1000," in said[said.index("the best of") : said.index("difflab-evaluate")]


def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, subtests):
    for words, said in [
        (["sampler=ddim,huen"], "Did you mean 'heun'?"),
        (["nfe=4,6", "optimizer.beta=1.0"], "Did you mean 'betas'?"),
        (["nfe=4,six"], "'six' is not a whole number"),
        (["nfe=range(4,4)"], "nfe=range(4,4): an empty range"),
        (["nfe=tag(log,range(4,64,4))"], "nfe=tag(log,range(4,64,4)): "),
        (["nfe=range(4,"], "nfe=range(4, does not close a bracket"),
        (["nfe=4"], "nothing to search"),
        (["nfe=4,6", "trials=many"], "trials: "),
        (["nfe=4,6", "metric=beauty"], "beauty is no score"),
        (["nfe=4,6", "metric=w2"], "metric=w2 is not measured with nfe=4; valid: fd_lite0, "),
        (["nfe=4,6", "protocol=toy,quick"], "metric=fd_lite0 is not measured with nfe=4 protocol=toy; valid: w2, "),
        (["nfe=4,6", "protocol.n=0"], "valid: none"),
        (["seed=0,1", "paradigm=classifier"], "valid: none"),
        (["nfe=4,6", "storage=nowhere/at/all.db"], "storage=nowhere/at/all.db: "),
        (["nfe=4,6", "experiment=paradigms_by_nfe"], "a sweep of its own"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(UserError) as refusal:
                search([f"runs_dir={tmp_path}", *words], "difflab-search")
            assert said in str(refusal.value)
            assert "\n" not in str(refusal.value)
            assert not list(tmp_path.glob("*.json"))


def test_the_command(tmp_path):
    assert "Settings of the search" in said_here("search", "--help", cwd=tmp_path)
    said = said_here("search", "sampler=ddim,huen", cwd=tmp_path, status=1)
    assert said.startswith("difflab-search: sampler=huen does not exist")
    assert not list(tmp_path.iterdir())
