"""Where galleries are: a name in the user's data folder, a folder, a server, a data set on the Hub; and the model used last.

holidays                           a name: a folder below the data folder of the user
./holidays  /data/holidays         a folder
milvus://host:19530/collection     a server (extra `milvus`)
hf://datasets/org/holidays         a data set on the Hub, read-only
"""

import contextlib
import os
import re
import warnings
from pathlib import Path

import platformdirs

from caan.search.engine import Engine

DEFAULT = "default"
NAME = re.compile(r"(?![.\s])[^/\\:\x00-\x1f\x7f]{1,100}(?<!\s)")  # no path, no address, not hidden
HOME = "CAAN_HOME"  # in the environment: another place for the data folder
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.rclone"}


def data_folder() -> Path:
    """Where named galleries and the name of the model used last are kept."""
    return Path(os.environ.get(HOME) or platformdirs.user_data_dir("caan", appauthor=False))


def gallery_folder(name: str) -> Path:
    """The folder of a named gallery."""
    return data_folder() / "galleries" / name


def gallery_names() -> list[str]:
    """The named galleries of the user, sorted."""
    from caan.search.sqlite import FILE

    return sorted(path.parent.name for path in (data_folder() / "galleries").glob(f"*/{FILE}"))


def place_of(uri: str) -> Path:
    """The folder that a name or a path means: a plain word is a name, anything else a path.

    Raises:
        ValueError: it is empty or blank, mostly a variable of a shell that is not set.
    """
    if not uri.strip():
        raise ValueError(f"{uri!r} names no gallery: give a name or a folder.")
    return gallery_folder(uri) if NAME.fullmatch(uri) else Path(uri).absolute()


def open_engine(uri: str, create: bool = True) -> Engine:
    """What keeps the gallery at a place.

    Raises:
        ValueError: there is none and `create` is false, it is damaged, or an address of an unknown kind.
        ImportError: an extra is missing; with the command that installs it.
    """
    scheme, mark, _ = uri.partition("://")
    if not mark:
        from caan.search.embedded import EmbeddedEngine

        place = place_of(uri)
        warn_of_network(place)
        return EmbeddedEngine(place, create)
    if scheme in ("milvus", "milvus+file"):
        from caan.search.milvus import MilvusEngine

        return MilvusEngine(uri, create)
    if scheme == "hf":
        from caan.search.hub import HubEngine

        return HubEngine(uri)
    raise ValueError(
        f"No gallery is at an address like {uri}: give a name, a folder, milvus://HOST:PORT/NAME or hf://datasets/ORG/NAME."
    )


def warn_of_network(place: Path) -> None:
    """A warning for a folder on a network file system, where several machines' locks on one file do not hold each other."""
    if (kind := file_system(place)) in NETWORK:
        warnings.warn(
            f"{place} is on a network file system ({kind}): one machine alone may use this gallery, or it can be damaged. "
            "Keep it on a disk of this machine, or on a Milvus server.",
            stacklevel=3,
        )


def file_system(place: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The kind of file system that a path is on; None where the system does not say (other than Linux)."""
    try:
        lines = [line.split(" ") for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()]
    except OSError:
        return None
    points = {Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point)): kind for _, point, kind, *_ in lines}
    return next((points[path] for path in (place, *place.parents) if path in points), None)


def last_model() -> str | None:
    """The source of the model that a gallery was made with last, as JSON."""
    try:
        return (data_folder() / "model").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def keep_last_model(source: str) -> None:
    """Notes the model that was used last, where there is a place for it: no gallery depends on it."""
    with contextlib.suppress(OSError):
        data_folder().mkdir(parents=True, exist_ok=True)
        (data_folder() / "model").write_text(source + "\n", encoding="utf-8")
