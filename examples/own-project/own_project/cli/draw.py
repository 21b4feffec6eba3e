"""``lensblend draw``: write validation photos of `Lights` as files."""

import argparse
from pathlib import Path

from lensblend.data.images import write_image
from own_project.data import Lights


def main() -> None:
    """Run the verb."""
    verb = argparse.ArgumentParser(prog="lensblend draw", description=__doc__)
    verb.add_argument("folder", type=Path, help="receives the photos")
    verb.add_argument("--count", type=int, default=8, metavar="N", help="how many (default: 8)")
    arguments = verb.parse_args()
    pairs = Lights(val=arguments.count).split("val")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(pairs.ids):
        write_image(arguments.folder / f"{name}.png", pairs.load(index).photo)


if __name__ == "__main__":
    main()
