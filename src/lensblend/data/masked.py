"""Photos with masks of their foreground, such as DUTS: what saliency is learned from."""

from __future__ import annotations

from pathlib import Path

from lensblend.data.catalogue import hash_fraction, scan_named
from lensblend.data.doubts import doubts_of, refuse_one_folder_twice, twins
from lensblend.data.files import FilePairs, match, raise_all
from lensblend.data.listing import natural_key
from lensblend.data.pairs import Source, Split
from lensblend.errors import RequestError


class MaskedPhotos(Source):
    """A folder of photos and a folder of masks, paired up by name; the suffix may differ. There are no targets.

    Args:
        photos: Folder of photos, e.g. ``DUTS-TR-Image``.
        masks: Folder of masks of the same sizes, white where the foreground is, e.g. ``DUTS-TR-Mask``.
        val_fraction: Share of the photos, in [0, 1), that validates. A photo's own name decides, through a hash, so
            adding photos moves none from one split to the other.

    Raises:
        RequestError: A folder is none, is empty, or leaves nothing to train on.
        DataError: Partners are missing, doubled, unreadable or of another size; all of them are listed.
    """

    def __init__(self, photos: str, masks: str, val_fraction: float = 0.05) -> None:
        self.photos = Path(photos)
        if not 0 <= val_fraction < 1:
            raise RequestError(f"`val_fraction` is in [0, 1), but got {val_fraction}.")
        refuse_one_folder_twice({"photos": photos, "masks": masks})
        found, of_masks = scan_named(photos, "photos"), scan_named(masks, "masks")
        problems = twins(found)
        files = match(
            sorted(found | of_masks, key=natural_key), found, {}, {"mask": of_masks}, problems, partner="mask"
        )
        raise_all(problems, f"the photos of `{photos}` and the masks of `{masks}`")
        validating = [entry for entry in files if hash_fraction(entry.id) < val_fraction]
        training = [entry for entry in files if hash_fraction(entry.id) >= val_fraction]
        if not training:
            raise RequestError(f"`photos` = `{photos}` leaves none to train on; add photos or lower `val_fraction`.")
        self._splits = {"train": FilePairs(training), "val": FilePairs(validating)}

    def split(self, name: Split) -> FilePairs:
        """Return the photos of one split, by name, 2 before 10."""
        return self._splits[name]

    def doubts(self) -> list[str]:
        """Say whether masks look black though they are not."""
        return doubts_of(self._splits["train"])

    def summary(self) -> str:
        """Say in one line what is there."""
        train, val = (len(self._splits[name].ids) for name in ("train", "val"))
        return f"{self.photos}: {train} photos with masks for training, {val} for validation"
