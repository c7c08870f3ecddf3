"""The protocol card: its fingerprint follows every field, and it survives JSON."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version

from difflab.metric.card import ProtocolCard, digest
from difflab.metric.features import EfficientNetLite0


def card(**changes):
    facts = {
        "n_generated": 2000,
        "n_likelihood": 16,
        "n_reference": 2000,
        "reference": "fashion16/test",
        "reference_sha256": "52d6",
        "extractor": EfficientNetLite0.name,
        "extractor_sha256": EfficientNetLite0.sha256,
        "resize": EfficientNetLite0.resize,
        "sampler": "ddim",
        "grid": "uniform",
        "path": "as trained",
        "nfe": 20,
        "guidance": "none",
        "weights": "ema=0.999",
        "labels": "balanced",
        "classifier": "none",
        "precision": "fp32",
        "seed": 0,
    }
    return ProtocolCard(**(facts | changes))


def test_cards_name_their_differences():
    assert card().differences(card()) == ()
    assert card().differences(card(nfe=10, resize="bilinear")) == ("resize", "nfe")
    assert card(nfe=10).differences(card()) == ("nfe",)


def test_the_fingerprint_follows_every_field():
    fields = [f.name for f in dataclasses.fields(ProtocolCard)]
    others = [dataclasses.replace(card(), **{name: {"torch": "0"} if name == "versions" else -1}) for name in fields]
    assert len({card().fingerprint, *(other.fingerprint for other in others)}) == len(fields) + 1


def test_equal_cards_have_equal_fingerprints_and_survive_json():
    again = ProtocolCard(**json.loads(json.dumps(card().to_dict())))
    assert again == card() == card(nfe=20.0)
    assert again.fingerprint == card().fingerprint == card(nfe=20.0).fingerprint
    assert hash(again) == hash(card())


def test_cards_record_the_installed_versions():
    assert card().versions == {"difflab": version("difflab"), "torch": version("torch")}


def test_a_digest_is_the_sha256_of_canonical_json_in_any_order():
    assert digest({}) == "44136fa355b3678a"  # of "{}"
    assert digest({"b": [1, {"d": 2, "c": 3}], "a": None}) == digest({"a": None, "b": [1, {"c": 3, "d": 2}]})
    assert digest([1, 2]) != digest([2, 1])
