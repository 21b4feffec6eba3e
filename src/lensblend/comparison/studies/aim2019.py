"""The AIM 2019 Challenge on Bokeh Effect Synthesis: its printed results, and which of our runs is whose entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensblend.comparison.runs import Entry, class_name
from lensblend.comparison.studies.paper import TABLES, deviations, is_network, other_data
from lensblend.comparison.studies.recipes import Recipes, differences_from
from lensblend.runs.starts import Start

FIDELITY, PERCEPTUAL = "fidelity", "perceptual"
TRACKS = (FIDELITY, PERCEPTUAL)
SOURCE = (
    'A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019, '
    "Table 1"
)
# Only this team sent two solutions: its first phase and its third (Dutta 2021, section 5.6).
TWO_SOLUTIONS = "CVL-IITM"
_PHASES = {FIDELITY: TABLES[4][1][0], PERCEPTUAL: TABLES[4][1][2]}
_MEMBERS = 5


@dataclass(frozen=True)
class Team:
    """A line of the challenge's Table 1, as printed, and what a run of ours needs to be this team's.

    Attributes:
        name: As printed.
        framework: As the team reported it.
        hardware: The same.
        seconds: Per photo, as the team reported them.
        fidelity: PSNR and SSIM in the Fidelity track.
        perceptual: PSNR and SSIM in the Perceptual track.
        mos: Mean opinion score in the Perceptual track, 0 to 4, smaller is better.
        psnr_rank: By the Fidelity track's PSNR, as printed.
        mos_rank: As printed.
        network: The class of its network.
        baseline: Its name in conf/baseline, with the weights that its guidance needs.
        on_cpu: Whether its seconds are those of a CPU.
    """

    name: str
    framework: str
    hardware: str
    seconds: float
    fidelity: tuple[float, float]
    perceptual: tuple[float, float]
    mos: float
    psnr_rank: int
    mos_rank: int
    network: str
    baseline: str
    on_cpu: bool = False

    @property
    def command(self) -> str:
        """Trains such a run."""
        return f"lensblend train baseline={self.baseline} data=ebb data.root=PATH"

    def figures(self, track: str) -> tuple[float, float]:
        """Return PSNR and SSIM in a track."""
        return self.fidelity if track == FIDELITY else self.perceptual


# fmt: off
TEAMS = (
    Team("islab-zju", "n.a.", "GeForce GTX 2080 Ti", 0.27, (23.43, 0.89), (23.43, 0.89), 0.87, 2, 1,
         "PredictiveFilter", "islab_zju"),
    Team("CVL-IITM", "PyTorch", "GeForce GTX 1080 Ti", 0.8, (22.90, 0.87), (22.14, 0.86), 0.88, 6, 2,
         "DepthBlend", "dbsi"),
    Team("IPCV IITM", "PyTorch", "Nvidia TITAN X", 2.5, (23.17, 0.88), (23.17, 0.88), 0.93, 5, 3,
         "DynamicFilterDense", "ipcv_iitm saliency.weights=DSS disparity.weights=MEGADEPTH"),
    Team("VIDAR", "PyTorch", "GeForce GTX 1080 Ti", 0.53, (23.93, 0.89), (23.93, 0.89), 0.98, 1, 4,
         "AttentionUnet", "vidar"),
    Team("XMU-VIPLab", "PyTorch", "Nvidia TITAN", 0.6, (23.18, 0.89), (23.18, 0.89), 1.02, 4, 5,
         "DualBokehNet", "xmu_viplab"),
    Team("KAIST-VICLAB", "TensorFlow", "Nvidia TITAN Xp", 0.097, (23.37, 0.86), (23.37, 0.86), 1.08, 3, 6,
         "NonlocalAutoencoder", "kaist_viclab"),
    Team("SLYYM", "PyTorch", "Nvidia TITAN Xp", 0.1, (22.25, 0.85), (22.25, 0.85), 1.10, 7, 7,
         "SpadeBlend", "slyym saliency.weights=DSS"),
    Team("Bazinga", "PyTorch", "Nvidia TITAN Xp", 0.09, (22.15, 0.84), (22.15, 0.84), 1.48, 8, 8,
         "SaliencyRrdb", "bazinga saliency.weights=BASNET"),
    Team("aps vision@IITG", "PyTorch", "Nvidia DGX", 270.0, (20.88, 0.77), (20.88, 0.77), 1.53, 9, 9,
         "EdgeGuidedResidual", "aps_vision", on_cpu=True),
)
# fmt: on


def team_of(config: Mapping[str, Any]) -> Team | None:
    """Return the team whose entry a run follows, by the class of its network; None for any other network.

    A `DepthBlend` is a team's only with the hourglass and Gaussian kernels of 25, 45 and 75 pixels; an `Ensemble` is,
    where all its members are the same team's.

    Example:
        >>> team_of({"model": {"_target_": "lensblend.networks.spade_blend.SpadeBlend"}}).name
        'SLYYM'
    """
    found = {class_name(node) for node in _members(config.get("model", {}))}
    team = next((team for team in TEAMS if found == {team.network}), None)
    if team is not None and team.name == TWO_SOLUTIONS and not is_network(config, _PHASES[FIDELITY]):
        return None
    return team


def tracks_of(entry: Entry, chosen: str | None = None) -> tuple[str, ...]:
    """Return in which tracks an entry stands for its team; none where its phase is neither track's result.

    Args:
        entry: A run and phase; the run is a team's.
        chosen: The phase that the user asked for takes the place of each run's last, but for the team whose two
            solutions are two phases.
    """
    team = team_of(entry.config)
    if team is None:
        return ()
    if team.name == TWO_SOLUTIONS:
        return tuple(track for track, row in _PHASES.items() if entry.phase == row.phase)
    run = entry.config.get("schedule", {}).get("run") or [entry.phase]
    return TRACKS if entry.phase == (chosen or run[-1]) else ()


def phases_compared(config: Mapping[str, Any], done: Sequence[str]) -> Sequence[str]:
    """Return which finished phases of a run the table needs: the two tracks' of the team that sent two, else the last.

    Example:
        >>> phases_compared({"model": {"_target_": "SpadeBlend"}}, ["phase1", "phase2"])
        ['phase2']
    """
    needed = [phase for phase in done if tracks_of(Entry(Path(), phase, dict(config)), done[-1])]
    return needed or done[-1:]


def phase_of(track: str) -> str:
    """Return the phase that is the result in a track of the team that sent two solutions."""
    return _PHASES[track].phase


def differences_of(entry: Entry, recipes: Recipes | None = None) -> list[str]:
    """Return in what a run differs from its team's entry, beyond what its configuration in conf/baseline says.

    Args:
        entry: The run and phase; the run is a team's.
        recipes: What conf/baseline says; None compares the data and the number of networks alone.
    """
    model = entry.config.get("model", {})
    if class_name(model) == "DepthBlend":
        return deviations(entry, recipes)
    members = _members(model)
    alone = {1: ["one network, not the mean of five"], _MEMBERS: []}
    several = alone.get(len(members), [f"the mean of {len(members)} networks, not of five"])
    found = [*other_data(entry.config), *(several if class_name(members[0]) == "AttentionUnet" else [])]
    if start := Start.from_config(entry.config.get("init_from")):
        found.append(f"starts from {'' if start.is_whole else 'a part of '}{start.path}")
    if class_name(model) == "DynamicFilterDense" and not model.get("weights"):
        found.append("no ImageNet weights to start from")
    return [*found, *differences_from(_baseline(entry), entry, recipes)]


def _baseline(entry: Entry) -> str:
    """Return the name in conf/baseline of what a team's run follows."""
    model = entry.config.get("model", {})
    team = team_of(entry.config)
    if team is None:
        raise ValueError(f"{entry.run_dir} is no team's run.")
    if class_name(model) == "AttentionUnet":
        return "vidar_member"
    return "aps_vision_rgb" if model.get("colour") == "rgb" else team.baseline.split()[0]


def _members(model: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the nodes of an ensemble's members; of another network, its own."""
    return model.get("members", ()) if class_name(model) == "Ensemble" else [model]
