"""Where Hydra finds this project's launchers and the users' configurations; it takes plugins from here only."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lensblend.cli import launchers
from lensblend.runs.extensions import config_folders


class OwnConfigurations(SearchPathPlugin):
    """Find the configurations of the users' own packages; ours come first, so that none changes what a name means."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add their folders."""
        for folder in config_folders():
            search_path.append("lensblend.extensions", f"file://{folder}")


class SubprocessLauncher(launchers.SubprocessLauncher):
    """``hydra/launcher=subprocess``."""


class SlurmLauncher(launchers.SlurmLauncher):
    """``hydra/launcher=slurm``."""
