"""What lies in one folder: its sub-folders, its pictures, and what cannot be read, with the reason. Nothing is opened."""

import errno
import os
import stat
from dataclasses import dataclass, field

from PIL import Image

# Formats that Pillow only recognises, or hands to a program or package that a picture's reader may not have.
UNREADABLE_FORMATS = {"BUFR", "EPS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "WMF"}
# Pictures, whether or not what reads them is installed (pillow-heif, Pillow 11.3): an error then names the file and the cure.
CAMERA_SUFFIXES = (".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif")
SVG_SUFFIXES = (".svg", ".svgz")  # of sketches alone: among photos they are icons and logos
SYSTEM_MARKS = (".", "@", "#", "$", "~", "__")  # .ipynb_checkpoints, @eaDir, #recycle, $RECYCLE.BIN, ~snapshot, __MACOSX
SYSTEM_FOLDERS = {"lost+found", "system volume information", "recycler"}
NO_UTF8 = "its name is no UTF-8, rename it"


def image_suffixes(svg: bool = False) -> tuple[str, ...]:
    """Lower-case suffixes, with the dot, of pictures; a plugin of Pillow that was registered adds its own, `svg` drawings."""
    Image.init()
    read = {*Image.OPEN, "MPO"} - UNREADABLE_FORMATS  # JPEG's reader opens MPO, the pictures of stereo and panorama cameras
    known = [suffix for suffix, name in Image.registered_extensions().items() if name in read]
    return tuple(sorted({*known, *CAMERA_SUFFIXES, *(SVG_SUFFIXES if svg else ())}))


def shown(name: str) -> str:
    r"""A name as it can be printed and written: bytes that are no UTF-8 become ``\xe9``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_hidden_folder(name: str) -> bool:
    """Whether a folder belongs to a program or a file system and not to the user's data."""
    return name.startswith(SYSTEM_MARKS) or name.casefold() in SYSTEM_FOLDERS


@dataclass
class Entries:
    """What a folder holds; names are relative to it.

    Attributes:
        folders: its sub-folders, links to folders included, in no order.
        pictures: (name, bytes, time of change in ns) of each picture, in no order.
        broken: name as shown -> why the picture cannot be read.
        broken_folders: name as shown -> why the sub-folder cannot be read.
        skipped: name as shown -> why it is passed over: a hidden folder, a link back to where it lies, a link to nothing.
        hidden_files: number of files whose name begins with a dot.
        other_files: number of files that are not pictures.
    """

    folders: list[str] = field(default_factory=list)
    pictures: list[tuple[str, int, int]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    broken_folders: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    hidden_files: int = 0
    other_files: int = 0


def read_folder(path: str, suffixes: tuple[str, ...]) -> Entries:
    """Sort the entries of the folder `path`.

    Args:
        suffixes: lower-case suffixes of pictures, of `image_suffixes`.

    Raises:
        OSError: the folder itself cannot be read.
    """
    found = Entries()
    with os.scandir(path) as entries:
        for entry in entries:
            _sort_entry(found, entry, suffixes)
    return found


def _sort_entry(found: Entries, entry: os.DirEntry, suffixes: tuple[str, ...]) -> None:
    name, is_picture = entry.name, entry.name.lower().endswith(suffixes)
    try:
        status = entry.stat()
    except OSError as error:  # a broken link, a link loop, no right to look into the folder
        if name.startswith("."):
            found.hidden_files += 1
        else:
            (found.broken if is_picture else found.skipped)[shown(name)] = _reason(entry, error)
        return
    if stat.S_ISDIR(status.st_mode):
        _sort_folder(found, entry)
    elif name.startswith("."):
        found.hidden_files += 1
    elif not is_picture:
        found.other_files += 1
    elif problem := _picture_problem(entry, status):
        found.broken[shown(name)] = problem
    else:
        found.pictures.append((name, status.st_size, status.st_mtime_ns))


def _sort_folder(found: Entries, entry: os.DirEntry) -> None:
    if is_hidden_folder(entry.name):
        found.skipped[shown(entry.name)] = "hidden or system folder"
    elif entry.is_symlink() and _leads_back(entry.path):
        found.skipped[shown(entry.name)] = "link to a folder that holds it"
    elif not _is_utf8(entry.name):
        found.broken_folders[shown(entry.name)] = NO_UTF8
    else:
        found.folders.append(entry.name)


def _picture_problem(entry: os.DirEntry, status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "no file, but a pipe or device"
    if not status.st_size:
        return "empty"
    if not _is_utf8(entry.name):  # Arrow and Parquet hold nothing else
        return NO_UTF8
    if status.st_mode & 0o444 != 0o444 and not os.access(entry.path, os.R_OK):  # asked only where not all may read
        return "no right to read it"
    return None


def _leads_back(link: str) -> bool:
    """Whether a link to a folder leads to the folder that it lies in, or to one above."""
    target, home = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return home == target or home.startswith(target.rstrip(os.sep) + os.sep)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(entry: os.DirEntry, error: OSError) -> str:
    gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return "broken link" if gone and entry.is_symlink() else str(error.strerror).lower()
