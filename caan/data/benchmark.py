"""Queries and galleries of a zero-shot split."""

from typing import NamedTuple

import torch

from caan.data.pictures import Pictures

NEEDED = {  # split -> what it takes
    "validation": "Validation needs five sketches of a class or more.",
    "test": "A test needs unseen classes: name some in unseen.txt; without it a folder needs three classes or more.",
}


class Benchmark(NamedTuple):
    """Queries and the galleries, one after the other, that they are searched in."""

    queries: Pictures
    galleries: tuple[Pictures, ...]

    @property
    def gallery_labels(self) -> torch.Tensor:
        """Class of each gallery picture, (gallery_size,)."""
        return torch.cat([gallery.labels for gallery in self.galleries])

    @property
    def gallery_instances(self) -> list[str | None]:
        """Instance of each gallery picture, as `Pictures.instances` has it."""
        return [instance for gallery in self.galleries for instance in gallery.instances]

    def gallery_picture(self, row: int):
        """The decoded picture at `row` of the joined galleries."""
        for gallery in self.galleries:
            if row < len(gallery):
                return gallery[row]
            row -= len(gallery)
        raise IndexError(row)


def make_benchmark(splits, split: str = "test", generalized: bool = False) -> Benchmark:
    """The sketches of `split` as queries and its photos as gallery; a validation split without photos searches those of train.

    Args:
        splits: a `DatasetDict` of `dataset_scripts.load`. split: "test" (unseen classes) or "validation" (seen classes).
        generalized: the photos of all seen classes, train and validation, join the gallery as distractors (the protocol
            with unseen queries only).
    """
    if split not in splits:
        raise ValueError(f"The data set has no split {split!r}, only {', '.join(splits)}. {NEEDED.get(split, '')}".rstrip())
    borrows = split == "validation" and "train" in splits and not has_photos(splits[split])
    galleries = [Pictures(splits["train" if borrows else split], "photo")]
    if generalized:
        if split != "test":
            raise ValueError("generalized adds the seen classes to the gallery of the unseen ones: use it with split test.")
        galleries += [Pictures(splits[s], "photo") for s in ("train", "validation") if s in splits and has_photos(splits[s])]
    return Benchmark(Pictures(splits[split], "sketch"), tuple(galleries))


def has_photos(split) -> bool:
    """Whether a split has any photo; a validation split may search in the training photos of another."""
    return split.features["modality"].names.index("photo") in split.unique("modality")
