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


def same(one, other):
    """Whether two nested values are equal, tensors bit by bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
