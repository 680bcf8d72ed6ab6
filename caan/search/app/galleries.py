"""The galleries that the page offers: opened when they are chosen, their models shared, their folders listed."""

import os
from collections import Counter, OrderedDict
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from caan.options import AppOptions, GalleryOptions
from caan.search.choosing import chosen_source
from caan.search.embedded import EmbeddedEngine
from caan.search.encoder import Encoder, Source
from caan.search.engine import Engine
from caan.search.gallery import Gallery
from caan.search.identity import SOURCE
from caan.search.names import DEFAULT, gallery_names, open_engine
from caan.search.sqlite import FILE
from pipeline_caan import show_path

MODELS = 2  # that are kept in memory: galleries of the same model share it
DEPTH, FOLDERS = 3, 400  # levels below a root, and folders in all, that are offered


class Galleries:
    """Galleries by the names that the page offers; no others are opened, whatever a request asks for. For one thread at a time.

    Args:
        options: the gallery that the page begins with, its model, and where models run.
        others: offer all named galleries of the user beside it.
    """

    def __init__(self, options: AppOptions, others: bool = True):
        self.options, self.others = options, others
        self.first = options.gallery
        names = gallery_names() if others else []
        if self.first == DEFAULT and names and DEFAULT not in names:
            self.first = names[0]
        self._open: dict[str, tuple[Gallery, Any]] = {}  # with `file_of` it
        self._encoders: OrderedDict[Source, Encoder] = OrderedDict()
        self._folders: dict[str, tuple[Any, list[str]]] = {}

    def names(self) -> list[str]:
        """What can be chosen, the first one first."""
        return list(dict.fromkeys([self.first, *(gallery_names() if self.others else [])]))

    def labels(self) -> dict[str, str]:
        """What the page calls each that can be chosen: the last part of its address, all of it where two end alike."""
        short = {name: os.path.basename(name.rstrip("/")) or name for name in self.names()}
        often = Counter(short.values())
        return {name: show_path(label if often[label] == 1 else name) for name, label in short.items()}

    def get(self, name: str) -> Gallery:
        """A gallery with its model loaded.

        Raises:
            ValueError: the page does not offer it, or it cannot be opened.
        """
        if name not in self.names():
            raise ValueError("There is no such gallery any more: load the page again.")
        if name in self._open:
            gallery, file = self._open[name]
            if file_of(gallery.engine) == file:
                return gallery
            del self._open[name]  # removed, and perhaps another one made in its place
            self._folders.pop(name, None)
            gallery.close()
        gallery = self._load(name)
        self._open[name] = gallery, file_of(gallery.engine)
        return gallery

    def _load(self, name: str) -> Gallery:
        engine = open_engine(name, create=False)
        kept = engine.settings().get(SOURCE)
        source = chosen_source(self.options if name == self.first else GalleryOptions(), kept)
        if source is None:
            raise ValueError(f"The gallery {name} is empty: caan index FOLDER --model MODEL adds photos.")
        return Gallery(engine, self._encoder(source))

    def _encoder(self, source: Source) -> Encoder:
        if source not in self._encoders:
            while len(self._encoders) >= MODELS:
                old, _ = self._encoders.popitem(last=False)
                self._forget(old)
            self._encoders[source] = Encoder.load(source, self.options.device)
        self._encoders.move_to_end(source)
        return self._encoders[source]

    def _forget(self, source: Source) -> None:
        """Closes the galleries of a model, so that nothing holds it."""
        for name, (gallery, _) in list(self._open.items()):
            if gallery.encoder.source == source.absolute():
                del self._open[name]
                gallery.close()

    def folders(self, name: str) -> list[str]:
        """The folders of a gallery with photos in or below them, sorted, at most `DEPTH` levels below each root."""
        gallery = self.get(name)
        state = gallery.engine.size(), gallery.engine.roots()  # the bytes change with every write
        known = self._folders.get(name)
        if known is None or known[0] != state:
            known = state, list_folders(gallery)
            self._folders[name] = known
        return known[1]

    def folder(self, name: str, token: str | None) -> str | None:
        """The folder that a token of the page means; None = all. Raises ValueError where it is none of the gallery's."""
        if not token:
            return None
        path = os.fsdecode(unquote_to_bytes(token))
        if path not in self.folders(name):
            raise ValueError("This folder is not in the gallery: choose another.")
        return path


def file_of(engine: Engine) -> tuple[int, int] | None:
    """What tells the file of a gallery on this machine from another one at its place; None where there is none."""
    try:
        status = os.stat(os.path.join(engine.folder, FILE)) if isinstance(engine, EmbeddedEngine) else None
    except OSError:
        return None
    return status and (status.st_dev, status.st_ino)


def list_folders(gallery: Gallery) -> list[str]:
    """The folders of a gallery's photos, as `Galleries.folders` gives them."""
    found: dict[bytes, set[bytes]] = {root: set() for root in gallery.engine.roots()}
    for photo in gallery.engine.photos():
        parts = photo.path.split(b"/")[:-1][:DEPTH]
        found.setdefault(photo.root, set()).update(b"/".join(parts[:count]) for count in range(1, len(parts) + 1))
    paths = [os.path.join(root, below) for root in found for below in (b"", *sorted(found[root]))]
    return [os.fsdecode(path.rstrip(b"/") or b"/") for path in paths[:FOLDERS]]


def token_of(path: str) -> str:
    """A folder as the page names it: any bytes as plain letters."""
    return quote(os.fsencode(path), safe="/")


def labels_of(paths: list[str]) -> list[str]:
    """What the page calls folders: those below another one by their names, indented."""
    labels = []
    for path in paths:
        above = [other for other in paths if path != other and path.startswith(other.rstrip("/") + "/")]
        name = os.path.basename(path) if above else path
        labels.append("\u2003" * len(above) + show_path(name))
    return labels
