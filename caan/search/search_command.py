"""Find photos of a gallery by a sketch.

    caan search sketch.png                               # a table, and a picture of the results: search.png
    caan search sketch.jpg -n 50 --under ~/Photos/2024   # fifty, in one folder
    caan search sketch.png --json                        # for programs; --paths: the paths alone
    caan search --clipboard                              # the picture in the clipboard
    cat sketch.png | caan search -                       # from a pipe
    caan search sketch.png --explain                     # also which part of a photo answers which stroke

The sketch may be a photo or scan of paper, a screenshot, a file of a drawing program (docs/sketches.md). "nothing similar": the
best photo stands out of the gallery no more than photos do for a sketch of something that is not there.

exit status: 0 done; 1 bad input; 2 wrong options; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from caan.errors import exit_on_error
from caan.options import SearchOptions
from caan.parsing import OptionParser

if TYPE_CHECKING:
    from caan.search.gallery import Found

STDIN = "-"


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    parser = OptionParser((SearchOptions,), prog=prog, description=__doc__)
    parser.add_argument("sketch", metavar="SKETCH", nargs="?", help="picture of a drawing, or - for standard input")
    parser.add_argument("--clipboard", action="store_true", help="take the picture in the clipboard")
    options, given = parser.fill(argv)
    if bool(given.sketch) == given.clipboard:
        parser.error("give a SKETCH or --clipboard")
    with exit_on_error(prog):
        search(options, read_clipboard() if given.clipboard else read_sketch(given.sketch))
    return 0


def search(options: SearchOptions, sketch: Any) -> None:
    """Searches, and prints and draws what was found."""
    from caan.search.choosing import open_gallery  # imports torch

    with open_gallery(options) as gallery:
        found = gallery.search(sketch, options.top_k, options.under)
        if options.json:
            print(as_json(found))
        elif options.paths:
            sys.stdout.buffer.write(b"".join(os.fsencode(result.path) + b"\n" for result in found))
        else:
            print(as_table(found))
        draw(options, gallery, sketch, found)


def as_json(found: Found) -> str:
    """The results as JSON: names that are no UTF-8 by surrogateescape, so that `os.fsencode` gives their bytes."""
    rows = [
        {"path": result.path, "score": round(result.score, 6), "rank": result.rank, "copies": list(result.copies)}
        for result in found
    ]
    return json.dumps(rows, indent=2)


def as_table(found: Found) -> str:
    """Rank, score, copies and path of each result; "nothing similar" above them where nothing stands out."""
    from pipeline_caan import show_path

    head = [] if found.similar else ["nothing similar: no photo stands out of the gallery. The nearest are"]
    rows = [
        f"{result.rank:4d}  {result.score:6.3f}  {show_path(result.path)}"
        + (f"  (and {len(result.copies) - 1} copies)" if len(result.copies) > 1 else "")
        for result in found
    ]
    return "\n".join([*head, *rows])


def draw(options: SearchOptions, gallery: Any, sketch: Any, found: Found) -> None:
    """The pictures that the options ask for."""
    if options.json or options.paths or options.picture == "none":
        return
    from caan.search.pictures import explain_grid, results_grid

    make = explain_grid if options.explain else results_grid
    picture = make(gallery, sketch, found)
    os.makedirs(os.path.dirname(options.picture) or ".", exist_ok=True)
    picture.save(options.picture)
    print(f"picture: {options.picture}")
    if options.open:
        picture.show()


def read_sketch(source: str) -> Any:
    """A sketch by its path, or the bytes of standard input."""
    if source != STDIN:
        return source
    data = sys.stdin.buffer.read()
    if not data:
        raise ValueError("standard input is empty: cat sketch.png | caan search -")
    return data


def read_clipboard() -> Any:
    """The picture in the clipboard.

    Raises:
        ValueError: there is none, or no way to it.
    """
    from PIL import Image, ImageGrab

    try:
        content: Any = ImageGrab.grabclipboard()
    except (NotImplementedError, OSError) as error:
        raise ValueError(f"The clipboard cannot be read: {error}. Save the picture to a file and give its name.") from error
    if isinstance(content, list) and content:  # files that were copied
        content = content[0]
    if not isinstance(content, (str, Image.Image)):
        raise ValueError("There is no picture in the clipboard: copy one first, or give the name of a file.")
    return content
