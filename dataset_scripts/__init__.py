"""One `datasets` builder a benchmark, and the two functions that training and evaluation call.

    from dataset_scripts import load, load_descriptions
    splits = load("sketchy", config="104_21", data_dir="Sketchy")   # a builder here
    splits = load("org/sketchy-zs", config="104_21")                # or its Parquet form: a folder or a Hub repository
    load_descriptions("sketchy")["hot-air_balloon"]                 # the class as the archive spells it

`datasets` 4 and later do not run loading scripts, so `load` makes the builder itself; the same files are scripts for 3.x.
"""

import importlib
import os
from dataclasses import fields, replace

import datasets

from dataset_scripts.core.descriptions import read_descriptions
from dataset_scripts.core.options import VALIDATION_PHOTOS, PictureOptions
from dataset_scripts.parquet.reading import load_published

__all__ = ["BUILDERS", "load", "load_descriptions", "read_descriptions"]

BUILDERS = {  # name, which is also the module -> class; imported when asked for
    "openmoji": "OpenMoji",
    "sketchy": "Sketchy",
    "tuberlin": "TUBerlin",
    "quickdraw": "QuickDraw",
    "folder": "Folder",
}


def load(
    name: str,
    config: str | None = None,
    data_dir: str | None = None,
    cache_dir: str | None = None,
    num_proc: int | None = None,
    allow_partial: bool = False,
    verify: bool = False,
    skip_corrupt: bool = False,
    duplicates: bool = False,
    validation_photos: float = VALIDATION_PHOTOS,
    **builder_kwargs,
) -> datasets.DatasetDict:
    """Build a data set, or take it from the cache.

    The options from `allow_partial` on are taken for every builder and every Parquet form. Where there is nothing to do they
    have no effect; where the rows would have to be other ones than there are, they are refused.

    Args:
        name: one of `BUILDERS`, or a folder or Hub id (``org/name``) with Parquet files.
        config: zero-shot split, such as "104_21"; the builder's default where not given.
        data_dir: folder of the archives, for the builders that need one.
        cache_dir: where Arrow files go; the cache of `datasets` where not given.
        num_proc: processes that build.
        allow_partial: go on where classes or pictures are missing.
        verify: decode every picture first (minutes), and stop where one is corrupt or a sketch is blank.
        skip_corrupt: the same, but leave these pictures out; they are named and counted.
        duplicates: keep both copies of photos that two folders list (Sketchy's published protocol).
        validation_photos: share of each seen class's photos that is held out, from 0 to below 1.
        builder_kwargs: further fields of the builder's config, such as `unseen` of "folder".

    Returns:
        Splits ``train`` (seen classes), ``validation`` (held-out items of seen classes) and ``test`` (unseen classes).

    Raises:
        ValueError: no such builder, the message lists what there is; an option out of range or refused; corrupt pictures.
        FileNotFoundError: no data in `data_dir`; the message lists the accepted layouts.
    """
    options = PictureOptions(allow_partial, verify, skip_corrupt, duplicates, validation_photos)
    options.check_options()
    if name in BUILDERS:
        given = options.given() | builder_kwargs
        return _build(name, num_proc, config_name=config, data_dir=data_dir, cache_dir=cache_dir, **given)
    if os.path.isdir(name) or name.count("/") == 1:
        return load_published(
            name, config, options, data_dir=data_dir, cache_dir=cache_dir, num_proc=num_proc, **builder_kwargs
        )
    raise ValueError(_unknown(name) + " A folder or Hub id (org/name) with Parquet files loads too.")


def load_descriptions(name: str, data_dir: str | None = None) -> dict[str, list[str]]:
    """Texts of each class, keyed by the class's name in the archive.

    Args:
        name: one of `BUILDERS`.
        data_dir: the user's folder, which holds the texts of "folder".

    Raises:
        ValueError: no such builder; the message lists what there is.
    """
    if name not in BUILDERS:
        raise ValueError(_unknown(name))
    return replace(_builder_class(name).BUILDER_CONFIGS[0], data_dir=data_dir).descriptions


def _builder_class(name: str) -> type[datasets.DatasetBuilder]:
    return getattr(importlib.import_module(f"dataset_scripts.{name}"), BUILDERS[name])


def _build(name: str, num_proc: int | None, **settings) -> datasets.DatasetDict:
    builder_class = _builder_class(name)
    own = {field.name for field in fields(builder_class.BUILDER_CONFIG_CLASS)}
    if strange := settings.keys() - own - {"config_name", "cache_dir"}:
        raise ValueError(f"{name} has no option {', '.join(sorted(strange))}.")
    builder = builder_class(**settings)
    try:
        builder.download_and_prepare(num_proc=num_proc)
    except datasets.exceptions.DatasetGenerationError as error:  # hides what happened, such as a full disk
        raise (error.__cause__ if isinstance(error.__cause__, (OSError, ValueError)) else error) from None
    return builder.as_dataset()


def _unknown(name: str) -> str:
    return f"No data set {name!r}. Builders: {', '.join(BUILDERS)}."
