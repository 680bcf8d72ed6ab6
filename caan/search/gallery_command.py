"""What galleries there are, what they hold, and whether they are whole.

    caan gallery list
    caan gallery info holidays
    caan gallery verify holidays                  # reads everything, changes nothing; status 1 where something is damaged
    caan gallery move-root holidays OLD NEW       # the photos' folder has another place: nothing is encoded again
    caan gallery remove-root holidays FOLDER      # its photos leave the gallery; the files stay
    caan gallery remove holidays --yes            # deletes the gallery, not the photos

exit status: 0 done; 1 bad input, or damage; 2 wrong options.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

from caan.errors import exit_on_error

if TYPE_CHECKING:
    from caan.search.engine import Engine
    from caan.search.gallery import Gallery

ACTIONS = {"list": 0, "info": 0, "verify": 0, "remove": 0, "move-root": 2, "remove-root": 1}  # and how many folders each takes


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("name", nargs="?", default="default", help="name or folder of the gallery (default: %(default)s)")
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="of move-root and remove-root")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    given = parser.parse_args(argv)
    if len(given.folders) != ACTIONS[given.action]:
        parser.error(f"{given.action} takes {ACTIONS[given.action]} folders after the gallery's name")
    with exit_on_error(prog):
        return run(given)


def run(given: argparse.Namespace) -> int:
    """Does one action; returns the exit status."""
    from caan.search.gallery import Gallery  # imports torch
    from caan.search.names import gallery_names, open_engine
    from pipeline_caan import show_path

    if given.action == "list":
        print("\n".join(map(line, gallery_names())) or "There is no gallery yet: caan index FOLDER makes one.")
        return 0
    with Gallery(open_engine(given.name, create=False)) as gallery:
        if given.action == "info":
            print(describe(gallery.engine))
        elif given.action == "verify":
            problems = gallery.verify()
            print("\n".join(problems) or "whole: every photo, vector and thumbnail is in order")
            return int(bool(problems))
        elif given.action == "move-root":
            old, new = (os.path.abspath(folder) for folder in given.folders)
            gallery.engine.move_root(os.fsencode(old), os.fsencode(new))
            print(f"moved: {show_path(old)} -> {show_path(new)}; caan index brings it up to date")
        elif given.action == "remove-root":
            remove_root(gallery, given.folders[0])
        else:
            remove(gallery, given)
    return 0


def remove_root(gallery: Gallery, folder: str) -> None:
    """Takes a folder out; of one inside a root `caan index` would bring the photos back."""
    inside = gallery.locate(folder).path
    print(f"{gallery.remove(folder):,} photos left the gallery; their files are where they were")
    if inside:
        print("The next caan index takes them in again, since the folder above stays: leave them out with --exclude.")


def line(name: str) -> str:
    """A named gallery in a line of the list."""
    from caan.search.gallery import Gallery
    from caan.search.names import gallery_folder, open_engine

    try:
        with Gallery(open_engine(str(gallery_folder(name)), create=False)) as gallery:
            size = gallery.info()
            return f"{name:20s} {size.photos:>10,} photos  {megabytes(size.total_bytes):>10}  {model_of(gallery.engine)}"
    except (ValueError, OSError) as error:
        return f"{name:20s} {error}"


def describe(engine: Engine) -> str:
    """What a gallery is and holds."""
    size = engine.size()
    roots = [os.fsencode(os.fsdecode(root)).decode("utf-8", "backslashreplace") for root in engine.roots()]
    rows = {
        "gallery": engine.uri,
        "model": model_of(engine),
        "folders": "\n             ".join(roots) or "none",
        "photos": f"{size.photos:,} ({size.contents:,} different ones), {size.unreadable:,} more files cannot be read",
        "vectors": f"{size.width} wide, float16",
        "on disk": f"{megabytes(size.live_bytes)} live, {megabytes(size.total_bytes)} in all",
    }
    return "\n".join(f"{name + ':':<12} {value}" for name, value in rows.items())


def model_of(engine: Engine) -> str:
    """The model that made a gallery, as it was named, its revision and the head of its weights' fingerprint."""
    from caan.search.encoder import Source
    from caan.search.identity import SETTING, SOURCE

    settings = engine.settings()
    if SETTING not in settings:
        return "no model yet"
    made, source = json.loads(settings[SETTING]), Source.from_json(settings[SOURCE])
    revision = f", revision {made['revision']}" if made.get("revision") else ""
    return f"{source.model} (weights {made['weights'][:12]}{revision})"


def megabytes(count: int) -> str:
    """Bytes in a unit that people read."""
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"


def remove(gallery: Gallery, given: argparse.Namespace) -> None:
    """Deletes a gallery after `--yes`. Raises ValueError without."""
    size = gallery.info()
    if not given.yes:
        raise ValueError(
            f"{gallery.engine.uri} holds what was made of {size.photos:,} photos; add --yes to delete it. The photos stay."
        )
    gallery.engine.remove()
    print(f"deleted: {gallery.engine.uri} (the photos are where they were)")
