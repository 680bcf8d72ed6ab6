"""What the page asks for: each call takes a JSON object and gives one, `{"error": words}` where something is wrong.

search   {gallery, folder, sketch, top_k, known}   results for the sketch, a data URL; an empty pad gives none, and no error
more     {gallery, folder, content, top_k, known}  results for a photo's own vector
photo    {gallery, content}                        a larger picture, the paths of its copies
explain  {gallery, content, sketch}                which part of the photo answers which stroke
start    {}                                        galleries and the first one's folders
folders  {gallery}                                 the folders of a gallery

Photos are named by the hash of their content, folders by tokens of what the page was given: no request names a file.
"""

import base64
import functools
import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from caan.errors import explain as in_words
from caan.search.app.galleries import Galleries, labels_of, token_of
from caan.search.app.photos import larger_photo
from caan.search.app.uploads import field, is_blank, read_hash, read_sketch
from caan.search.gallery import Gallery
from caan.search.photos import full_path
from caan.search.results import Found, Result
from pipeline_caan import show_path

TOP_K = 30  # results, where the page does not say; at most 100
WAITING = 16  # requests that wait for their turn; further ones are refused
KEY = 16  # digits of a hash by which the page says which thumbnails it has
COPIES = 20  # paths of copies that are shown
LINKS = 12  # of an explanation
BATCH = "Image 0 of the batch: "  # how the processor's errors begin: the page sends one picture

log = logging.getLogger(__name__)


class Turns:
    """One request at a time, in memory and on the model; no more than `most` wait."""

    def __init__(self, most: int = WAITING):
        self._places, self._turn = threading.BoundedSemaphore(most), threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise ValueError("Too many people are searching at this moment: try again in a few seconds.")
        try:
            with self._turn:
                yield
        finally:
            self._places.release()


def answer(call: Callable[..., dict]) -> Callable[[Any, Any], dict]:
    """A call in its turn, whose errors are words for the page. What must be a bug goes to the log."""

    @functools.wraps(call)
    def answered(self: "Server", request: Any = None) -> dict:
        try:
            with self.turns.one():
                return call(self, {} if request is None else request)
        except Exception as error:
            return {"error": words_of(error, call.__name__)}

    return answered


def words_of(error: Exception, call: str) -> str:
    """What the page says of an error."""
    words = in_words(error)
    if words is None:
        log.exception("%s failed", call)
        words = "Something went wrong here; the terminal that caan app runs in says more."
    return words.removeprefix(BATCH).encode("utf-8", "backslashreplace").decode()


class Server:
    """Answers a page's requests from galleries."""

    def __init__(self, galleries: Galleries):
        self.galleries, self.turns = galleries, Turns()

    @property
    def calls(self) -> list[Callable[[Any], dict]]:
        """What the page may call, by its names."""
        return [self.start, self.folders, self.search, self.more, self.photo, self.explain]

    @answer
    def start(self, request: dict) -> dict:
        first = self.galleries.first
        galleries = [{"value": name, "label": label} for name, label in self.galleries.labels().items()]
        try:
            return {"galleries": galleries, "gallery": first, **self._describe(first)}
        except Exception as error:  # another one can be chosen
            return {"galleries": galleries, "gallery": first, "error": words_of(error, "start")}

    @answer
    def folders(self, request: dict) -> dict:
        return self._describe(field(request, "gallery", str, self.galleries.first))

    @answer
    def search(self, request: dict) -> dict:
        gallery = self._gallery(request)
        if not field(request, "sketch", str):
            return nothing()
        sketch = read_sketch(request["sketch"])
        if is_blank(sketch):
            return nothing()
        with warnings.catch_warnings(record=True) as caught:  # a picture that is hardly a drawing is warned of
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            query = gallery.encoder.sketch(sketch)
        doubts = [str(warning.message) for warning in caught if warning.category is UserWarning]
        return self._results(gallery, request, query, next(iter(doubts), ""))

    @answer
    def more(self, request: dict) -> dict:
        gallery, content = self._gallery(request), self._content(request)
        return self._results(gallery, request, gallery.engine.vectors([content])[0])

    @answer
    def photo(self, request: dict) -> dict:
        gallery, content = self._gallery(request), self._content(request)
        shown = larger_photo(gallery.engine, content)
        width, height = Image.open(io.BytesIO(shown.jpeg)).size
        paths = [show_path(full_path(file)) for file in self._files(gallery, content)]
        return {
            "picture": jpeg_url(shown.jpeg),
            "whole": shown.whole,
            "width": width,
            "height": height,
            "paths": paths[:COPIES],
            "copies": len(paths),
        }

    @answer
    def explain(self, request: dict) -> dict:
        from caan.search.app.explained import explained  # imports matplotlib

        gallery, content = self._gallery(request), self._content(request)
        sketch = read_sketch(field(request, "sketch", str))
        if is_blank(sketch):
            raise ValueError("The pad is empty: an explanation links strokes of a sketch to the photo.")
        photo = Image.open(io.BytesIO(larger_photo(gallery.engine, content).jpeg))
        encoder = gallery.encoder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return explained(encoder.model, encoder.processor, sketch, photo, LINKS)

    def _gallery(self, request: dict) -> Gallery:
        return self.galleries.get(field(request, "gallery", str, self.galleries.first))

    def _content(self, request: dict) -> bytes:
        gallery, content = self._gallery(request), read_hash(field(request, "content", str))
        if not gallery.engine.known([content]):
            raise ValueError("This photo is not in the gallery any more: search again.")
        return content

    def _files(self, gallery: Gallery, content: bytes) -> list:
        return gallery.engine.files([content])[content]

    def _describe(self, name: str) -> dict:
        """What the page shows of a gallery before a search."""
        folders = self.galleries.folders(name)
        size = self.galleries.get(name).engine.size()
        choices = [{"value": token_of(path), "label": label} for path, label in zip(folders, labels_of(folders))]
        return {"folders": choices, "photos": size.photos}

    def _results(self, gallery: Gallery, request: dict, query: Any, note: str = "") -> dict:
        name = field(request, "gallery", str, self.galleries.first)
        under = self.galleries.folder(name, field(request, "folder", str))
        top_k = field(request, "top_k", int, TOP_K)
        if not 1 <= top_k <= 100:
            raise ValueError(f"The page shows 1 to 100 results, not {top_k}.")
        found: Found = gallery.search_vector(query, top_k, under)
        known = {key for key in field(request, "known", list, []) if isinstance(key, str)}
        results = [self._result(gallery, result, known) for result in found]
        return {"results": results, "similar": found.similar, "note": note, "empty": False}

    @staticmethod
    def _result(gallery: Gallery, result: Result, known: set[str]) -> dict:
        """A result; with its thumbnail, where the page has none yet."""
        digits = result.content.hex()
        row: dict[str, Any] = {"content": digits, "score": round(result.score, 3), "copies": len(result.copies)}
        row["name"] = show_path(os.path.basename(result.path))
        if digits[:KEY] not in known:
            thumbnail = gallery.engine.thumbnail(result.content)
            row["thumbnail"] = jpeg_url(thumbnail) if thumbnail else ""
        return row


def nothing() -> dict:
    """The answer to an empty pad."""
    return {"results": [], "similar": True, "note": "", "empty": True}


def jpeg_url(jpeg: bytes) -> str:
    """A JPEG as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
