"""Photos that are nearly the same: a hash of what they show, and a search over all of them at once."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64

# Bits of 256. Of 361 photos at hand, none differs by more than 23 from itself saved as JPEG of quality 50 or halved,
# nor by more than 50 from a part of it that lacks 8 pixels at each side. Two skies may differ by 39, but not correlate.
MOST_BITS = 40
LEAST_CORRELATION = 0.95
_SIDE = 16
_FLAT = 2.0  # levels: the standard deviation below which a photo shows nothing that could be told apart
_ROWS = 256


def thumbnail(photo: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "16 17"] | None:
    """Return a photo in 16×17 grey cells; None where all is flat."""
    small = cv2.resize(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    return None if small.std() < _FLAT else np.asarray(small, dtype=np.uint8)


def near_pairs(thumbnails: UInt8[np.ndarray, "n 16 17"], most: int = MOST_BITS) -> list[tuple[int, int, int]]:
    """Return which photos show nearly the same: the earlier one's index, the later one's, and in how many bits.

    A photo's 256 bits say which cells are brighter than their right neighbours. All pairs are compared, in blocks:
    10,000 photos take half a second. What differs in few bits must correlate as well.

    Args:
        thumbnails: As from `thumbnail`.
        most: By how many bits two may differ.

    References:
        N. Krawetz, "Kind of like that" (2013), which calls this dHash.
    """
    brighter = thumbnails[:, :, :-1] > thumbnails[:, :, 1:]
    hashes: UInt64[np.ndarray, "n 4"] = np.packbits(brighter.reshape(-1, _SIDE**2), axis=1).view(np.uint64)
    found = []
    for start in range(0, len(hashes), _ROWS):
        block, others = hashes[start : start + _ROWS], hashes[start:]
        distances = np.zeros((len(block), len(others)), np.uint16)
        for word in range(hashes.shape[1]):
            distances += np.bitwise_count(block[:, word, None] ^ others[None, :, word])
        rows, columns = np.nonzero(np.triu(distances <= most, 1))
        found += [
            (start + int(i), start + int(j), int(distances[i, j]))
            for i, j in zip(rows, columns, strict=True)
            if _correlate(thumbnails[start + i], thumbnails[start + j])
        ]
    return found


def _correlate(one: UInt8[np.ndarray, "16 17"], other: UInt8[np.ndarray, "16 17"]) -> bool:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) >= LEAST_CORRELATION
