"""A publication owns its folder: an earlier one of the same data set is replaced, and nobody else's files are written over."""

import os
import re
from collections.abc import Iterable, Iterator

import pyarrow.parquet as pq
from huggingface_hub import DatasetCard

from dataset_scripts.core.splits import SPLITS
from dataset_scripts.parquet.shards import SOURCE

SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d+-of-\d+\.parquet(\.tmp)?")


def require_own(folder: str, pretty_name: str, configs: Iterable[str]) -> None:
    """Refuses a folder that holds what no publication of this data set wrote; hidden files do not count.

    Args:
        folder: where the publication goes; it may be missing. pretty_name: of its card. configs: names of its sub-folders.

    Raises:
        ValueError: naming the first of these files and the cure.
    """
    known = {*configs}
    for name in _visible(folder):
        path = os.path.join(folder, name)
        if name in known and os.path.isdir(path):
            foreign = next(
                (os.path.join(name, file) for file in _visible(path) if not is_shard(os.path.join(path, file))), None
            )
        else:
            foreign = None if name == "README.md" and is_card(path, pretty_name) else name
        if foreign:
            raise ValueError(
                f"{folder} holds {foreign}, which is not of an earlier publication of {pretty_name}. "
                "Give another --output_dir, or move it away."
            )


def _visible(folder: str) -> Iterator[str]:
    """Names in a folder that are not hidden, sorted; none where there is no folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    yield from sorted(name for name in names if not name.startswith("."))


def is_shard(path: str) -> bool:
    """Whether a file is a shard that `write_shard` wrote, or left half-written."""
    named = SHARD.fullmatch(os.path.basename(path))
    if not named or named[2]:
        return bool(named)
    try:
        return SOURCE in (pq.read_metadata(path).metadata or {})
    except (OSError, ValueError):  # no Parquet
        return False


def is_card(path: str, pretty_name: str) -> bool:
    """Whether a file is the card of a publication of that name."""
    try:
        return DatasetCard.load(path, ignore_metadata_errors=True).data.pretty_name == pretty_name
    except (OSError, ValueError):
        return False
