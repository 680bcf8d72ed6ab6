"""Rows of a `datasets` split as training pairs and as queries and gallery."""

from collections.abc import Sequence

import torch
from datasets import Dataset, Image, concatenate_datasets

import dataset_scripts
from processing_caan import open_image


def load_splits(options):
    """The `DatasetDict` that the options `dataset`, `dataset_config`, `data_dir` and `allow_partial` name.

    With `train_on_validation` the held-out items join the training split, and there is no validation split.
    """
    extra = {"allow_partial": True} if options.allow_partial else {}  # not every builder knows it
    splits = dataset_scripts.load(options.dataset, options.dataset_config, options.data_dir, **extra)
    if getattr(options, "train_on_validation", False) and "validation" in splits:
        splits["train"] = concatenate_datasets([splits["train"], splits.pop("validation")])
    return splits


class Pictures(Sequence):
    """The pictures of one modality in a split: `pictures[i]` is a decoded PIL image, `pictures.labels[i]` its class.

    Nothing is decoded before it is asked for; an unreadable picture raises a ValueError with the row's `file`.
    """

    def __init__(self, split: Dataset, modality: str):
        names = split.features["modality"].names
        if modality not in names:
            raise ValueError(f"The data set has no modality {modality!r}; it has {', '.join(names)}.")
        keep = [i for i, m in enumerate(split.with_format(None)["modality"]) if m == names.index(modality)]
        if not keep:
            raise ValueError(f"The split has no {modality} at all. Check data_dir and the builder's report.")
        self.modality = modality
        self.rows = split.select(keep).cast_column("image", Image(decode=False))
        self.labels = torch.tensor(list(self.rows["label"]))
        self.files = list(self.rows["file"])
        self.names = split.features["label"].names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int):
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        cell = self.rows[row]["image"]
        try:
            image = open_image(cell["bytes"] if cell["bytes"] is not None else cell["path"])
        except ValueError as error:
            raise ValueError(f"{self.files[row]}: {error}") from error
        image.filename = self.files[row]
        return image
