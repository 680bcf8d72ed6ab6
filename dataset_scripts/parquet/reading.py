"""Reads a published Parquet form with the options that the builders take."""

import io
from functools import partial

import datasets

from dataset_scripts.core.faults import fault_of
from dataset_scripts.core.options import PictureOptions
from dataset_scripts.core.texts import say

SHOWN = 10  # names of corrupt pictures before "and N more"


def load_published(name: str, config: str | None, options: PictureOptions, **settings) -> datasets.DatasetDict:
    """`datasets.load_dataset` of a folder or Hub id.

    Args:
        options: `verify` and `skip_corrupt` decode the pictures inside; `allow_partial` has nothing to do.
        settings: passed to `load_dataset`.

    Raises:
        ValueError: `duplicates` or `validation_photos`, which were settled when it was published; corrupt pictures; or a file
            that is no whole Parquet.
    """
    settled = sorted(options.given().keys() & {"duplicates", "validation_photos"})
    if settled:
        raise ValueError(
            f"{name}: {' and '.join(settled)} cannot be chosen for a Parquet form, they were settled when it was published. "
            "Leave them out, or publish again with other values (python -m dataset_scripts.parquet.publish)."
        )
    try:
        splits = datasets.load_dataset(name, config, **settings)
    except datasets.exceptions.DatasetGenerationError as error:  # hides what happened
        cause = error.__cause__ or error
        if getattr(cause, "errno", None):  # such as a full disk
            raise cause from None
        raise ValueError(f"{name} cannot be read: {' '.join(str(cause).split())} Download or publish it again.") from error
    if not (options.verify or options.skip_corrupt):
        return splits
    num_proc = settings.get("num_proc")
    sound = {
        split: rows.filter(partial(_is_sound, modalities=rows.features["modality"].names), num_proc=num_proc)
        for split, rows in undecoded(splits).items()
    }
    corrupt = [file for split in splits for file in sorted(set(splits[split]["file"]) - set(sound[split]["file"]))]
    if not corrupt:
        return splits
    more = f" and {len(corrupt) - SHOWN:,} more" if len(corrupt) > SHOWN else ""
    named = f"corrupt pictures or blank sketches ({len(corrupt):,}): {', '.join(corrupt[:SHOWN])}{more}"
    if not options.skip_corrupt:
        raise ValueError(f"{name}: {named}. Leave them out with skip_corrupt=True (--skip_corrupt).")
    say(f"{name}: left out, {named}")
    return datasets.DatasetDict({split: rows.cast_column("image", datasets.Image()) for split, rows in sound.items()})


def undecoded(splits: datasets.DatasetDict) -> datasets.DatasetDict:
    """The splits with pictures as bytes.

    Raises:
        ValueError: columns are missing.
    """
    for split, rows in splits.items():
        if missing := [column for column in ("image", "modality", "file") if column not in rows.features]:
            raise ValueError(f"split {split} has no column {', '.join(missing)}: this is no published benchmark.")
    return splits.cast_column("image", datasets.Image(decode=False))


def _is_sound(row: dict, modalities: list[str]) -> bool:
    content = row["image"]["bytes"]
    file = row["image"]["path"] if content is None else io.BytesIO(content)
    return fault_of(file, modalities[row["modality"]]) is None
