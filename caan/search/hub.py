"""The gallery on the Hub: Parquet files of a data set, read into memory, to search only.

hf://datasets/org/holidays            the newest
hf://datasets/org/holidays@v1         a branch, tag or commit

Files are downloaded once, into the cache of huggingface_hub; with HF_HUB_OFFLINE=1 they are taken from there. `hub_push.py`
makes such a data set of any other gallery.
"""

import json
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from caan.search.engine import Content, Engine, Folder, Photo, Size
from caan.search.hub_files import FILES, GROUP, ROWS, open_files, read_columns, read_thumbnails

ADDRESS = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^@\s]+))?")
CHUNK = 20_000  # vectors that are multiplied at once, as float32
UNIT = 0.01  # how far the length of a float16 vector may be from 1


class HubEngine(Engine):
    """A gallery on the Hub. Its only root is its address, and photos lie below it: `hf://datasets/org/holidays/2024/sea.jpg`.

    Sizes and times of files are not published: they are 0.

    Raises:
        ValueError: the address is not complete, the data set is not there, no gallery, or not whole; and each write.
        OSError: the Hub does not answer, and the files are not in the cache.
    """

    def __init__(self, uri: str):
        match = ADDRESS.fullmatch(uri)
        if not match:
            raise ValueError(f"{uri} is no address of a gallery on the Hub: hf://datasets/ORG/NAME or .../NAME@REVISION.")
        self._open(download(match[1], match[2], uri), uri)

    @classmethod
    def from_folder(cls, folder: str | Path, uri: str = "") -> "HubEngine":
        """The gallery in a folder, such as a download of the data set."""
        engine = cls.__new__(cls)
        engine._open(Path(folder), uri or f"hf://{Path(folder).absolute()}")
        return engine

    def _open(self, folder: Path, uri: str) -> None:
        self.uri, self._root = uri, uri.rpartition("@")[0].encode() if ADDRESS.fullmatch(uri) and "@" in uri else uri.encode()
        self._files, self._header = open_files(folder, uri)
        self._hashes, self._paths, self._vectors = read_columns(self._files)
        self._numbers = {content: row for row, content in enumerate(self._hashes)}
        self._bytes = sum(path.stat().st_size for path in folder.glob(FILES))
        self._lock = threading.Lock()  # a Parquet file is read by one thread at a time
        self._group: tuple[tuple[int, int], list] | None = None

    def settings(self) -> dict[str, str]:
        return {name: json.dumps(value) for name, value in self._header["settings"].items()}

    def roots(self) -> list[bytes]:
        return [self._root]

    def photos(self, folder: Folder | None = None) -> Iterator[Photo]:
        for content in self._hashes:
            yield from self.files([content], folder)[content]

    def known(self, hashes: Collection[bytes]) -> set[bytes]:
        return {content for content in hashes if content in self._numbers}

    def nearest(self, query: np.ndarray, count: int, folder: Folder | None = None) -> list[tuple[bytes, float]]:
        query = np.asarray(query, dtype=np.float32)
        rows = np.arange(len(self._hashes)) if folder is None else self._rows_in(folder)
        parts = [self._vectors[rows[n : n + CHUNK]].astype(np.float32) @ query for n in range(0, len(rows), CHUNK)]
        scores = np.concatenate([np.empty(0, np.float32), *parts])
        order = np.argsort(-scores, kind="stable")[:count]
        return [(self._hashes[rows[n]], float(scores[n])) for n in order]

    def _rows_in(self, folder: Folder) -> np.ndarray:
        """Rows with a photo in a folder."""
        if folder.root != self._root:
            return np.empty(0, dtype=np.int64)
        start = folder.path + b"/" if folder.path else b""
        inside = (any(path.startswith(start) for path in paths) for paths in self._paths)
        return np.flatnonzero(np.fromiter(inside, dtype=bool, count=len(self._paths)))

    def files(self, hashes: Sequence[bytes], folder: Folder | None = None) -> dict[bytes, list[Photo]]:
        found = {}
        for content in hashes:
            row = self._numbers.get(content)
            photos = [Photo(self._root, path, 0, 0, content) for path in (self._paths[row] if row is not None else [])]
            found[content] = sorted(photo for photo in photos if folder is None or folder.holds(photo))
        return found

    def vectors(self, hashes: Sequence[bytes]) -> np.ndarray:
        found = np.zeros((len(hashes), self._vectors.shape[1]), dtype=np.float32)
        for place, content in enumerate(hashes):
            if content in self._numbers:
                found[place] = self._vectors[self._numbers[content]]
        return found

    def count(self) -> int:
        return len(self._hashes)

    def sample(self, count: int) -> np.ndarray:
        rows = np.linspace(0, len(self._hashes) - 1, min(count, len(self._hashes))).astype(int)
        return self._vectors[rows].astype(np.float32)

    def thumbnail(self, content: bytes) -> bytes | None:
        row = self._numbers.get(content)
        if row is None:
            return None
        number, row = divmod(row, ROWS)
        with self._lock:
            place = number, row // GROUP
            if self._group is None or self._group[0] != place:
                table = self._files[number].read_row_group(place[1], ["thumbnail"])
                self._group = place, table["thumbnail"].to_pylist()
            found = self._group[1][row % GROUP]
        return found["bytes"] if found else None

    def size(self) -> Size:
        photos = sum(map(len, self._paths))
        return Size(photos, len(self._hashes), 0, self._vectors.shape[1], self._vectors.nbytes, self._bytes)

    def verify(self) -> list[str]:
        norms = [
            np.linalg.norm(self._vectors[n : n + CHUNK].astype(np.float32), axis=1)
            for n in range(0, self._header["contents"], CHUNK)
        ]
        wrong = int((~(np.abs(np.concatenate(norms) - 1) < UNIT)).sum())
        found = [f"{wrong:,} vectors are damaged"] if wrong else []
        found += ["pictures are there twice"] if len(self._numbers) != len(self._hashes) else []
        try:
            with self._lock:
                bare = sum(not thumbnail for thumbnail in read_thumbnails(self._files))
        except (ValueError, OSError) as error:
            return [*found, f"thumbnails cannot be read: {' '.join(str(error).split())}"]
        return [*found, f"{bare:,} pictures have no thumbnail"] if bare else found

    def close(self) -> None:
        for file in self._files:
            file.close()

    # ------------------------------------------------------------------------------------------ writes: none

    def _refuse(self) -> NoReturn:
        raise ValueError(f"The gallery {self.uri} is read-only: change the one that it was pushed from, and push that again.")

    def set_settings(self, settings: dict[str, str]) -> None:
        self._refuse()

    def add_root(self, root: bytes) -> None:
        self._refuse()

    def move_root(self, old: bytes, new: bytes) -> None:
        self._refuse()

    def remove_root(self, root: bytes) -> None:
        self._refuse()

    def put(self, photos: Sequence[Photo], contents: Sequence[Content] = ()) -> list[Photo]:
        self._refuse()

    def drop(self, photos: Iterable[Photo]) -> int:
        self._refuse()

    def sweep(self) -> int:
        self._refuse()

    def remove(self) -> None:
        self._refuse()


def download(repo: str, revision: str | None, uri: str) -> Path:
    """The folder in the cache with the files of a data set.

    Raises:
        ValueError: it is not there, or not for you. OSError: the Hub does not answer, and the cache has nothing.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=[FILES]))
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"There is no data set {uri}, or it is private and not yours: hf auth login, or set HF_TOKEN."
        ) from error
    except LocalEntryNotFoundError as error:
        raise OSError(f"{uri} is not in the cache, and the Hub cannot be reached (HF_HUB_OFFLINE?).") from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise ValueError(f"{uri} cannot be downloaded: {' '.join(str(error).split())[:300]}") from error
