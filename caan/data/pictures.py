"""Rows of a `datasets` split as training pairs and as queries and gallery."""

from collections.abc import Sequence

import torch
from datasets import Dataset, DatasetDict, Image, concatenate_datasets
from tqdm.auto import tqdm

import dataset_scripts
from caan.options import SourceOptions
from processing_caan import CAANImageProcessor, open_image

COLUMNS = ("image", "modality", "label", "descriptions", "file")


def load_splits(options: SourceOptions) -> DatasetDict:
    """The splits that the options of the data name: `train` (seen classes), `validation` (their hold-out), `test` (unseen).

    With `skip_corrupt` every picture is read once, and what does not decode and sketches without ink are left out by name. With
    `train_on_validation` the held-out items join the training split, and there is no validation split.

    Raises:
        ValueError: the data set has other columns than `COLUMNS`, or no seen class.
    """
    splits = dataset_scripts.load(
        options.dataset,
        options.dataset_config,
        options.data_dir,
        allow_partial=options.allow_partial,
        skip_corrupt=options.skip_corrupt,
        verify=options.verify or options.skip_corrupt,
        duplicates=options.duplicates,
        validation_photos=options.validation_photos,
    )
    require_columns(splits, options.dataset)
    if options.skip_corrupt:
        splits = DatasetDict({name: without_blank_sketches(split, name) for name, split in splits.items()})
    if getattr(options, "train_on_validation", False) and "validation" in splits:
        splits["train"] = join_splits(splits["train"], splits.pop("validation"))
    return splits


def require_columns(splits: DatasetDict, name: str) -> None:
    """Raises ValueError where a data set is none of zero-shot sketch retrieval, naming what is missing."""
    found = {column for split in splits.values() for column in split.column_names}
    if missing := [column for column in COLUMNS if column not in found]:
        raise ValueError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(sorted(found)) or 'none'}. A data set for CAAN is "
            f"one of dataset_scripts' builders, or what `python -m dataset_scripts.parquet.publish` wrote."
        )
    if "train" not in splits:
        raise ValueError(f"{name} has no split train: all its classes are unseen. Name fewer of them in unseen.txt.")


def join_splits(first: Dataset, second: Dataset) -> Dataset:
    """Both splits' rows, each picture once: some data sets search their hold-out in photos that they train on."""
    known = set(zip(first["modality"][:], first["label"][:], first["file"][:]))
    rows = zip(second["modality"][:], second["label"][:], second["file"][:])
    return concatenate_datasets([first, second.select([i for i, row in enumerate(rows) if row not in known])])


def without_blank_sketches(split: Dataset, name: str) -> Dataset:
    """The split without sketches that have no ink; they are named."""
    rows = split.cast_column("image", Image(decode=False))
    sketch = split.features["modality"].names.index("sketch")
    blank = [
        row
        for row, modality in enumerate(tqdm(split["modality"][:], desc=f"checking sketches of {name}", leave=False))
        if modality == sketch and not has_ink(rows[row]["image"])
    ]
    if blank:
        files = [split[row]["file"] for row in blank[:10]]
        print(f"left out {len(blank)} sketches without ink in {name}: {', '.join(files)}{' ...' if len(blank) > 10 else ''}")
    gone = set(blank)
    return split.select([row for row in range(len(split)) if row not in gone]) if blank else split


def has_ink(cell: dict) -> bool:
    """Whether a sketch, a cell {"bytes", "path"}, can be read and has a drawing in it."""
    try:
        CAANImageProcessor().prepare(cell["bytes"] if cell["bytes"] is not None else cell["path"], "sketch")
    except ValueError:
        return False
    return True


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
