"""Find photos of a gallery by a sketch.

    caan search sketch.png                               # a table, and a picture of the results: search.png
    caan search sketch.jpg -n 50 --under ~/Photos/2024   # fifty, in one folder
    caan search sketch.png --json                        # for programs; --paths: the paths alone
    caan search sketch.png --print0                      # the same for xargs -0, whatever a name holds
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

from PIL import Image, ImageShow
from PIL.PngImagePlugin import PngInfo

from caan.errors import exit_on_error
from caan.options import PICTURE, SearchOptions
from caan.parsing import OptionParser

if TYPE_CHECKING:
    from caan.search.gallery import Found, Gallery
    from caan.search.results import Result

STDIN, NONE = "-", "none"
MARK = ("Software", "caan search")  # in the notes of a PNG


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

    if draws(options):
        require_free(options.picture, sketch)
    with open_gallery(options) as gallery:
        found = gallery.search(sketch, options.top_k, options.under)
        if not found and options.under:
            tell_nothing_under(options.under)
        if options.json:
            print(as_json(found))
        elif options.paths or options.print0:
            end = b"\0" if options.print0 else b"\n"
            sys.stdout.buffer.write(b"".join(os.fsencode(result.path) + end for result in found))
            sys.stdout.buffer.flush()
        else:
            print(as_table(found))
        draw(options, gallery, sketch, found)


def tell_nothing_under(folder: str) -> None:
    """Says that a gallery has nothing in a folder. Raises ValueError where there is no such folder either."""
    from pipeline_caan import show_path

    if not os.path.isdir(folder):
        raise ValueError(f"The gallery has no photo in {show_path(folder)}, and there is no such folder.")
    print(f"the gallery has no photo in {show_path(folder)}", file=sys.stderr)


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
    rows = [f"{result.rank:4d}  {result.score:6.3f}  {show_path(result.path)}{copies(result)}" for result in found]
    return "\n".join([*head, *rows])


def copies(result: Result) -> str:
    """How many other files a result stands for; nothing where there is none."""
    more = len(result.copies) - 1
    return f"  (and {more:,} {'copy' if more == 1 else 'copies'})" if more else ""


def for_programs(options: SearchOptions) -> bool:
    """Whether a program reads the answer."""
    return options.json or options.paths or options.print0


def draws(options: SearchOptions) -> bool:
    """Whether there is a picture; beside an answer for programs only where it is to be shown or explained."""
    return options.picture != NONE and (not for_programs(options) or options.open or options.explain)


def draw(options: SearchOptions, gallery: Gallery, sketch: Any, found: Found) -> None:
    """The picture that the options ask for."""
    if not draws(options):
        return
    from caan.search.pictures import explain_grid, results_grid

    make = explain_grid if options.explain else results_grid
    picture = make(gallery, sketch, found)
    os.makedirs(os.path.dirname(options.picture) or ".", exist_ok=True)
    notes = PngInfo()
    notes.add_text(*MARK)
    picture.save(options.picture, pnginfo=notes)  # of other formats the notes are left out
    print(f"picture: {options.picture}", file=sys.stderr if for_programs(options) else sys.stdout)
    if options.open:
        show(picture)


def show(picture: Image.Image) -> None:
    """Shows a picture by the system's program, where there is a display."""
    linux = sys.platform.startswith("linux")
    if (linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))) or not ImageShow.show(picture):
        print("--open: there is no display, or no program that shows pictures", file=sys.stderr)


def require_free(picture: str, sketch: Any) -> None:
    """Looks before the search whether the picture of the results would take the place of another one.

    Raises:
        ValueError: it is the sketch, or the usual name is of a file that no search wrote.
    """
    if not os.path.exists(picture):
        return
    if isinstance(sketch, str) and os.path.exists(sketch) and os.path.samefile(picture, sketch):
        raise ValueError(f"The picture of the results would take the place of the sketch {picture}: give --picture NAME.")
    if picture == PICTURE and not is_own(picture):
        raise ValueError(f"{picture} is there, and no search wrote it: give --picture NAME, or --picture none.")


def is_own(picture: str) -> bool:
    """Whether a search drew a picture."""
    try:
        with Image.open(picture) as image:
            return image.info.get(MARK[0]) == MARK[1]
    except (OSError, ValueError):
        return False


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
    from PIL import ImageGrab

    try:
        content: Any = ImageGrab.grabclipboard()
    except (NotImplementedError, OSError) as error:
        raise ValueError(f"The clipboard cannot be read: {error}. Save the picture to a file and give its name.") from error
    if isinstance(content, list) and content:  # files that were copied
        content = content[0]
    if not isinstance(content, (str, Image.Image)):
        raise ValueError("There is no picture in the clipboard: copy one first, or give the name of a file.")
    return content
