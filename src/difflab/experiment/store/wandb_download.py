"""A model that is an artifact on W&B, as a run's folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import wandb
import yaml

from difflab.experiment.store.files import write_text

WEIGHTS, FACTS, CONFIG, RESULT, CARD = "weights.safetensors", "weights.json", "config.json", "result.json", "card.json"
BEST = "best"
PREFIX = "wandb:"  # of a word that names a run on W&B


def downloaded(word: str, runs_dir: Path) -> Path:
    """The folder of the run that `wandb:ENTITY/PROJECT/NAME:ALIAS` stands for, downloaded unless it is there.

    It is `runs_dir/wandb/ENTITY/PROJECT/NAME-VERSION/RUN`. It is a stranger's run: tensors and JSON alone are read, and
    it lies where no training takes it for its own. Raises ValueError for an artifact that is no model of difflab, and
    if W&B does not answer.
    """
    name = word.removeprefix(PREFIX)
    if not re.fullmatch(r"(\w[\w.-]*/){2}\w[\w.-]*:[\w.-]+", name):
        raise ValueError(f"{word} should be {PREFIX}ENTITY/PROJECT/NAME:ALIAS, as {PREFIX}me/difflab/digits:{BEST}")
    try:
        model = wandb.Api().artifact(name, type="model")
        if not re.fullmatch(r"v\d+", str(model.version)):
            raise ValueError(f"{model.version!r} is no version")
        version = runs_dir / "wandb" / f"{name.partition(':')[0]}-{model.version}"
        card = json.loads(Path(model.get_entry(CARD).download(str(version))).read_text())
        if not re.fullmatch(r"\w[\w.+-]*", str(card["run"])):
            raise ValueError(f"{card['run']!r} is no name of a run")
        folder: Path = version / card["run"]
        if (folder / "config.yaml").exists():  # it is written last, and a version never changes
            return folder
        for entry in (FACTS, RESULT, CONFIG, WEIGHTS):
            model.get_entry(entry).download(str(folder))
        config = json.loads((folder / CONFIG).read_text())
    except Exception as error:
        raise ValueError(f"{word}: W&B gives no such model: {error}") from error
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    return folder
