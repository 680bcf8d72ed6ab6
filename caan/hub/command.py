"""Publish a finished model on the Hub.

    caan push outputs/sketchy org/caan-sketchy                     # the form for inference, of a few files
    caan push outputs/sketchy caan-sketchy                         # the same as a repository of your own
    caan push outputs/sketchy org/caan-sketchy --full --private    # with the text encoder, to train on from; for you alone
    caan push outputs/sketchy org/caan-sketchy --revision v2       # to a branch

exit status: 0 done; 1 bad input, or the Hub did not take it; 2 wrong options; 130 stopped with Ctrl-C; 143 stopped by SIGTERM.
"""

import shlex
from pathlib import Path

from caan.errors import exit_on_error
from caan.options import PushOptions
from caan.parsing import OptionParser


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    parser = OptionParser((PushOptions,), prog=prog, description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="what train.py wrote, with config.json and weights")
    parser.add_argument("repo", metavar="REPO", help="repository on the Hub, such as org/caan-sketchy; made if missing")
    options, given = parser.fill(argv)
    with exit_on_error(prog, f"{given.folder} is whole; to go on: {shlex.join([*prog.split(), *argv])}"):
        from transformers.utils.logging import disable_progress_bar

        from caan.hub.push import push  # imports torch

        disable_progress_bar()  # of reading and writing weights; the client shows the upload's
        print(f"pushed: {push(Path(given.folder), given.repo, options)}")
    return 0
