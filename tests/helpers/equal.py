"""Whether two runs came to the same, bit by bit."""

import json

import torch
from safetensors.torch import load_file


def content(run):
    """All that must be equal: raw and averaged weights, the optimizer, the log, the evaluations."""
    state = torch.load(run.checkpoint, weights_only=True)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": load_file(run.weights),
        "raw": state["state_dict"],
        "optimizer": state["optimizer_states"][0]["state"],
        "averages": state["callbacks"]["EMA"],
        "rows": [{key: value for key, value in row.items() if "per_s" not in key} for row in rows],
        "result": {key: value for key, value in run.result.items() if key != "training"},
        "measured": [json.loads(path.read_text())["metrics"] for path in run.folder.glob("evaluations/*.json")],
    }


def unlike(one, other, where=""):
    """Where two nested values differ, tensors bit by bit: the keys that lead there, and both ends unless long."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if key in one and key in other:
                yield from unlike(one[key], other[key], f"{where} {key}")
            else:
                yield f"{where} {key} is only in the {'first' if key in one else 'second'}"
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for k, pair in enumerate(zip(one, other, strict=True)):
            yield from unlike(*pair, f"{where} {k}")
    elif isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        if not torch.equal(one, other):
            yield f"{where} differs"
    elif one != other:
        yield f"{where} is {str(one)[:60]} and {str(other)[:60]}"
