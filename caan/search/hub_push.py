"""A gallery becomes a data set on the Hub: first what would be sent is written and described, then it is sent.

with tempfile.TemporaryDirectory() as folder:
    prepared = prepare_gallery(engine, "org/holidays", Path(folder))
    print(prepared)
    print(upload_gallery(prepared))
"""

import fnmatch
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from caan.data.provenance import public_name
from caan.search.encoding import make_thumbnail
from caan.search.engine import Engine
from caan.search.hub_card import write_card
from caan.search.hub_files import FILES, Row, path_text, write_files
from caan.search.identity import SETTING, SOURCE
from pipeline_caan import show_path

AT_ONCE = 100  # contents that are read at once
OWN = (".gitattributes", "README.md", FILES)


@dataclass(frozen=True)
class Prepared:
    """What would be sent: `folder` holds it. `str()` says it in words.

    outside: photos left out since they are links that lead out of their folder; missing: since their files are not there, so
    that it cannot be told whether they are. example: a path as it would be read there.
    """

    repo: str
    folder: Path
    public: bool
    contents: int
    photos: int
    bytes: int
    outside: int
    missing: int
    example: str
    model: str

    def __str__(self) -> str:
        left = [f"{self.outside:,} links that lead out of their folder"] if self.outside else []
        left += [f"{self.missing:,} whose files are not there"] if self.missing else []
        return "\n".join(
            [
                f"to upload to {self.repo}, {'PUBLIC: everyone can read it' if self.public else 'private'}:",
                f"  {self.contents:,} pictures ({self.photos:,} files), {self.bytes / 1e6:,.1f} MB: thumbnails without EXIF, "
                "vectors, hashes of the files, and paths below the gallery's folders",
                f"  such as {self.example}",
                f"  made by {self.model}",
                *([f"  left out: {', '.join(left)}"] if left else []),
            ]
        )


def push_gallery(
    engine: Engine, repo: str, public: bool = False, confirm: Callable[[Prepared], bool] = lambda prepared: True
) -> str | None:
    """Sends a gallery to the Hub; returns the data set's address, None where `confirm`, which gets what would be sent, says no.

    Args:
        repo: "org/name", or "name" alone for one's own; made where it is missing, private unless `public`.

    Raises:
        ValueError: nothing to send, or the repository holds other things. OSError: the Hub refuses, does not answer, or the
            repository is public and `public` was not asked for. Nothing is changed there.
    """
    require_gallery_or_nothing(repo, public)
    with tempfile.TemporaryDirectory(prefix="caan-gallery-") as folder:
        prepared = prepare_gallery(engine, repo, Path(folder), public)
        return upload_gallery(prepared) if confirm(prepared) else None


def prepare_gallery(engine: Engine, repo: str, folder: Path, public: bool = False) -> Prepared:
    """Writes what would be sent into an empty folder: Parquet files and a card.

    Raises:
        ValueError: there is no photo, or no model is known.
    """
    settings = public_settings(engine.settings(), engine.uri)
    paths, outside, missing = public_paths(engine)
    if not paths:
        raise ValueError(f"The gallery {engine.uri} has no photo to push ({outside:,} links, {missing:,} files not there).")
    size = write_files(folder, read_rows(engine, paths), len(paths), engine.size().width, {"settings": settings})
    example = show_path(path_text(next(iter(paths.values()))[0]))
    model = f"{settings[SOURCE]['model']} (weights {settings[SETTING]['weights'][:12]})"
    photos = sum(map(len, paths.values()))
    prepared = Prepared(repo, folder, public, len(paths), photos, size, outside, missing, example, model)
    write_card(folder, repo, len(paths), photos, engine.size().width, settings)
    return prepared


def public_settings(kept: dict[str, str], uri: str) -> dict:
    """The model of a gallery, without any path of this machine; other settings stay here."""
    if SETTING not in kept or SOURCE not in kept:
        raise ValueError(f"The gallery {uri} has no model yet: caan index FOLDER adds photos.")
    model, source = json.loads(kept[SETTING]), json.loads(kept[SOURCE])
    return {
        SETTING: {**model, "name": public_name(model.get("name") or "")},
        SOURCE: {**source, "model": public_name(source["model"])},
    }


def public_paths(engine: Engine) -> tuple[dict[bytes, list[bytes]], int, int]:
    """Paths of each content, in the order in which the gallery gives them; and how many photos are left out: links that lead
    out of their root, and files that are not there."""
    roots = {root: number for number, root in enumerate(engine.roots(), 1)}
    real = {root: os.path.realpath(root) for root in roots}
    paths: dict[bytes, list[bytes]] = {}
    outside = missing = 0
    for photo in engine.photos():
        if not photo.content:
            continue
        place = os.path.join(photo.root, photo.path)
        if not os.path.exists(place):
            missing += 1
        elif not os.path.realpath(place).startswith(os.path.join(real[photo.root], b"")):
            outside += 1
        else:
            path = photo.path if len(roots) == 1 else b"%d/%b" % (roots[photo.root], photo.path)
            paths.setdefault(photo.content, []).append(path)
    return paths, outside, missing


def read_rows(engine: Engine, paths: dict[bytes, list[bytes]]) -> Iterator[Row]:
    """The pictures as they are sent."""
    hashes: Sequence[bytes] = list(paths)
    for start in range(0, len(hashes), AT_ONCE):
        part = hashes[start : start + AT_ONCE]
        for content, vector in zip(part, engine.vectors(part)):
            yield Row(content, paths[content], vector, without_notes(engine.thumbnail(content) or b""))


def without_notes(thumbnail: bytes) -> bytes:
    """A JPEG without EXIF, comments or the like: as it is where it has none, else written anew; b"" where it is no picture."""
    try:
        image = Image.open(io.BytesIO(thumbnail))
        if image.format == "JPEG" and {name for name, _ in getattr(image, "applist", [])} <= {"APP0", "APP14"}:
            return thumbnail
        return make_thumbnail(image)
    except (OSError, ValueError):
        return b""


def require_gallery_or_nothing(repo: str, public: bool) -> None:
    """Looks before any work whether a repository may be written to. What cannot be looked at is left for the upload to judge.

    Raises:
        ValueError: it is there and holds other things than a gallery. OSError: it is public, and `public` is false.
    """
    from huggingface_hub import HfApi

    from dataset_scripts.parquet.upload import refuse_public

    if not public:
        refuse_public(repo)
    try:
        names = HfApi().list_repo_files(repo, repo_type="dataset")
    except Exception:  # not there, or no Hub
        return
    for name in names:
        if not any(fnmatch.fnmatch(name, pattern) for pattern in OWN):
            raise ValueError(f"{repo} holds {name}, which is not of a gallery: give another repository.")


def upload_gallery(prepared: Prepared) -> str:
    """Sends what was prepared, in one commit; returns the data set's address.

    Raises:
        ValueError, OSError: as `push_gallery`.
    """
    from dataset_scripts.parquet.upload import UploadError, reason, upload

    require_gallery_or_nothing(prepared.repo, prepared.public)
    try:
        return upload(str(prepared.folder), prepared.repo, private=not prepared.public)
    except UploadError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise OSError(f"{reason(cause, prepared.repo)} The gallery is whole; the same command goes on.") from error
