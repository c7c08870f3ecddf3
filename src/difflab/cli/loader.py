"""Hydra's reader of configurations for many jobs: what they have in common is composed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig
from typing_extensions import override

from difflab.experiment.config_source import Reader

KEPT = 256  # configurations at most: each takes a megabyte


class Loader(Reader):
    """Hydra's reader of configurations. It keeps what it has composed until Hydra asks for the same once more.

    It does for each job, of which a multirun first composes all. Jobs that choose the same options are composed from
    one configuration, by setting the values in which they differ.
    """

    kept: dict[tuple[object, ...], DictConfig]
    bases: dict[tuple[object, ...], DictConfig]  # of chosen options alone

    def __init__(self, search_path: ConfigSearchPath) -> None:
        super().__init__(search_path)
        self.kept, self.bases = {}, {}

    def __getstate__(self) -> dict[str, Any]:
        """The state without its caches of configurations, which a launcher's processes do not need."""
        return {**self.__dict__, "kept": {}, "bases": {}}

    @override
    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """The configuration, from the cache where it was composed before."""
        key = (config_name, *overrides, run_mode, from_shell, validate_sweep_overrides)
        if key in self.kept:
            return self.kept.pop(key)
        how = run_mode, from_shell, validate_sweep_overrides
        parsed = OverridesParser.create().parse_overrides(overrides)
        values = [each for each in parsed if self.sets_a_value(each)]
        if run_mode == RunMode.RUN and all(each in values or self.chooses(each) for each in parsed):
            config = self.with_values(config_name, parsed, values, how)
        else:
            config = super().load_configuration(config_name, overrides, *how)
        if len(self.kept) < KEPT:
            self.kept[key] = config
        return config

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
        if (key := (name, *choices, *how)) not in self.bases:
            if len(self.bases) == KEPT:
                self.bases.clear()
            self.bases[key] = super().load_configuration(name, choices, *how)
        config = copy.deepcopy(self.bases[key])
        self._apply_overrides_to_config([*values], config)
        task = [each for each in parsed if not each.is_hydra_override()]
        config.hydra.overrides.task = [each.input_line for each in task]
        words = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=task, kv_sep=words.kv_sep, item_sep=words.item_sep, exclude_keys=words.exclude_keys
        )
        return config
