"""The files of a gallery on the Hub: Parquet that `datasets.load_dataset` reads, a row a picture.

hash        SHA-256 of the photo's bytes, as hex
paths       its files, relative to their folder; of several folders each path begins with the folder's number: 1/, 2/, ...
vector      float16, unit length
thumbnail   JPEG, as `datasets.Image`; null where there is none

The metadata of each file say what made it: `caan.gallery`, JSON.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FORMAT = 1
HEADER = b"caan.gallery"
FILES = "data/photos-*.parquet"
ROWS = 10_000  # of each file but the last: about 110 MB
GROUP = 100  # rows that are read for one thumbnail: about 1 MB


class Row(NamedTuple):
    """A picture: hash (32 bytes), paths as bytes, vector (width,) float16, thumbnail b"" where there is none."""

    hash: bytes
    paths: list[bytes]
    vector: np.ndarray
    thumbnail: bytes


def path_text(path: bytes) -> str:
    """A path as text, which Parquet asks for: % and bytes that are no UTF-8 are percent-coded, so that none is lost."""
    text = path.replace(b"%", b"%25").decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda sign: f"%{ord(sign[0]) - 0xDC00:02X}", text)


def path_bytes(text: str) -> bytes:
    """The path that `path_text` wrote."""
    return unquote_to_bytes(text)


def make_schema(width: int, header: dict) -> pa.Schema:
    """Columns, with the features that `datasets` reads. They are written as every version since 3.6 knows them."""
    text = {"dtype": "string", "_type": "Value"}
    features = {
        "hash": text,
        "paths": {"feature": text, "_type": "Sequence"},
        "vector": {"feature": {"dtype": "float16", "_type": "Value"}, "length": width, "_type": "Sequence"},
        "thumbnail": {"_type": "Image"},
    }
    columns = {
        "hash": pa.string(),
        "paths": pa.list_(pa.string()),
        "vector": pa.list_(pa.float16(), width),
        "thumbnail": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    }
    return pa.schema(columns, {"huggingface": json.dumps({"info": {"features": features}}), HEADER: json.dumps(header)})


def write_files(folder: Path, rows: Iterable[Row], count: int, width: int, header: dict) -> int:
    """Writes `count` rows below a folder; returns the bytes of the files."""
    schema, remaining = make_schema(width, {"format": FORMAT, "contents": count, **header}), iter(rows)
    number, written = -(-count // ROWS), 0
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for part in range(number):
        path = folder / "data" / f"photos-{part:05d}-of-{number:05d}.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            left = ROWS
            while left and (group := list(islice(remaining, min(GROUP, left)))):
                writer.write_table(to_table(group, schema))
                left -= len(group)
        written += path.stat().st_size
    return written


def to_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Rows as Parquet keeps them."""
    columns = {
        "hash": [row.hash.hex() for row in rows],
        "paths": [[path_text(path) for path in row.paths] for row in rows],
        "vector": [np.asarray(row.vector, dtype=np.float16) for row in rows],
        "thumbnail": [{"bytes": row.thumbnail, "path": None} if row.thumbnail else None for row in rows],
    }
    return pa.table(columns, schema)


def open_files(folder: Path, uri: str) -> tuple[list[pq.ParquetFile], dict]:
    """The files of a gallery and their header.

    Raises:
        ValueError: it is no gallery, not whole, or one of a later format.
    """
    files = []
    try:
        files = [pq.ParquetFile(path) for path in sorted(folder.glob(FILES))]
        header = json.loads(files[0].schema_arrow.metadata[HEADER])
    except (IndexError, KeyError, TypeError, ValueError, OSError) as error:  # pyarrow's are ValueError or OSError
        raise ValueError(f"{uri} is no gallery: caan index --push ORG/NAME makes one. ({type(error).__name__})") from error
    if header["format"] != FORMAT:
        raise ValueError(f"{uri} was written by a later version of caan: update caan.")
    rows = sum(file.metadata.num_rows for file in files)
    if rows != header["contents"]:
        raise ValueError(f"{uri} is not whole: it has {rows:,} pictures of {header['contents']:,}. Download or push it again.")
    return files, header


def read_columns(files: list[pq.ParquetFile]) -> tuple[list[bytes], list[list[bytes]], np.ndarray]:
    """Hashes, paths, and vectors (n, width) float16."""
    hashes: list[bytes] = []
    paths: list[list[bytes]] = []
    vectors = []
    for file in files:
        table = file.read(["hash", "paths", "vector"])
        hashes += map(bytes.fromhex, table["hash"].to_pylist())
        paths += [[path_bytes(text) for text in row] for row in table["paths"].to_pylist()]
        flat = table["vector"].combine_chunks()
        flat = flat if isinstance(flat, pa.Array) else pa.concat_arrays(flat.chunks)
        vectors.append(flat.flatten().to_numpy(zero_copy_only=False).reshape(len(table), flat.type.list_size))
    return hashes, paths, np.concatenate(vectors)


def read_thumbnails(files: list[pq.ParquetFile]) -> Iterator[bytes]:
    """All thumbnails, by row; b"" where there is none."""
    for file in files:
        for batch in file.iter_batches(GROUP, columns=["thumbnail"]):
            yield from (row["bytes"] if row else b"" for row in batch["thumbnail"].to_pylist())
