"""The collections of a gallery on Milvus, and the few calls on them that the engine makes.

NAME            contents: id (hash, as hex), added (nanoseconds since 1970), thumbnail (base64), vector
NAME_photos     photos that could be read: id (ROOT/PATH), content, size, mtime_ns, the vector of its content, so that a search
                of one folder is one filter on the id
NAME_notes      texts by id: caan, setting/NAME, root/ROOT, unreadable/ROOT/PATH; with a vector that means nothing, since
                Milvus demands one

ROOT is a number of 16 hex digits. PATH is percent-coded, so that ids are ASCII without quotes, in the order of their bytes, and
"all below a folder" is a range of ids: no pattern, so no sign of a name is a wild card.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote_from_bytes

import numpy as np

from caan.search.milvus_address import INDEXES, Address, checked, connect

BATCH = 500  # rows of one message: with thumbnails about 10 MB, and Milvus takes 64
MOST = 16_000  # results of one search; Milvus gives 16,384
ID = 16_384  # bytes of an id: a path of 4,096 bytes, percent-coded, and more
TEXT = 65_535  # bytes of a text
Item = TypeVar("Item")


def row_id(root: str, path: bytes) -> str:
    """The id of a photo, from its root's number and its path."""
    return f"{root}/{quote_from_bytes(path)}"


def below(prefix: str) -> str:
    """The filter on ids that begin with `prefix` and a slash; 0 comes next after the slash."""
    return f'id >= "{prefix}/" and id < "{prefix}0"'


def batches(items: Iterable[Item], size: int = BATCH) -> Iterator[list[Item]]:
    """Lists of at most `size` items, in order."""
    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part


def to_vector(value: Any) -> np.ndarray:
    """A vector (width,) float32, in whatever form the client gives it: numbers, or bytes of float16, alone or in a list."""
    value = value[0] if isinstance(value, list) and isinstance(value[0], bytes) else value
    return np.frombuffer(value, "<f2").astype(np.float32) if isinstance(value, bytes) else np.asarray(value, np.float32)


class Tables:
    """The collections of one gallery, on one connection.

    Every call gives what any process has written before (consistency "Strong").
    """

    def __init__(self, address: Address):
        self.address, self.client = address, connect(address)
        self.contents, self.photos, self.notes = (address.collection + end for end in ("", "_photos", "_notes"))
        self._there: set[str] = set()
        self._half = True  # vectors are float16; Milvus Lite knows float32 alone

    def there(self, name: str) -> bool:
        """Whether a collection is there; it is loaded then, if it was not."""
        if name not in self._there:
            with checked(self.address):
                if not (self.client.has_collection(name) and self._indexed(name)):
                    return False  # without an index it was made by a process that was killed, and is empty
                self.client.load_collection(name, replica_number=self.address.replicas)
                self._half = self._half and self.fields(name).get("vector") != "FLOAT_VECTOR"
            self._there.add(name)
        return True

    def fields(self, name: str) -> dict[str, str]:
        """The fields of a collection, with the names of their types."""
        with checked(self.address):
            return {field["name"]: field["type"].name for field in self.client.describe_collection(name)["fields"]}

    def width(self) -> int:
        """Numbers of a vector; 0 before there is any."""
        if not self.there(self.contents):
            return 0
        with checked(self.address):
            described = self.client.describe_collection(self.contents)
        return next(int(field["params"]["dim"]) for field in described["fields"] if field["name"] == "vector")

    def make_notes(self) -> None:
        """Makes the collection of texts; nothing where it is there."""
        self._make(self.notes, [("value", "VARCHAR", {"max_length": TEXT})], 2, "FLOAT_VECTOR")

    def make_vectors(self, width: int) -> None:
        """Makes the collections with vectors; nothing where they are there."""
        photos = [("content", "VARCHAR", {"max_length": 64}), ("size", "INT64", {}), ("mtime_ns", "INT64", {})]
        contents = [("added", "INT64", {}), ("thumbnail", "VARCHAR", {"max_length": TEXT, "mmap_enabled": True})]
        for name, fields in ((self.photos, photos), (self.contents, contents)):
            try:
                self._make(name, fields, width, "FLOAT16_VECTOR" if self._half else "FLOAT_VECTOR")
            except OSError as error:
                if "Float16Vector" not in str(error):
                    raise
                self._half = False
                self._make(name, fields, width, "FLOAT_VECTOR")

    def _make(self, name: str, fields: list[tuple[str, str, dict]], width: int, kind: str) -> None:
        from pymilvus import DataType

        if self.there(name):
            return
        schema, index = self.client.create_schema(auto_id=False, enable_dynamic_field=False), self.client.prepare_index_params()
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=ID)
        for field, of, options in fields:
            schema.add_field(field, DataType[of], **options)
        schema.add_field("vector", DataType[kind], dim=width)
        plain = name == self.notes
        of = "FLAT" if plain else self.address.index
        index.add_index("vector", index_type=of, metric_type="L2" if plain else "IP", params=INDEXES[of])
        if name == self.photos:
            index.add_index("content", index_type="INVERTED")
        try:
            with checked(self.address):
                if not self.client.has_collection(name):
                    self.client.create_collection(
                        name, schema=schema, num_shards=self.address.shards, consistency_level="Strong"
                    )
                if not self._indexed(name):
                    self.client.create_index(name, index)
        except OSError:
            if not self.there(name):  # else another process was faster
                raise
        self.there(name)

    def _indexed(self, name: str) -> bool:
        return bool(self.client.list_indexes(name, field_name="vector"))

    def upsert(self, name: str, rows: Iterable[dict]) -> None:
        """Adds or replaces rows."""
        for part in batches(rows):
            with checked(self.address):
                self.client.upsert(name, part)

    def write_notes(self, texts: dict[str, str]) -> None:
        """Adds or replaces texts."""
        self.upsert(self.notes, ({"id": name, "value": text, "vector": [0.0, 0.0]} for name, text in texts.items()))

    def delete(self, name: str, ids: Iterable[str]) -> None:
        """Removes rows; nothing for those that are not there."""
        if self.there(name):
            for part in batches(ids):
                with checked(self.address):
                    self.client.delete(name, ids=part)

    def delete_where(self, name: str, condition: str) -> None:
        """Removes the rows that a filter is true of."""
        if self.there(name):
            with checked(self.address):
                self.client.delete(name, filter=condition)

    def rows(self, name: str, condition: str, fields: Sequence[str], size: int = BATCH) -> Iterator[dict]:
        """The rows that a filter is true of, in parts of `size`, however many there are."""
        if not self.there(name):
            return
        with checked(self.address):  # an iterator asks four times before its first row: few rows come without
            part = self.client.query(name, filter=condition, output_fields=list(fields), limit=size)
        if len(part) < size:
            yield from part
            return
        with checked(self.address):
            pages = self.client.query_iterator(name, batch_size=size, filter=condition, output_fields=list(fields))
        try:
            while True:
                with checked(self.address):
                    part = pages.next()
                if not part:
                    return
                yield from part
        finally:
            pages.close()

    def get(self, name: str, ids: Iterable[str], fields: Sequence[str] = ("id",)) -> dict[str, dict]:
        """Rows by id; those that are not there are left out."""
        found: dict[str, dict] = {}
        if self.there(name):
            for part in batches(ids):
                with checked(self.address):
                    found.update((row["id"], row) for row in self.client.get(name, ids=part, output_fields=list(fields)))
        return found

    def count(self, name: str, condition: str = "") -> int:
        """How many rows a filter is true of."""
        if not self.there(name):
            return 0
        with checked(self.address):
            return self.client.query(name, filter=condition, output_fields=["count(*)"])[0]["count(*)"]

    def search(self, name: str, query: np.ndarray, limit: int, condition: str = "", group: str = "id") -> list[str]:
        """Values of the field `group` of the rows nearest to a vector (width,), each once, best first."""
        if not self.there(name):
            return []
        limit = min(limit, MOST)
        grouped = {} if group == "id" else {"group_by_field": group}
        settings = {"params": {"ef": max(limit, 64)}} if self.address.index == "HNSW" else {}
        with checked(self.address):
            (hits,) = self.client.search(
                name,
                data=[query.astype(np.float16 if self._half else np.float32)],
                limit=limit,
                filter=condition,
                output_fields=[group],
                search_params={"metric_type": "IP", **settings},
                **grouped,
            )
        return list(dict.fromkeys(hit["entity"][group] for hit in hits))

    def vector(self, values: np.ndarray) -> np.ndarray:
        """A vector in the form that the collections keep."""
        return values if self._half else values.astype(np.float32)

    def drop(self) -> None:
        """Deletes the collections; the texts last, since they say whose the others are."""
        for name in (self.photos, self.contents, self.notes):
            with checked(self.address):
                self.client.drop_collection(name)
        self._there.clear()
