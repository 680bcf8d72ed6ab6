"""The texts of a gallery on Milvus: its format, settings and roots."""

import hashlib
import json
import time
from collections.abc import Iterator
from itertools import count
from urllib.parse import quote_from_bytes, unquote_to_bytes

from caan.search.engine import NoGallery
from caan.search.milvus_tables import TEXT, Tables, below

FORMAT = "1"


class Notes:
    """Settings and roots, in the collection of texts.

    A root has a number of 16 hex digits, which photos are kept by; it is made from the root's path, so that two processes that
    add it at once add one, and stays when the root moves.
    """

    def __init__(self, tables: Tables):
        self.tables = tables

    def require_own(self, create: bool) -> None:
        """Makes the collection where it is missing.

        Raises:
            ValueError: there is none and `create` is false; or it is of another program, or of a later format.
        """
        tables, uri = self.tables, self.tables.address.uri
        if tables.there(tables.notes):
            own = set(tables.fields(tables.notes)) == {"id", "value", "vector"}
        else:
            own = not tables.there(tables.contents) and not tables.there(tables.photos)
            if own and not create:
                raise NoGallery(uri, uri)
        if not own:
            raise ValueError(f"{uri} is a collection of another program: give another name.")
        tables.make_notes()
        version = tables.get(tables.notes, ["caan"], ("id", "value"))
        if not version:
            tables.write_notes({"caan": FORMAT})
        elif version["caan"]["value"] != FORMAT:
            raise ValueError(f"{uri} was written by a later version of caan: update caan.")

    def read(self, kind: str) -> Iterator[tuple[str, str]]:
        """Ids and texts of one kind, such as "root"."""
        for row in self.tables.rows(self.tables.notes, below(kind), ("id", "value")):
            yield row["id"], row["value"]

    def settings(self) -> dict[str, str]:
        """As `Engine.settings`."""
        return {name.removeprefix("setting/"): text for name, text in self.read("setting")}

    def set_settings(self, settings: dict[str, str]) -> None:
        """As `Engine.set_settings`. Raises ValueError for one that is too long."""
        for name, text in settings.items():
            if len(text.encode()) > TEXT:
                raise ValueError(f"The setting {name} is longer than the {TEXT:,} bytes that Milvus takes.")
        self.tables.write_notes({f"setting/{name}": text for name, text in settings.items()})

    def roots(self) -> dict[bytes, str]:
        """The number of each root, in the order in which they came."""
        rows = [(json.loads(text), name.removeprefix("root/")) for name, text in self.read("root")]
        rows.sort(key=lambda row: (row[0]["added"], row[1]))
        return {unquote_to_bytes(row["path"]): number for row, number in rows}

    def add_root(self, root: bytes) -> None:
        """As `Engine.add_root`."""
        known = self.roots()
        if root not in known:
            numbers = (hashlib.sha256(root + b"/%d" % n).hexdigest()[:16] for n in count())
            self._write_root(next(number for number in numbers if number not in known.values()), root, time.time_ns())

    def _write_root(self, number: str, root: bytes, added: int) -> None:
        self.tables.write_notes({f"root/{number}": json.dumps({"path": quote_from_bytes(root), "added": added})})

    def move_root(self, old: bytes, new: bytes) -> None:
        """As `Engine.move_root`."""
        known = self.roots()
        if new in known:
            raise ValueError(f"{new.decode(errors='backslashreplace')} is a root of the gallery already.")
        if old not in known:
            raise ValueError(f"{old.decode(errors='backslashreplace')} is no root of the gallery.")
        self._write_root(known[old], new, json.loads(dict(self.read("root"))[f"root/{known[old]}"])["added"])

    def remove_root(self, root: bytes) -> None:
        """As `Engine.remove_root`. Photos first: a kill leaves a root with fewer photos, and the same call goes on."""
        tables, number = self.tables, self.roots().get(root)
        if number is not None:
            tables.delete_where(tables.photos, below(number))
            tables.delete_where(tables.notes, below(f"unreadable/{number}"))
            tables.delete(tables.notes, [f"root/{number}"])
