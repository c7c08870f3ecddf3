"""Hydra's reader of configurations for many jobs."""

from __future__ import annotations

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.types import RunMode
from omegaconf import DictConfig
from typing_extensions import override

from difflab.experiment.config.source import KEPT, Reader


class Loader(Reader):
    """Hydra's reader of configurations. It keeps what it has composed until Hydra asks for the same once more.

    It does for each job, of which a multirun first composes all.
    """

    kept: dict[tuple[object, ...], DictConfig]

    def __init__(self, search_path: ConfigSearchPath) -> None:
        super().__init__(search_path)
        self.kept = {}

    def __getstate__(self) -> dict[str, Any]:
        """The state without its cache of configurations, which a launcher's processes do not need."""
        return {**self.__dict__, "kept": {}}

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
        how = run_mode, from_shell, validate_sweep_overrides
        key = (config_name, *overrides, *how)
        if key in self.kept:
            return self.kept.pop(key)
        config = super().load_configuration(config_name, overrides, *how)
        if len(self.kept) < KEPT:
            self.kept[key] = config
        return config
