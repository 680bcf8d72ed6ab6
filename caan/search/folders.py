"""Where a folder of this machine is in a gallery: in which of its roots, however it is spelt; and roots inside each other."""

import os
from pathlib import Path

from caan.search.engine import Engine, Folder
from pipeline_caan import SYSTEM_FOLDERS, SYSTEM_MARKS, show_path


def locate(engine: Engine, folder: str | os.PathLike) -> Folder:
    """A folder of this machine as a gallery keeps it.

    Raises:
        ValueError: it is in none of the gallery's folders.
    """
    found = inside(engine, folder)
    if found is None:
        roots = ", ".join(show_path(os.fsdecode(root)) for root in engine.roots()) or "none"
        raise ValueError(f"{show_path(os.path.abspath(folder))} is not in the gallery {engine.uri}; its folders are {roots}.")
    return found


def inside(engine: Engine, folder: str | os.PathLike) -> Folder | None:
    """The same in the nearest root above it, by its name or else by what links lead to; None where there is none.

    A root of a gallery on the Hub is an address, and so is a folder below it.
    """
    roots = sorted(engine.roots(), key=len, reverse=True)
    text = os.fsencode(folder)
    for root in roots:
        if b"://" in root and (text + b"/").startswith(root + b"/"):
            return Folder(root, text[len(root) + 1 :].rstrip(b"/"))
    for spelt in (os.path.abspath, os.path.realpath):
        place = Path(spelt(folder))
        for root in roots:
            above = spelt(os.fsdecode(root))
            if place.is_relative_to(above):
                below = place.relative_to(above).as_posix()
                return Folder(root, b"" if below == "." else os.fsencode(below))
    return None


def root_for(engine: Engine, folder: str | os.PathLike) -> Folder:
    """A folder in its root; a new root where it is in none, or is left out of the one above it, as a hidden folder is."""
    found = inside(engine, folder)
    if found is None or any(left_out(name) for name in os.fsdecode(found.path).split("/")):
        return Folder(os.fsencode(os.path.abspath(folder)))
    return found


def left_out(name: str) -> bool:
    """Whether folders of this name are left out where they lie in another one (`pipeline_caan.read_folder`)."""
    return name.startswith(SYSTEM_MARKS) or name.casefold() in SYSTEM_FOLDERS


def take_over(engine: Engine, root: bytes) -> None:
    """A root takes the place of those below it whose photos were found in it too, by their hashes. One that it does not reach
    stays: it is hidden, left out, or on a disk that is not connected."""
    for other in engine.roots():
        place = Path(os.fsdecode(other))
        if other != root and place.is_relative_to(os.fsdecode(root)):
            below = os.fsencode(place.relative_to(os.fsdecode(root)).as_posix())
            empty = next(engine.photos(Folder(other)), None) is None
            if empty or next(engine.photos(Folder(root, below)), None):
                engine.remove_root(other)
