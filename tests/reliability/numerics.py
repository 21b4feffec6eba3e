"""R15, R17 and R18: half precision, compiled networks, and the loss curve against a loop without any framework."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import yaml

from lensblend.data.embedded import Embedded
from lensblend.data.samplers import KeyedSampler
from lensblend.data.samples import Samples
from lensblend.losses.structural import NegativeSsim
from lensblend.metrics.fidelity import Ssim
from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.training.loggers.metrics_csv import read_rows
from reliability.children import train
from reliability.resumes import reference, signal_in_step, tidy
from reliability.rows import PHASES, Bench, Case, expect

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
NETWORK = {
    "_target_": "lensblend.networks.depth_blend.DepthBlend",
    "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 4},
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [25, 45, 75]},
}


def half_precision(bench: Bench) -> Iterator[Case]:
    """R15: what stays in float32 although the network runs in half precision."""
    torch.manual_seed(bench.seed)
    network = build(NETWORK, "model", *MODELS).eval()
    ramp = torch.linspace(0.2, 0.8, 160).expand(1, 3, 128, 160).contiguous()
    noise = (ramp + 0.002 * torch.randn_like(ramp)).clamp(0, 1)
    score, loss = float(Ssim().per_image(noise, ramp)[0]), float(NegativeSsim()(noise, ramp))
    for name, dtype in DTYPES.items():
        autocast: Any = nullcontext() if dtype is None else torch.autocast("cpu", dtype)
        with torch.no_grad(), autocast:
            rendering = network(torch.rand(1, 3, 128, 160))
            flat = network(torch.full((1, 3, 128, 160), 0.5))
            in_half = float(Ssim().per_image(noise.to(dtype or noise.dtype).float(), ramp)[0])
            half_score, half_loss = float(Ssim().per_image(noise, ramp)[0]), float(NegativeSsim()(noise, ramp))
        worst = float((rendering.aux["weights"].sum(1) - 1).abs().max())
        colour = float((flat.bokeh - 0.5).abs().max())
        checks = {
            "the weights sum to 1 within 1e-6": (worst < 1e-6, f"off by {worst:.1e}"),
            "a flat photo keeps its colour within 1e-6": (colour < 1e-6, f"off by {colour:.1e}"),
            "SSIM of smooth images within 1e-4 of float32": (
                abs(half_score - score) < 1e-4,
                f"{half_score:.6f}, {score:.6f} in float32 (the image itself in half precision: {in_half:.4f})",
            ),
            "the SSIM loss within 1e-4 of float32": (abs(half_loss - loss) < 1e-4, f"{half_loss:.6f}, not {loss:.6f}"),
        }
        for what, (holds, found) in checks.items():
            yield Case(f"{name}: {what}", expect((holds, found)))


def compiled(bench: Bench) -> Iterator[Case]:
    """R17: a training starts compiled or plain and goes on plain or compiled."""
    backends = ("null", "inductor") if bench.full else ("null", "eager")
    whole = reference(bench, 1)
    plain_keys = list(read_checkpoint(whole / "phase1" / "last.ckpt")["state_dict"])
    for before in backends:
        for after in backends:
            run = bench.fresh(f"r17-{before}-{after}")
            arguments = ["schedule.run=[phase1]", "loader.num_workers=0"]
            stop = partial(signal_in_step, "phase1", 6, 15)
            env = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
            first = train(run, *arguments, f"module.compile={before}", env=env, before=stop).wait(900)
            second = train(run, *arguments, f"module.compile={after}", env=env).wait(900)
            case = Case(f"{before} → {after}")
            case.failures = expect(
                (first == 143, f"exit code {first} at the stop; see {run}.log"),
                (second == 0, f"exit code {second} after the restart; see {run}.log"),
            )
            if not case.failures:
                keys = list(read_checkpoint(run / "phase1" / "last.ckpt")["state_dict"])
                case.failures = expect((keys == plain_keys, "the weights have other names"))
            yield tidy(run, case)


def loss_curve(bench: Bench) -> Iterator[Case]:
    """R18: every loss and learning rate of three phases, against plain PyTorch from the papers' own words."""
    whole = reference(bench, 1)
    config = yaml.safe_load((whole / "config.yaml").read_text())
    rows = read_rows(whole / "metrics.csv")
    expected = [row for phase in PHASES for row in _plain_loop(config, phase, whole)]
    case = Case(f"{len(expected)} steps of three phases")
    found = [(float(row["train/loss"]), float(row["lr"])) for row in rows]
    worst = max(abs(a[0] - b[0]) for a, b in zip(found, expected, strict=True))
    rate = max(abs(a[1] - b[1]) / b[1] for a, b in zip(found, expected, strict=True))
    case.name += f", largest difference {worst:.1e}"
    case.failures = expect(
        (worst < 1e-6, f"losses differ by {worst:.1e}"), (rate < 1e-6, f"learning rates differ by {rate:.1e}")
    )
    yield case


def _plain_loop(config: dict[str, Any], phase: str, whole: Any) -> list[tuple[float, float]]:
    """Train a phase with nothing but PyTorch, from the weights that the phase before gave."""
    values = {
        **config["schedule"]["phases"][phase],
        **{k: v for k, v in config["schedule"]["every_phase"].items() if v},
    }
    torch.manual_seed(config["seed"])
    torch.use_deterministic_algorithms(True)
    network = build(config["model"], "model", *MODELS).train().to(memory_format=torch.channels_last)
    if phase != PHASES[0]:
        before = PHASES[PHASES.index(phase) - 1]
        network.load_state_dict(read_checkpoint(whole / before / "best.ckpt")["state_dict"])
    data = {key: value for key, value in config["data"].items() if key != "_target_"}
    pairs = Embedded(**data).split("train")
    limit = config["loader"]["limit_train"]
    samples = Samples(pairs, values["image_size"], flips=config["loader"]["flips"], seed=config["seed"], limit=limit)
    sampler = KeyedSampler(len(samples), seed=config["seed"])
    size, epochs = values["batch_size"], values["max_epochs"]
    steps = epochs * math.ceil(len(samples) / size)
    optimizer = torch.optim.Adam(network.parameters(), lr=values["lr"], betas=(0.9, 0.999))
    curve: list[tuple[float, float]] = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        for first in range(0, len(keys), size):
            batch = [samples[key] for key in keys[first : first + size]]
            photo, target = (torch.stack([s[name] for s in batch]).float() / 255 for name in ("photo", "target"))
            share = len(curve) / (steps - 1)
            rate = values["lr_final"] + (values["lr"] - values["lr_final"]) * (1 + math.cos(math.pi * share)) / 2
            for group in optimizer.param_groups:
                group["lr"] = rate
            bokeh = network(photo).bokeh
            loss = NegativeSsim()(bokeh, target) if phase == "phase3" else (bokeh - target).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append((loss.item(), rate))
    return curve
