"""Rows of a `datasets` split as training pairs and as queries and gallery."""

from collections.abc import Sequence

import torch
from datasets import ClassLabel, Dataset, DatasetDict, Image, Value, concatenate_datasets

import dataset_scripts
from caan.options import SourceOptions
from processing_caan import open_image

CURE = "--skip_corrupt leaves such pictures out."
COLUMNS = ("image", "modality", "label", "descriptions", "file")
PAIRS = "instance"  # an optional column: data that were published before it, or have no pairs, lack it


def load_splits(options: SourceOptions) -> DatasetDict:
    """The splits that the options of the data name: `train` (seen classes), `validation` (their hold-out), `test` (unseen).

    With `train_on_validation` the held-out items join the training split, and there is no validation split.

    Raises:
        ValueError: the data set has other columns than `COLUMNS`, or no seen class.
    """
    splits = dataset_scripts.load(
        options.dataset,
        options.dataset_config,
        options.data_dir,
        allow_partial=options.allow_partial,
        skip_corrupt=options.skip_corrupt,
        verify=options.verify,
        duplicates=options.duplicates,
        validation_photos=options.validation_photos,
    )
    require_columns(splits, options.dataset)
    if getattr(options, "train_on_validation", False) and "validation" in splits:
        splits["train"] = join_splits(splits["train"], splits.pop("validation"))
    return splits


def require_columns(splits: DatasetDict, name: str) -> None:
    """Raises ValueError where a data set is none of zero-shot sketch retrieval, naming what is missing or of another type."""
    found = {column for split in splits.values() for column in split.column_names}
    if missing := [column for column in COLUMNS if column not in found]:
        raise ValueError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(sorted(found)) or 'none'}. A data set for CAAN is "
            f"one of dataset_scripts' builders, or what `python -m dataset_scripts.parquet.publish` wrote."
        )
    for split in splits.values():
        for column in ("modality", "label"):
            if not isinstance(split.features[column], ClassLabel):
                kind = getattr(split.features[column], "dtype", type(split.features[column]).__name__)
                raise ValueError(
                    f"{name}: column {column} is of type {kind}, and must be a ClassLabel, which names its classes: "
                    f"cast it by `class_encode_column({column!r})`."
                )
        kind = split.features.get(PAIRS, Value("string"))
        if getattr(kind, "dtype", None) not in ("string", "large_string", "null"):  # null: of none alone
            raise ValueError(
                f"{name}: column {PAIRS} is of type {getattr(kind, 'dtype', type(kind).__name__)}, and must hold strings: the "
                "name that a sketch and its photo share within their class, or none. Cast it, or remove the column."
            )
    if "train" not in splits:
        raise ValueError(f"{name} has no split train: all its classes are unseen. Name fewer of them in unseen.txt.")


def join_splits(first: Dataset, second: Dataset) -> Dataset:
    """Both splits' rows, each picture once: some data sets search their hold-out in photos that they train on."""
    known = set(zip(first["modality"][:], first["label"][:], first["file"][:]))
    rows = zip(second["modality"][:], second["label"][:], second["file"][:])
    return concatenate_datasets([first, second.select([i for i, row in enumerate(rows) if row not in known])])


class Pictures(Sequence):
    """The pictures of one modality in a split: `pictures[i]` is a decoded PIL image, `pictures.labels[i]` its class, and
    `pictures.instances[i]` the name that a sketch and the photo of the very same thing share within the class, or None.

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
        labels = list(self.rows["label"])
        self.files = list(self.rows["file"])
        if bad := [file for file, label in zip(self.files, labels) if label is None or label < 0]:
            raise ValueError(f"{len(bad):,} pictures have no label, such as {bad[0]}: the data set does not say their classes.")
        self.labels = torch.tensor(labels)
        self.names = split.features["label"].names
        paired = PAIRS in self.rows.column_names
        self.instances = [name or None for name in self.rows[PAIRS]] if paired else [None] * len(labels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row):
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        cell = self.rows[row]["image"]
        try:
            image = open_image(cell["bytes"] if cell["bytes"] is not None else cell["path"])
        except ValueError as error:
            raise ValueError(f"{self.files[row]}: {error} {CURE}") from error
        image.filename = self.files[row]  # type: ignore[attr-defined]
        return image
