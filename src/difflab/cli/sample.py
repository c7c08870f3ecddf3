"""`difflab-sample`: what can be done with a trained run: draw from it with any sampler, invert, interpolate, edit."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from difflab.cli.command import Found, main_of, words_of
from difflab.cli.line import Context
from difflab.experiment.machine.hardware import keep_heap
from difflab.experiment.parts.errors import kept, user_errors

POINTS = 1000  # samples that show a density


def sample(config: dict[str, Any], context: Context) -> Found:
    """Do the task with the run, and write what it found beside the recipe that it was done by."""
    keep_heap()  # before torch loads
    from difflab.experiment.model.conditions import Prompts
    from difflab.experiment.parts.build import build
    from difflab.experiment.parts.identity import line
    from difflab.experiment.references import with_runs
    from difflab.experiment.sampling.recipe import trained
    from difflab.experiment.store.files import check_writable, write_json
    from difflab.experiment.task.base import Job, Task
    from difflab.metric.card import digest

    with_guides, _ = with_runs(config, lambda _, rest: trained(rest))
    with user_errors():
        run, denoiser, weights, recipe, data = trained(with_guides)
        asked = {key: config[key] for key in ("problem", "restoration") if config[key]}
        if "problem" in asked:
            asked["problem"] = {**asked["problem"], "shape": list(denoiser.shape)}
        task: Task = build({**config["task"], **asked})
        seed, points = config["seed"], data.codec.cloud
        prompts = Prompts.of(config["prompts"], config["negative"])
        texts = {"prompts": [*prompts.texts], "negative": prompts.negative} if prompts else {}
        n = config["n"] if config["n"] is not None else POINTS if points else task.n
        any_label = Job(run, denoiser, recipe, n, seed, (), config["batch_size"], run.folder, data, prompts=prompts)
        if config["label"] is not None and config["labels"]:
            raise ValueError(f"label={config['label']} and labels={config['labels']}: give one of them")
        names = config["labels"] if config["label"] is None else [config["label"]]
        key = "labels" if config["label"] is None else "label"
        labels = tuple(any_label.label_of(key, name) for name in names)
        label = None if not labels else labels[0] if len(labels) == 1 else [*labels]
        how = {key: line(getattr(recipe, key)) for key in ("sampler", "grid", "path", "precision")}
        how["guidance"] = ", ".join(map(line, recipe.chain.parts))
        words = [type(task).__name__.lower(), type(recipe.sampler).__name__.lower()]
        about = [line(task), how, weights, label, *texts.values()]
        words += [f"nfe{recipe.nfe}", f"seed{seed}", f"n{n}", digest(about)[:6]]
        folder = Path(config["out"]) if config["out"] else run.folder / "samples" / "-".join(words)
        job = replace(any_label, asked=labels, folder=folder)
        task.require(job)
        check_writable(folder, "out=FOLDER writes to another folder")
    start = time.monotonic()
    with kept():
        picture, images, nfe, measured = task(job)
    seconds = time.monotonic() - start
    facts = {"task": line(task), **how, "weights": weights, "seed": seed, "label": label, "n": n, **texts}
    # The log-SNR of pure noise and the PSNR of an exact reconstruction are infinite, which JSON does not have.
    finite = {name: value if math.isfinite(value) else None for name, value in measured.items()}
    write_json(folder / "report.json", facts | {"nfe": nfe, "seconds": seconds, "measured": finite})
    kind = f"{'point' if points else 'image'}{'s' * (images != 1)}"
    print(f"{images} {kind}, {nfe:g} network evaluations each, {seconds:.1f} s: {picture}")
    if measured:
        print(", ".join(f"{name} {value:.4g}" for name, value in measured.items()))
    return None


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    main_of(program, "sample", words, sample)


if __name__ == "__main__":
    main()
