"""Every team's network at its full width can fit one pair: PSNR rises by 3 dB over where it starts."""

import hydra
import pytest
import skimage.data
import torch
from omegaconf import OmegaConf
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio
from skimage.transform import resize

from lensblend.cli.config import config_folder, register
from lensblend.inference.guidance import guidance_of
from lensblend.runs.building import build_loss
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.training.truths import truths

SIDE, STEPS = 64, 300
LR = {"slyym": 2e-4, "vidar_member": 3e-4}
# One pair has no batch to normalise over.
CHANGES = {"slyym": ["model.norm=instance"]}
L1 = {"l1": {"weight": 1.0, "compares": "bokeh", "loss": {"_target_": "lensblend.losses.pixel.L1"}}}
TEAMS = (
    "dbsi", "islab_zju", "ipcv_iitm", "vidar_member", "xmu_viplab", "kaist_viclab", "slyym", "bazinga", "aps_vision",
)  # fmt: skip


@pytest.fixture(scope="module")
def pair():
    """A face in front of a blurred wall: photo, target and what is in focus."""
    photo = resize(skimage.data.astronaut()[:256, 100:356], (SIDE, SIDE), anti_aliasing=True)
    near = torch.zeros(1, 1, SIDE, SIDE)
    near[..., 8:56, 16:52] = 1
    mask = near[0, 0].numpy()[..., None]
    target = mask * photo + (1 - mask) * gaussian_filter(photo, sigma=(4, 4, 0))
    return *(torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in (photo, target)), near


def composed(team):
    register()
    size = f"schedule.every_phase.image_size=[{SIDE},{SIDE}]"
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        overrides = ["run_dir=x", f"baseline={team}", size, "kernels.scale=0.25", *CHANGES.get(team, ())]
        config = hydra.compose("train", overrides=overrides)
    return OmegaConf.to_container(config, resolve=True)


def psnr(network, photo, target, maps):
    network.eval()
    with torch.no_grad():
        bokeh = network(photo, **maps).bokeh
    network.train()
    return peak_signal_noise_ratio(target.numpy(), bokeh.numpy(), data_range=1)


@pytest.mark.slow
@pytest.mark.parametrize("team", TEAMS)
def test_one_pair_raises_psnr_by_3_db(pair, team, monkeypatch, tmp_path):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))  # no weights: terms that need some are left out
    photo, target, near = pair
    config = composed(team)
    torch.manual_seed(0)
    network = build(config["model"], "model", *MODELS)
    schedule = config["schedule"]
    # Of SLYYM's losses the discriminator's and VGG's are not here: only the mask's would be left.
    loss, _ = build_loss(L1 if team == "slyym" else schedule["phases"][schedule["run"][-1]]["loss"])
    guidance = {"saliency": near, "disparity": 0.2 + 0.6 * near}
    maps = {name: guidance[name] for name in guidance_of(config["model"], "model")}
    optimizer = torch.optim.Adam(network.parameters(), lr=LR.get(team, 1e-3))
    start = best = psnr(network, photo, target, maps)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        # Twice, because normalisation over a batch of one knows no variance at one pixel.
        rendering = network(photo.repeat(2, 1, 1, 1), **{name: m.repeat(2, 1, 1, 1) for name, m in maps.items()})
        answer = {"bokeh": rendering.bokeh, **rendering.aux}
        batch = {"target": target.repeat(2, 1, 1, 1), "focus": near.repeat(2, 1, 1, 1)}
        total, _ = loss(answer, truths(batch, loss.compares.values()))
        total.backward()
        optimizer.step()
        if step % 10 == 0 and (best := max(best, psnr(network, photo, target, maps))) >= start + 3:
            return
    pytest.fail(f"from {start:.2f} to {best:.2f} dB in {STEPS} steps")
