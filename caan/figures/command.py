"""`caan figures`: pictures that show what a model sees."""

from __future__ import annotations

import argparse
from pathlib import Path

from caan.errors import exit_on_error

DESCRIPTION = """\
Write a sheet that shows what the image processor makes of pictures of sketches: each as given, the ground that was found under
it, its ink, and what the encoder gets. Look at it where a search finds the wrong things.
"""
EXAMPLES = """\
examples:
  # photos of drawings, with the processor of a model
  caan figures sketches photos/*.jpg --model outputs/demo --output sheet.png

  # all pictures of a folder, as a new model would see them
  caan figures sketches photos

exit status: 0 written (a picture that cannot be used says why in its row); 1 bad input; 2 wrong options; 130 Ctrl-C.
"""


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figure", choices=["sketches"], help="sketches: a row a picture")
    parser.add_argument("files", nargs="+", metavar="FILE", help="pictures of sketches, or folders of them")
    parser.add_argument("--model", help="Hub id or folder whose processor is used; without it, a new model's")
    parser.add_argument("--output", type=Path, default=Path("sketches.png"), help="the sheet (default: %(default)s)")
    options = parser.parse_args(argv)
    with exit_on_error(prog):
        from caan.figures.sketches import load_processor, require_output, sketch_sheet  # imports torch

        require_output(options.output, options.files)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        sketch_sheet(options.files, load_processor(options.model)).save(options.output)
    print(f"written: {options.output}")
    return 0
