"""A run's folder: how it is found, and what lies there.

RUN/config.yaml          the resolved configuration
    metrics.jsonl        every logged number, a line a step
    checkpoints/         last.ckpt: Lightning's, to go on from
    weights.safetensors  the averaged weights, with weights.json that says how to build their denoiser
    samples/             pictures
    evaluations/         metrics with their protocol cards, a file each, and pictures of what was measured
    wandb/               the mirror on W&B
    summary.json         what a report reads of it and only torch can compute
    result.json          what training came to; written last: the run is finished
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from difflab.experiment.parts.build import absolute
from difflab.experiment.parts.errors import made_from
from difflab.experiment.parts.identity import sources, sources_of
from difflab.experiment.parts.search_path import by_package, refusal
from difflab.experiment.store import demo
from difflab.experiment.store.files import read_json, write_text
from difflab.experiment.store.legacy import current
from difflab.experiment.store.stored import JSON, check_entries, check_fields, content, load_yaml
from difflab.experiment.store.typed import distinctions, fits, words_of

FORMAT = 4  # of config.yaml; difflab 0.1 wrote none
SUFFIX = 8  # of the fingerprint's hex digits, in a folder's name
FIELDS = {  # that each configuration has, and their types
    **{"seed": int, "images": int, "batch_size": int, "precision": str, "ema": Sequence[float]},
    **{"model": Mapping[str, Any], "data": Mapping[str, Any]},
}
LATER = {  # those that some have
    **{"format": int, "fingerprint": str, "command": str, "study": str | None, "runs_dir": str},
    **{"choices": Mapping[str, Any], "origins": Mapping[str, Mapping[str, Any]]},
}
LISTED = 12  # runs that a refusal names
TYPED = re.compile(r"[\w.+-]+")  # values of settings that are typed as they are
START = 200  # bytes in which a configuration's second line ends


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @classmethod
    def of(cls, runs_dir: Path, label: str, fingerprint: str) -> Run:
        """The run of a fingerprint: the folder that has it, under any name, or else a new one."""
        for path in sorted(runs_dir.glob("*/config.yaml")):
            if stamp(path) == fingerprint:
                return cls(check_entries(path.parent))
        return cls(runs_dir / f"{label}-{fingerprint[:SUFFIX]}")

    @property
    def checkpoint(self) -> Path:
        """The state to go on from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The averaged weights."""
        return self.folder / "weights.safetensors"

    @property
    def facts(self) -> Path:
        """How to build the denoiser of the weights; written after them."""
        return self.folder / "weights.json"

    @property
    def evaluations(self) -> Path:
        """The folder of what it was measured to."""
        return self.folder / "evaluations"

    @property
    def result(self) -> dict[str, Any] | None:
        """What a finished run found; None before, and where the file is damaged."""
        return read_json(self.folder / "result.json")

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration: plain values, from which nothing is run.

        Its `runs_dir` is where the run lies now, also where others that lay beside it are named. Raises ValueError if
        it is damaged, if a later difflab wrote it, or if it needs an extension that is off.
        """
        path = self.folder / "config.yaml"
        config = load_yaml(path)
        check_fields(config, FIELDS | {key: hint for key, hint in LATER.items() if key in config}, path)
        if config.get("format", 1) > FORMAT:
            raise ValueError(
                f"{path} is of format {config['format']}; this difflab reads {FORMAT}: install a later one"
            )
        with made_from(path):
            config = current(config)
        if off := [package for package in sources_of(config) if not by_package(package)]:
            raise ValueError(f"{self.folder} needs {' and '.join(map(refusal, off))}")
        config = {**config, "extensions": sources_of(config)}  # a list, as users type it, is none of a stored one
        here: dict[str, Any] = moved(config, config.get("runs_dir"), str(self.folder.parent))
        return here

    @property
    def changes(self) -> str:
        """A sentence on the extensions that it needs whose source has changed since its training; empty for none."""
        stored = sources_of(self.config)
        changed = [name for name, sha256 in stored.items() if (now := by_package(name)) and now.sha256 != sha256]
        return f"{self.folder.name} was trained with another source of {', '.join(changed)}" if changed else ""

    def copy_to(self, other: Run) -> None:
        """Have the configuration and the result in another folder, for evaluations that are kept there."""
        for name in ("config.yaml", "result.json"):
            if (self.folder / name).exists() and not (other.folder / name).exists():
                write_text(other.folder / name, content(self.folder / name, JSON).decode())

    def write_config(self, config: Mapping[str, Any], fingerprint: str, origins: Mapping[str, Any]) -> None:
        """Write the configuration, the run's fingerprint first, by which it is found; and what it was made from.

        That is its origins, and the extensions that it needs, by package, with the sha256 of their source.
        Paths of data become absolute: they say where the data lay, for commands that are started elsewhere.
        """
        about = {"origins": dict(origins), "extensions": sources(config)}
        whole = {"format": FORMAT, "fingerprint": fingerprint, **absolute(config), **about}
        write_text(self.folder / "config.yaml", yaml.safe_dump(whole, sort_keys=False))


def moved(node: Any, old: object, new: str) -> Any:  # noqa: ANN401  # plain values
    """Plain values in which each `runs_dir` that was `old` is `new`."""
    if isinstance(node, list):
        return [moved(each, old, new) for each in node]
    if not isinstance(node, Mapping):
        return node
    return {key: new if key == "runs_dir" and value == old else moved(value, old, new) for key, value in node.items()}


def stamp(path: Path) -> str:
    """The fingerprint in a configuration's second line, without parsing the rest; empty where there is none."""
    try:
        _, line, *_ = content(path, 2**40, START).decode(errors="replace").split("\n")
    except (OSError, ValueError):  # it is none, or no regular file
        return ""
    return line.removeprefix("fingerprint: ").strip() if line.startswith("fingerprint: ") else ""


def find(runs_dir: Path, name: str, word: str = "run") -> Run:
    """The run that a folder, a run's name or the unique beginning of one stands for; `word` is the key of the name.

    `wandb:ENTITY/PROJECT/NAME:ALIAS` is a model on W&B, which is downloaded; `demo` is the run that comes with the
    package, unless one in `runs_dir` has that name. Settings may follow the beginning of a name, after commas:
    `ddpm,schedule:vp`. Raises ValueError if there is none, or more than one.
    """
    if name.startswith("wandb:"):
        from difflab.experiment.store.wandb_download import downloaded  # here, as few runs come from there

        return Run(downloaded(name, runs_dir))
    if os.path.isfile(os.path.join(name, "config.yaml")):  # a name that is too long for a path is none
        folder = Path(name)
        return Run(check_entries(folder.resolve() if folder.name in ("", "..") else folder))  # run=. has a name, too
    known = sorted(path.parent.name for path in runs_dir.glob("*/config.yaml"))
    match [n for n in known if n == name] or having(runs_dir, known, *name.split(",")):
        case [only]:
            return Run(check_entries(runs_dir / only))
        case [] if name == demo.NAME:
            return Run(demo.unpack(runs_dir))
        case [] if os.path.isdir(name):
            raise ValueError(f"{word}={name} is no run: it holds no config.yaml")
        case []:
            which = "has such a name and these settings" if ":" in name else "begins so"
            listing = ", ".join(known) or "none yet; difflab-train makes one, and run=demo comes with difflab"
            raise ValueError(f"{word}={name}: no such folder, and no run in {runs_dir}/ {which}. Runs there: {listing}")
        case several:
            raise ValueError(ambiguous(runs_dir, several, f"{word}={name}", name))


def having(runs_dir: Path, known: Sequence[str], *words: str) -> list[str]:
    """The names of runs that begin as the words without a colon, and have the settings `key:value` of the others."""
    settings = [word for word in words if ":" in word]
    beginnings = [word for word in words if ":" not in word]
    found = [name for name in known if all(map(name.startswith, beginnings))]
    if not settings:
        return found
    return [name for name, config in readable(runs_dir, found).items() if fits(settings, config)]


def ambiguous(runs_dir: Path, several: Sequence[str], given: str, name: str) -> str:
    """What a name may stand for, and the settings by which these runs are distinguished."""
    known = readable(runs_dir, several[:LISTED])
    apart = dict(zip(known, distinctions([*map(words_of, known.values())]), strict=True))
    listing = [f"{each} ({' '.join(apart[each])})" if apart.get(each) else each for each in several[:LISTED]]
    more = f", and {len(several) - LISTED} more" if len(several) > LISTED else ""
    plain = [
        {key: value for key, value in words_of(config).items() if TYPED.fullmatch(str(value))}
        for config in known.values()
    ]
    example = next((words[0] for words in distinctions(plain) if words), "")
    way = f", or a setting, as '{given.partition('=')[0]}=[{name},{example}]'" if example else ""
    return f"{given} may be {', '.join(listing)}{more}: give more of the name{way}"


def readable(runs_dir: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The configurations of runs by name, without those that cannot be read."""
    found = {}
    for name in names:
        with suppress(ValueError, OSError):
            found[name] = Run(runs_dir / name).config
    return found
