"""What keeps a gallery: the calls that `Gallery` makes, the same for a folder on disk and for a server.

A third engine is one class more: it keeps photos (files, by root and path), contents (pictures, by the hash of their bytes,
with a vector and a thumbnail each) and a few settings, and finds the contents whose vectors are nearest.
`tests/search/contract.py` says what holds of each engine.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

UNREADABLE = b""  # the content of a photo that could not be read: it is kept, so that it is not tried again until it changes


class Photo(NamedTuple):
    """A file that a gallery knows.

    root: the folder it was found in, absolute; path: below it, with slashes; both as bytes (`os.fsencode`), since a name need
    be no text. size in bytes and mtime_ns as when it was read. content: the hash of its bytes, `UNREADABLE` where it is no
    picture; problem: then why, else "".
    """

    root: bytes
    path: bytes
    size: int
    mtime_ns: int
    content: bytes
    problem: str = ""


class Content(NamedTuple):
    """A picture by its bytes: hash (32 bytes), vector (width,) float16 of unit length, thumbnail (a JPEG without EXIF)."""

    hash: bytes
    vector: np.ndarray
    thumbnail: bytes


class Folder(NamedTuple):
    """A folder below a root, both as bytes; path b"" is the root itself."""

    root: bytes
    path: bytes = b""

    def holds(self, photo: Photo) -> bool:
        """Whether a photo lies in it or below it."""
        return photo.root == self.root and (not self.path or photo.path.startswith(self.path + b"/"))


@dataclass(frozen=True)
class Size:
    """What a gallery holds and takes: files, pictures (copies once), files that could not be read, the width of a vector, and
    the bytes of what is searched (live) and of all its files (total)."""

    photos: int
    contents: int
    unreadable: int
    width: int
    live_bytes: int
    total_bytes: int


class NoGallery(ValueError):
    """There is no gallery at a place, where none was to be made."""

    def __init__(self, uri: object, name: object = "NAME"):
        super().__init__(f"There is no gallery at {uri}: caan index FOLDER --gallery {name} makes one.")


class Engine(ABC):
    """Keeps photos, contents and settings. Every write is all or nothing, and on disk when the call returns.

    `uri` names it, for messages.
    """

    uri: str

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """What `set_settings` wrote, JSON texts by name; empty of a new gallery."""

    @abstractmethod
    def set_settings(self, settings: dict[str, str]) -> None:
        """Adds or replaces settings."""

    @abstractmethod
    def roots(self) -> list[bytes]:
        """The folders that photos are kept relative to, in the order in which they came."""

    @abstractmethod
    def add_root(self, root: bytes) -> None:
        """Adds a root; nothing where it is there."""

    @abstractmethod
    def move_root(self, old: bytes, new: bytes) -> None:
        """Gives a root another place; the paths below it stay.

        Raises:
            ValueError: `old` is no root, or `new` is one.
        """

    @abstractmethod
    def remove_root(self, root: bytes) -> None:
        """Removes a root and all its photos; nothing where it is not there."""

    @abstractmethod
    def photos(self, folder: Folder | None = None) -> Iterator[Photo]:
        """All photos below a folder, None = all; the unreadable ones too."""

    @abstractmethod
    def known(self, hashes: Collection[bytes]) -> set[bytes]:
        """Those of some contents that have a vector here."""

    @abstractmethod
    def put(self, photos: Sequence[Photo], contents: Sequence[Content] = ()) -> list[Photo]:
        """Adds or replaces photos, by root and path, and adds contents that are not known yet.

        Returns the photos that were left out: their content is neither among `contents` nor known, or their root is not there,
        since another process has removed it. Contents that no photo has any more go with `sweep`.
        """

    @abstractmethod
    def drop(self, photos: Iterable[Photo]) -> int:
        """Removes photos by root and path; returns how many were there."""

    @abstractmethod
    def sweep(self) -> int:
        """Removes contents that no photo has; returns how many."""

    @abstractmethod
    def nearest(self, query: np.ndarray, count: int, folder: Folder | None = None) -> list[tuple[bytes, float]]:
        """The `count` contents nearest to a unit vector (width,) float32, best first: hash and cosine similarity.

        folder: only contents that have a photo in it. Equal scores come in the order in which contents were added.
        """

    def prepare(self) -> None:  # noqa: B027  not every engine has something to make
        """Makes what speeds searches up, after much was written; by default there is nothing to make."""

    @abstractmethod
    def files(self, hashes: Sequence[bytes], folder: Folder | None = None) -> dict[bytes, list[Photo]]:
        """The photos of each content, by root and path."""

    @abstractmethod
    def vectors(self, hashes: Sequence[bytes]) -> np.ndarray:
        """Vectors (n, width) float32 of contents, in the given order; zeros for one that is not known, since another process
        has removed it."""

    @abstractmethod
    def count(self) -> int:
        """How many contents there are; quick, since every search asks."""

    @abstractmethod
    def sample(self, count: int) -> np.ndarray:
        """Vectors (n, width) float32 of `count` contents from all over the gallery, of all where there are fewer; the same ones
        until it changes."""

    @abstractmethod
    def thumbnail(self, content: bytes) -> bytes | None:
        """The thumbnail of a content; None where there is none."""

    def keep_tokens(self, tokens: Mapping[bytes, bytes]) -> None:
        """Keeps local tokens of contents, packed, for a second stage (`caan.search.second_stage`); of contents that are not
        known none are kept. They go with their content.

        Raises:
            ValueError: this kind of gallery has no place for them.
        """
        raise ValueError(f"{self.uri} has no place for local tokens: keep the gallery in a folder.")

    def tokens(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        """The kept tokens of contents, in the given order; None where there are none."""
        return [None] * len(hashes)

    @abstractmethod
    def size(self) -> Size:
        """What it holds and takes."""

    @abstractmethod
    def verify(self) -> list[str]:
        """What is damaged, in words; reads everything. Nothing is changed."""

    @abstractmethod
    def remove(self) -> None:
        """Deletes the whole gallery."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of files and connections."""
