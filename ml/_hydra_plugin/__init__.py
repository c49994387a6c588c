"""Lets any Hydra application compose our groups: ``logger: [stdout, json]`` in its own primary configuration.

Installed as ``hydra_plugins.ml_configs``, where Hydra looks for it.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ml.hydra import config_directory, register_configs

register_configs()


class MlSearchPath(SearchPathPlugin):
    """Adds our configuration files behind those of the application, so that it can override them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends the directory of our configuration files."""
        search_path.append(provider="ml", path=config_directory().as_uri())
