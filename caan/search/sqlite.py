"""The SQLite file of a gallery: its tables, how it is opened, and what its errors mean."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from caan.search.engine import Folder, NoGallery

FILE = "gallery.sqlite"
APPLICATION, VERSION = 0x4341414E, 1  # "CAAN" in the file's header, and the form of the tables
WAIT = 60  # seconds for another writer; each holds the file for a fraction of one
ROOM = 1 << 16  # bytes; the index of a log takes half of it
UNIT = 0.01  # how far the length of a float16 vector may be from 1

# Numbers of contents come from the clock: nanoseconds, when a vector was made. They are never given twice, not even after an
# older file was copied back, and their vectors never change, so that what is made from them stays right.
# Thumbnails have a table of their own: between vectors they would make reading those 4 times slower.
TABLES = """
create table counters (name text primary key, value integer not null) strict;
insert into counters values ('generation', 0);
create table settings (name text primary key, value text not null) strict;
create table roots (id integer primary key, path blob not null unique) strict;
create table contents (
    id integer primary key, hash blob not null unique, vector blob not null
) strict;
create table photos (
    id integer primary key, root integer not null references roots, path blob not null, size integer not null,
    mtime_ns integer not null, content integer references contents, problem text not null, unique (root, path)
) strict;
create index photos_of_content on photos (content);
create table thumbnails (content integer primary key references contents on delete cascade, jpeg blob not null) strict;
"""
# Made when the first are kept: most galleries have none.
TOKENS = """create table if not exists tokens (
    content integer primary key references contents on delete cascade, packed blob not null
) strict"""


def require_gallery(folder: Path, create: bool) -> None:
    """Raises ValueError where a folder is no place for a gallery: it holds something else, or nothing and `create` is false."""
    if (folder / FILE).exists():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds other things than a gallery: give another place.")
    if not create:
        raise NoGallery(folder)
    folder.mkdir(parents=True, exist_ok=True)


def connect(file: Path) -> sqlite3.Connection:
    """The open file, with its tables.

    Raises:
        ValueError: it is damaged, no gallery, or one of a later version; it is left as it is.
    """
    with checked(file.parent):
        database = sqlite3.connect(address(file), uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False)
        try:
            prepare(database, file.parent)
        except BaseException:
            database.close()
            raise
    return database


def address(file: Path) -> str:
    """How SQLite is to open a file: for reading alone where its folder cannot be written, and there, since no log can be made
    either, as one that nobody changes, if nobody has a log open."""
    uri, log = file.absolute().as_uri(), file.with_name(file.name + "-wal")
    if is_writable(file):
        return uri
    return uri + ("?mode=ro" if log.exists() and log.stat().st_size else "?mode=ro&immutable=1")


def is_writable(file: Path) -> bool:
    """Whether a gallery can be written: by the rights of its file and folder, and by the room on its disk."""
    rights = os.access(file.parent, os.W_OK) and (os.access(file, os.W_OK) or not file.exists())
    return rights and not is_full(file.parent)


def is_full(folder: Path) -> bool:
    """Whether a disk lacks the room without which SQLite cannot even read by its log."""
    try:
        return shutil.disk_usage(folder).free < ROOM
    except OSError:
        return False


def prepare(database: sqlite3.Connection, folder: Path) -> None:
    """Settings of a connection; and the tables, in a new file. A file of another program is only read."""
    require_own(database, folder)
    database.execute("pragma foreign_keys = on")
    if is_writable(folder / FILE):
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
    if not database.execute("select 1 from sqlite_master").fetchone():
        make_tables(database)


def make_tables(database: sqlite3.Connection) -> None:
    """The tables, where no other process has made them meanwhile."""
    database.execute("begin immediate")
    if not database.execute("select 1 from sqlite_master").fetchone():
        for statement in TABLES.split(";\n"):
            database.execute(statement)
        database.execute(f"pragma application_id = {APPLICATION}")
        database.execute(f"pragma user_version = {VERSION}")
    database.execute("commit")


def require_own(database: sqlite3.Connection, folder: Path) -> None:
    """Raises ValueError for a database that is not empty and of another program, or of a later version."""
    application, version = (database.execute(f"pragma {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application != APPLICATION and database.execute("select 1 from sqlite_master").fetchone():
        raise ValueError(f"{folder / FILE} is a database of another program: give another place.")
    if version > VERSION:
        raise ValueError(
            f"{folder} was written by a later version of caan (format {version}, known is {VERSION}): update caan."
        )


@contextmanager
def checked(folder: Path) -> Iterator[None]:
    """Errors of SQLite as errors that say what is to be done. What is on disk is left as it is."""
    try:
        yield
    except sqlite3.Error as error:
        said = str(error)
        if "full" in said or (("readonly" in said or "disk I/O" in said or "unable to open" in said) and is_full(folder)):
            raise OSError(f"No space left on device for the gallery {folder}; what was written before is kept.") from error
        if "locked" in said:
            raise ValueError(f"The gallery {folder} is written by another process that does not end: wait for it.") from error
        if "readonly" in said or "unable to open" in said:
            raise PermissionError(
                f"The gallery {folder} cannot be written ({said}): check the rights of the folder."
            ) from error
        if isinstance(error, sqlite3.DatabaseError) and ("malformed" in said or "not a database" in said or "disk I/O" in said):
            raise ValueError(
                f"The gallery {folder} is damaged ({said}). It is left as it is: copy it back from a backup, or index the "
                "photos into another one (caan index FOLDER --gallery NAME)."
            ) from error
        raise


def damage(database: sqlite3.Connection) -> list[str]:
    """What is wrong in the file, in words: its pages, its references, its vectors."""
    found = [f"SQLite: {text}" for (text,) in database.execute("pragma integrity_check") if text != "ok"]
    if found:
        return found
    broken = database.execute("pragma foreign_key_check").fetchall()
    found += [f"{len(broken)} rows point to rows that are missing"] if broken else []
    query = "select count(*) from photos where (content is null) = (problem = '')"
    found += [f"{n} photos have neither a picture nor a reason" for (n,) in database.execute(query) if n]
    query = "select count(*) from contents where id not in (select content from thumbnails)"
    found += [f"{n} pictures have no thumbnail" for (n,) in database.execute(query) if n]
    return found + damaged_vectors(database)


def damaged_vectors(database: sqlite3.Connection) -> list[str]:
    """Vectors of another width than the first, or whose length is not 1."""
    width, wrong = None, 0
    for (vector,) in database.execute("select vector from contents order by id"):
        values = np.frombuffer(vector[: len(vector) // 2 * 2], dtype="<f2").astype(np.float32)
        width = width or len(vector)
        wrong += len(vector) != width or not abs(float(np.linalg.norm(values)) - 1) < UNIT
    return [f"{wrong} vectors are damaged"] if wrong else []


def file_bytes(path: Path) -> int:
    """The size of a file; 0 of what is none, or has gone since it was listed."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def unpack(rows: list[bytes]) -> np.ndarray:
    """Vectors (n, width) float32 as SQLite keeps them."""
    values = np.frombuffer(b"".join(rows), dtype="<f2").astype(np.float32)
    return values.reshape(len(rows), -1) if rows else np.empty((0, 0), dtype=np.float32)


def within(folder: Folder | None) -> tuple[str, tuple]:
    """A condition on photos and roots, and its values: below a folder. Bytes are compared, so that no sign is a wild card."""
    if folder is None:
        return "1", ()
    if not folder.path:
        return "roots.path = ?", (folder.root,)
    return "roots.path = ? and photos.path > ? and photos.path < ?", (folder.root, folder.path + b"/", folder.path + b"0")
