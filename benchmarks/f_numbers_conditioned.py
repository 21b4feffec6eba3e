"""Is a network better that is told the f-number? Trains `aperture_blend` and `depth_blend` on the same apertures.

    python benchmarks/f_numbers_conditioned.py

Pairs are layered scenes at f-numbers drawn evenly by their logarithm. Both networks have the same backbone, kernels,
initial weights, batches and number of steps; one is told the f-number of each photo. Scored are other scenes.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lensblend.backbones.hourglass import Hourglass
from lensblend.data.scenes import Scenes
from lensblend.networks.aperture_blend import ApertureBlend
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank

F_NUMBERS = (1.0, 8.0)
STOPS = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
RATIOS = (0.5, 0.71, 1.0, 1.41, 2.0)
SIZE, BATCH = (48, 72), 8
Pairs = tuple[Tensor, Tensor, Tensor]


def main() -> None:
    """Train both, and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=96, help="to train on (default: 96); a third as many are scored")
    parser.add_argument("--steps", type=int, default=400, help=f"of {BATCH} pairs (default: 400)")
    parser.add_argument("--width-divisor", type=int, default=16, help="of the hourglass (default: 16)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    train, val = (loaded(split, options.pairs // part, options.seed) for split, part in (("train", 1), ("val", 3)))
    print(f"{len(train[0])} and {len(val[0])} pairs rendered in {time.monotonic() - began:.0f} s", flush=True)
    told = fitted(ApertureBlend, train, options)
    untold = fitted(DepthBlend, train, options)
    photos, targets, numbers = val
    scores = {
        "photo": psnr(photos, targets),
        "depth_blend": psnr(rendered(untold, photos), targets),
        "aperture_blend": psnr(rendered(told, photos, numbers), targets),
    }
    print_scores(scores, numbers)
    print_asked(told, val)


def loaded(split: str, count: int, seed: int) -> Pairs:
    """Return photos, targets and f-numbers of the first pairs."""
    scenes = Scenes(seed, SIZE, count, count, exposure=0.0, shift=0.0, f_numbers=F_NUMBERS).split(split)  # type: ignore[arg-type]
    pairs = [scenes.load(index) for index in range(count)]
    photos, targets = (
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        for images in ([pair.photo for pair in pairs], [pair.captured() for pair in pairs])
    )
    return photos, targets, torch.tensor([pair.f_number for pair in pairs])


def fitted(kind: type[DepthBlend], pairs: Pairs, options: argparse.Namespace) -> DepthBlend:
    """Train a network from the seed's weights on the seed's batches."""
    torch.manual_seed(options.seed)
    more = {"f_numbers": F_NUMBERS} if kind is ApertureBlend else {}
    network = kind(Hourglass(options.width_divisor), KernelBank("disk", sizes=[3, 5, 7]), **more)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    path = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    draw, began = np.random.default_rng(options.seed), time.monotonic()
    for _ in range(options.steps):
        chosen = torch.from_numpy(draw.choice(len(pairs[0]), BATCH, replace=False))
        photos, targets, numbers = (part[chosen] for part in pairs)
        given = {"f_number": numbers} if more else {}
        optimizer.zero_grad()
        (network(photos, **given).bokeh - targets).abs().mean().backward()
        optimizer.step()
        path.step()
    print(f"{kind.__name__}: {options.steps} steps in {time.monotonic() - began:.0f} s", flush=True)
    return network.eval()


@torch.no_grad()
def rendered(network: DepthBlend, photos: Tensor, f_numbers: Tensor | None = None) -> Tensor:
    """Render photos, at f-numbers where they are given."""
    given = {} if f_numbers is None else {"f_number": f_numbers}
    return torch.cat(
        [network(p[None], **{n: v[i : i + 1] for n, v in given.items()}).bokeh for i, p in enumerate(photos)]
    )


def psnr(images: Tensor, targets: Tensor) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each image in 8 bits, in dB, 60 at most."""
    levels = [(255 * batch).round().clamp(0, 255).double() for batch in (images, targets)]
    errors = (levels[0] - levels[1]).square().mean(dim=(1, 2, 3)).numpy()
    return 10 * np.log10(255**2 / np.maximum(errors, 255**2 / 1e6))


def print_scores(scores: dict[str, np.ndarray], numbers: Tensor) -> None:
    """Print the means of all, and of the photos nearest to each whole stop."""
    stop = np.rint(2 * np.log2(numbers.numpy()) - 2 * np.log2(STOPS[0])).astype(int)
    print(f"\n| f-number | images | {' | '.join(scores)} |\n|---|---:|{'---:|' * len(scores)}")
    for index, name in enumerate(STOPS):
        if (chosen := stop == index).any():
            print(f"| f/{name:g} | {chosen.sum()} | {' | '.join(f'{s[chosen].mean():.2f}' for s in scores.values())} |")
    print(f"| mean | {len(numbers)} | {' | '.join(f'{s.mean():.2f}' for s in scores.values())} |")


def print_asked(network: DepthBlend, pairs: Pairs) -> None:
    """Print how much of the photos' detail is left at each f-number, and the score at multiples of the target's."""
    photos, targets, numbers = pairs
    whole = photos.diff(dim=-1).abs().mean()
    left = [rendered(network, photos, torch.full_like(numbers, n)).diff(dim=-1).abs().mean() / whole for n in STOPS]
    print(f"\n| asked for | {' | '.join(f'f/{n:g}' for n in STOPS)} |\n|---|{'---:|' * len(STOPS)}")
    print(f"| steps between pixels, of the photo's | {' | '.join(f'{share:.3f}' for share in left)} |")
    print("monotone" if all(one < other for one, other in pairwise(left)) else "NOT monotone")
    each = [psnr(rendered(network, photos, numbers * ratio), targets).mean() for ratio in RATIOS]
    print(f"\n| {' | '.join(f'N = {ratio:g} T' for ratio in RATIOS)} |\n|{'---:|' * len(RATIOS)}")
    print(f"| {' | '.join(f'{score:.2f}' for score in each)} |")


if __name__ == "__main__":
    main()
