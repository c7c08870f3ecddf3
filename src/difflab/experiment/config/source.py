"""The files of options as Hydra reads them, each parsed once in a process."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import JobRuntime
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override

KEPT = 256  # configurations at most: each takes a megabyte
BASES: dict[tuple[object, ...], DictConfig] = {}  # what chosen options come to, without values
PARSED: dict[tuple[Path, int], tuple[Any, dict[str, str | None]]] = {}  # of files, as of a time


class Files(FileConfigSource):
    """A folder whose files are parsed again only where they have changed."""

    @override
    def load_config(self, config_path: str) -> ConfigResult:
        """One file."""
        file = Path(self.path, self._normalize_file_name(config_path))
        key = file, file.stat().st_mtime_ns
        if key not in PARSED:
            found = super().load_config(config_path)
            PARSED[key] = OmegaConf.to_container(found.config), found.header
        values, header = PARSED[key]
        return ConfigResult(self.provider, f"file://{self.path}", OmegaConf.create(values), dict(header))


class Reader(ConfigLoaderImpl):
    """Hydra's reader of configurations, with these folders.

    What chosen options come to is composed once in a process, as long as no file changes; values are set in a copy.
    """

    def __init__(self, search_path: ConfigSearchPath) -> None:
        super().__init__(search_path)
        self.repository.sources = [
            Files(each.provider, f"file://{each.path}") if each.scheme() == "file" else each
            for each in self.repository.sources
        ]

    @override
    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """The configuration of some words, in which none is wrong. Raises HydraException."""
        how = run_mode, from_shell, validate_sweep_overrides
        parsed = OverridesParser.create().parse_overrides(overrides)
        values = [each for each in parsed if self.sets_a_value(each)]
        if run_mode == RunMode.RUN and all(each in values or self.chooses(each) for each in parsed):
            return self.with_values(config_name, parsed, values, how)
        return super().load_configuration(config_name, overrides, *how)

    def chooses(self, override: Override) -> bool:
        """Whether an override chooses an option of a group, or is one of Hydra's own settings."""
        return override.is_hydra_override() or self.repository.group_exists(override.key_or_group)

    def sets_a_value(self, override: Override) -> bool:
        """Whether an override gives a setting one value, and changes nothing else."""
        plain = override.type == OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
        return plain and not self.chooses(override)

    def with_values(
        self, name: str | None, parsed: Sequence[Override], values: Sequence[Override], how: tuple[RunMode, bool, bool]
    ) -> DictConfig:
        """The configuration of the chosen options, with values; in it, all overrides in the order of the words."""
        choices = [str(each.input_line) for each in parsed if each not in values]
        config = copy.deepcopy(self.base(name, choices, how))
        self._apply_overrides_to_config([*values], config)
        task = [each for each in parsed if not each.is_hydra_override()]
        config.hydra.overrides.task = [each.input_line for each in task]
        words = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=task, kv_sep=words.kv_sep, item_sep=words.item_sep, exclude_keys=words.exclude_keys
        )
        config.hydra.runtime.cwd = os.getcwd()
        return config

    def base(self, name: str | None, choices: list[str], how: tuple[RunMode, bool, bool]) -> DictConfig:
        """What the chosen options come to."""
        sources = map(state, self.repository.get_sources())
        environment = os.environ.items() if any(each.startswith("hydra") for each in choices) else ()  # may be copied
        key = (name, *choices, *how, JobRuntime.instance().get("name"), *sources, *environment)
        if key not in BASES:
            if len(BASES) == KEPT:
                BASES.clear()
            BASES[key] = super().load_configuration(name, choices, *how)
        return BASES[key]


def state(source: ConfigSource) -> tuple[object, ...]:
    """Where a source of options is, and for a folder how many files it has and when the last of them was changed."""
    times = [file.stat().st_mtime_ns for file in Path(source.path).rglob("*.yaml")] if source.scheme() == "file" else []
    return source.full_path(), len(times), max(times, default=0)
