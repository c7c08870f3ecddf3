"""The run that comes with the package, `run=demo`: a small DDPM on Fashion16, of classes, with weights in bf16.

It was made by the two commands::

    difflab-train backbone.width=32 images=200000 precision=fp32
    python -m difflab.experiment.store.demo runs/ddpm-fashion16-...
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import yaml

from difflab.experiment.parts.errors import UserError
from difflab.experiment.store.files import read_json, write_json, write_text

NAME = "demo"
FOLDER = "demo_run"  # beside this file
WEIGHTS = "weights.safetensors"


def unpack(runs_dir: Path) -> Path:
    """Copy the packaged run to `runs_dir/demo`, and return that folder. Samples and evaluations are written into it.

    Several processes may do so at once. Raises UserError where nothing can be written.
    """
    folder = runs_dir / NAME
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".demo-", dir=runs_dir) as unfinished:
            whole = Path(unfinished, NAME)
            with as_file(files("difflab.experiment.store").joinpath(FOLDER)) as packaged:
                shutil.copytree(packaged, whole)
            try:
                whole.rename(folder)
            except OSError:
                if not (folder / "config.yaml").exists():  # another process was not first
                    raise
    except OSError as error:
        raise UserError(f"run=demo is copied to {folder}: {error}; runs_dir=FOLDER names another folder") from error
    return folder


def pack(source: Path, folder: Path) -> int:
    """Write a finished run without its checkpoints, in bf16 and without a fingerprint; the bytes of its weights.

    Without one no training takes its rounded weights for its own result.
    """
    import torch  # here, as a report looks for runs without it
    from safetensors.torch import load, save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = load((source / WEIGHTS).read_bytes())
    data = save({key: value.to(torch.bfloat16) for key, value in tensors.items()})
    (folder / WEIGHTS).write_bytes(data)
    facts = read_json(source / "weights.json") or {}
    write_json(folder / "weights.json", {**facts, "sha256": hashlib.sha256(data).hexdigest(), "snapshots": {}})
    write_json(folder / "result.json", read_json(source / "result.json") or {})
    config = yaml.safe_load((source / "config.yaml").read_text())
    config = {key: value for key, value in config.items() if key != "fingerprint"}
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    for path in sorted((source / "evaluations").glob("*.json")):
        write_json(folder / "evaluations" / path.name, read_json(path))
    return len(data)


if __name__ == "__main__":
    print(f"{pack(Path(sys.argv[1]), Path(__file__).parent / FOLDER) / 1e6:.2f} MB")
