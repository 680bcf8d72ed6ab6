"""Parquet shards of one split: planned from the files on disk, written one batch at a time, skipped where finished.

The plan is made first, from sizes alone, so that the shards' number is in their names and a fingerprint of their files
in their metadata. `Dataset.to_parquet` would not put the pictures inside, and the builder's own Parquet form cannot be
resumed.
"""

import glob
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.pool import ThreadPool

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from dataset_scripts.core.faults import fault_of
from dataset_scripts.core.scan import ClassFolder
from dataset_scripts.core.splits import SPLITS

FORMAT = "1"  # raised when the same files would give other shards
BATCH = 100  # rows in memory and in a row group, which is what a reader fetches to show one picture
SOURCE, CORRUPT = b"dataset_scripts.source", b"dataset_scripts.corrupt"


@dataclass
class ShardReport:
    """What a split's shards hold.

    Attributes:
        files: names of the shards.
        classes: labels that have rows.
        counts: modality -> rows.
        finished: shards that were there already.
        corrupt: pictures left out, relative to ``data_dir``.
    """

    files: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: {"sketch": 0, "photo": 0})
    finished: int = 0
    corrupt: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.counts['sketch']:,} sketches, {self.counts['photo']:,} photos in {len(self.files)} shards"
        text += f" ({self.finished} were finished already)" if self.finished else ""
        return text + (f"; {len(self.corrupt)} corrupt files left out: {', '.join(self.corrupt)}" if self.corrupt else "")


@dataclass
class Shard:
    """A run of consecutive rows: how many, and a fingerprint of them and of the files they come from."""

    num_rows: int
    source: str


def write_split(builder, split: str, parts: list[ClassFolder], folder: str, shard_bytes: int, skip_corrupt: bool):
    """Write ``<folder>/<split>-00000-of-0000N.parquet``.

    Args:
        builder: gives the rows.
        split: train, validation or test.
        parts: the split's class folders.
        folder: where the shards go.
        shard_bytes: size of the pictures at which a shard is closed.
        skip_corrupt: leave out pictures that do not decode instead of stopping.

    Returns:
        A `ShardReport`.

    Raises:
        ValueError: a picture does not decode. The shards before it stay, and a rerun goes on from there.
    """
    os.makedirs(folder, exist_ok=True)
    features = builder.info.features
    shards = list(plan_shards(_rows(builder, parts), str(features), shard_bytes))
    report, remaining = ShardReport(), _rows(builder, parts)
    with tqdm(total=sum(s.num_rows for s in shards), desc=f"{builder.config.name} {split}", unit=" files") as progress:
        for index, shard in enumerate(shards):
            path = os.path.join(folder, f"{split}-{index:05d}-of-{len(shards):05d}.parquet")
            rows = list(islice(remaining, shard.num_rows))
            corrupt = finished_shard(path, shard)
            if corrupt is None:
                corrupt = write_shard(path, rows, features, shard, skip_corrupt, progress)
            else:
                report.finished += 1
                progress.update(len(rows))
            report.files.append(os.path.basename(path))
            report.corrupt += corrupt
            for row in rows:
                if row["file"] not in corrupt:
                    report.counts[features["modality"].int2str(row["modality"])] += 1
                    report.classes.add(features["label"].int2str(row["label"]))
    return report


def _rows(builder, parts: list[ClassFolder]) -> Iterator[dict]:
    for part in parts:
        yield from builder.table(part).to_pylist()


def plan_shards(rows: Iterable[dict], features: str, shard_bytes: int) -> Iterator[Shard]:
    """Cut rows into shards of about `shard_bytes` of pictures, the last one smaller."""

    def fresh():
        return hashlib.blake2b(f"{FORMAT} {features}".encode(), digest_size=16)

    digest, num_rows, size = fresh(), 0, 0
    for row in rows:
        status = os.stat(row["image"]["path"])
        digest.update(repr((row, status.st_size, status.st_mtime_ns)).encode())
        num_rows, size = num_rows + 1, size + status.st_size
        if size >= shard_bytes:
            yield Shard(num_rows, digest.hexdigest())
            digest, num_rows, size = fresh(), 0, 0
    if num_rows:
        yield Shard(num_rows, digest.hexdigest())


def finished_shard(path: str, shard: Shard) -> list[str] | None:
    """Corrupt files that were left out of a finished shard of the same files, or None where it must be written."""
    if not os.path.isfile(path):
        return None
    metadata = pq.read_metadata(path).metadata or {}
    return json.loads(metadata[CORRUPT]) if metadata.get(SOURCE) == shard.source.encode() else None


def write_shard(path: str, rows: list[dict], features, shard: Shard, skip_corrupt: bool, progress: tqdm) -> list[str]:
    """Write one shard under a temporary name, then rename it; returns the corrupt files left out."""
    temporary = f"{path}.tmp"
    try:
        corrupt = write_rows(temporary, rows, features, shard, skip_corrupt, progress)
    except BaseException:  # a stop too: part of a shard is of no use, and the disk may be full
        with suppress(OSError):
            os.remove(temporary)
        raise
    os.replace(temporary, path)
    return corrupt


def write_rows(path: str, rows: list[dict], features, shard: Shard, skip_corrupt: bool, progress: tqdm) -> list[str]:
    """Write the rows with their pictures inside; returns the corrupt files left out."""
    corrupt, schema = [], portable_schema(features)
    with ThreadPool(4) as pool, pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            # A blank sketch is left out where that is allowed, but stops nothing.
            kinds = [features["modality"].int2str(row["modality"]) if skip_corrupt else "photo" for row in batch]
            images = pool.starmap(read_sound, zip([row["image"]["path"] for row in batch], kinds))
            broken = [row["file"] for row, image in zip(batch, images) if image is None]
            if broken and not skip_corrupt:
                raise ValueError(
                    f"corrupt pictures: {', '.join(broken)}. Replace them, or leave them out with --skip_corrupt; "
                    "finished shards are kept, run the same command again to go on"
                )
            corrupt += broken
            kept = [
                {**row, "image": {"bytes": image, "path": os.path.basename(row["image"]["path"])}}
                for row, image in zip(batch, images)
                if image is not None
            ]
            writer.write_table(pa.Table.from_pylist(kept, schema=schema), row_group_size=BATCH)
            progress.update(len(batch))
        writer.add_key_value_metadata({SOURCE: shard.source.encode(), CORRUPT: json.dumps(corrupt).encode()})
    return corrupt


def portable_schema(features) -> pa.Schema:
    """Schema with the features beside it, in words that `datasets` 3 reads too: it knows no `List`, 4 and 5 know `Sequence`."""
    schema = features.arrow_schema
    described = schema.metadata[b"huggingface"].replace(b'"_type": "List"', b'"_type": "Sequence"')
    return schema.with_metadata({b"huggingface": described})


def read_sound(path: str, modality: str) -> bytes | None:
    """Bytes of a picture, or None when they do not decode to the last pixel or are a blank sketch."""
    with open(path, "rb") as file:
        content = file.read()
    return content if fault_of(io.BytesIO(content), modality) is None else None


def remove_stale_shards(folder: str, written: dict[str, ShardReport]) -> list[str]:
    """Delete shards and temporary files that an earlier plan left in `folder`; returns their names."""
    keep = {name for report in written.values() for name in report.files}
    paths = [p for split in SPLITS for p in glob.glob(os.path.join(glob.escape(folder), f"{split}-*-of-*.parquet*"))]
    stale = sorted(os.path.basename(path) for path in paths if os.path.basename(path) not in keep)
    for name in stale:
        os.remove(os.path.join(folder, name))
    return stale
