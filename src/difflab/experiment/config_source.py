"""The files of options as Hydra reads them, each parsed once in a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from typing_extensions import override

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
    """Hydra's reader of configurations, with these folders."""

    def __init__(self, search_path: ConfigSearchPath) -> None:
        super().__init__(search_path)
        self.repository.sources = [
            Files(each.provider, f"file://{each.path}") if each.scheme() == "file" else each
            for each in self.repository.sources
        ]
