"""Whatever a user types and whatever a file holds: it works, or one line says why not."""

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from difflab.experiment.config.compose import compose
from difflab.experiment.store.run import Run
from difflab.experiment.store.stored import load_json, load_yaml
from difflab.experiment.store.stored_evaluation import load_evaluation
from difflab.experiment.store.weights import load_module
from difflab.report.record import config_of, read_record
from helpers import hostile

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = ["lr", "seed", "images", "sampler", "data", "backbone.width", "ema", "nfe", "paradigm"]


@settings(max_examples=6)
@given(st.sampled_from(WORDS) | st.text(max_size=10), PLAIN | st.text(max_size=30))
def test_words(key, value):
    text = value if isinstance(value, str) else json.dumps(value)
    with suppress(ValueError):
        compose("train", [f"{key}={text}"])


@settings(max_examples=60)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
def test_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(content)
    for read in (load_json, load_yaml, load_evaluation):
        with suppress(ValueError):
            read(path)


@settings(max_examples=10)
@given(data=st.data(), value=PLAIN)
def test_single_values_of_a_run(tmp_path_factory, data, value):
    """Of the configuration, of an evaluation, and of how to build the network of the weights."""
    run = Run(hostile.sound_run(tmp_path_factory.mktemp("values")))
    path, load, dump = data.draw(st.sampled_from([*hostile.documents(run.folder)]))
    whole = load(path.read_text())
    place = data.draw(st.sampled_from([*hostile.places(whole)]))
    with suppress(ValueError):
        path.write_text(dump(hostile.changed(whole, place, value)))
    with suppress(ValueError):
        read_record(run, config_of(run), hostile.evaluation_of(run.folder))
    with suppress(ValueError):
        load_module(run)
