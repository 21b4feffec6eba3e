"""Where Hydra finds this project's launchers: it takes plugins from this namespace only."""

from lensblend.cli import launchers


class SubprocessLauncher(launchers.SubprocessLauncher):
    """``hydra/launcher=subprocess``."""
