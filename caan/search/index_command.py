"""Make a gallery of your photos, or bring one up to date.

    caan index ~/Photos                                  # the gallery "default", by the model used last
    caan index ~/Photos --model org/caan-sketchy         # by another one
    caan index                                           # all folders of the gallery again: only what changed
    caan index ~/Photos --dry_run                        # what would be done
    caan index /data/a /data/b --gallery work --exclude drafts '*.png'
    caan index --gallery work --push org/work            # also as a private data set on the Hub, with thumbnails

Then: caan search sketch.png. Stopped or killed, it loses a few seconds of work; the same command goes on.

Left out are hidden entries, those of operating systems (@eaDir, .thumbnails, System Volume Information, ...), and files that
are no pictures; files that cannot be read are named and counted.

exit status: 0 done, also where files were left out; 1 bad input, such as a folder that is not there; 2 wrong options; 130
stopped with Ctrl-C; 143 stopped by SIGTERM.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

from caan.errors import exit_on_error
from caan.options import IndexOptions
from caan.parsing import OptionParser

if TYPE_CHECKING:
    from caan.search.gallery import Gallery
    from caan.search.refresh import Changes

SHOWN = 10  # problems, and reasons to leave entries out, that are printed


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    parser = OptionParser((IndexOptions,), prog=prog, description=__doc__)
    parser.add_argument("folders", metavar="FOLDER", nargs="*", help="folders of photos; none = those of the gallery")
    options, given = parser.fill(argv)
    with exit_on_error(prog, f"what was encoded is kept; to go on: {shlex.join([*prog.split(), *argv])}"):
        index(options, given.folders)
    return 0


def index(options: IndexOptions, folders: list[str]) -> None:
    """Brings each folder in, and says what was done."""
    from caan.search.choosing import open_gallery  # imports torch
    from caan.search.names import keep_last_model
    from pipeline_caan import show_path

    missing = ", ".join(show_path(folder) for folder in folders if not os.path.isdir(folder))
    if missing and not options.dry_run:
        raise ValueError(f"There is no folder {missing}: nothing was done.")
    if options.dry_run:
        plan(options, folders, [f"There is no folder {missing}."] if missing else [])
        return
    with open_gallery(options, create=True) as gallery:
        if not folders and not gallery.engine.roots():
            raise ValueError(f"The gallery {options.gallery} has no folder yet: caan index FOLDER.")
        names = ("exclude", "retry", "check", "yes", "batch_size", "num_workers")
        given = {name: getattr(options, name) for name in names}
        bring_in: Any = gallery.add if folders else gallery.refresh
        bring_in(folders or None, **given, report=lambda changes: print(describe_changes(changes), flush=True))
        keep_last_model(gallery.encoder.source.to_json())
        print(summary(gallery, options.gallery))
        if options.push:
            push(gallery, options)


def push(gallery: Gallery, options: IndexOptions) -> None:
    """Says what would be sent to the Hub, and sends it; a public one after a yes."""
    from caan.search.hub_push import Prepared, push_gallery

    def confirm(prepared: Prepared) -> bool:
        print(prepared)
        if not options.public or options.yes:
            return True
        if not sys.stdin.isatty():
            raise ValueError("Nothing was sent: --public needs --yes, or an answer at the terminal.")
        return input("Everyone will be able to read it. Send it? [y/N] ").strip().lower() in ("y", "yes")

    address = push_gallery(gallery.engine, options.push or "", options.public, confirm)
    print(f"pushed: {address}" if address else "nothing was sent")


def plan(options: IndexOptions, folders: list[str], problems: list[str]) -> None:
    """Says what would be done. A gallery that is not there is not made, and no model is loaded.

    Raises:
        ValueError: there are `problems`, or a run would end so; after the other folders were told.
    """
    from caan.search.engine import NoGallery
    from caan.search.gallery import Gallery
    from caan.search.names import open_engine

    present = [folder for folder in folders if os.path.isdir(folder)]
    if folders and not present:
        raise ValueError(problems[0])
    with tempfile.TemporaryDirectory() as empty:
        try:
            engine = open_engine(options.gallery, create=False)
        except NoGallery:
            engine = open_engine(empty)
        with Gallery(engine) as gallery:
            bring_in: Any = gallery.add if present else gallery.refresh
            given = {name: getattr(options, name) for name in ("exclude", "retry", "check", "yes")}
            try:
                bring_in(present or None, **given, dry_run=True, report=lambda changes: print(describe_plan(changes)))
            except ValueError as error:
                problems = [*problems, str(error)]
    if problems:
        raise ValueError("\n".join(problems))


def describe_plan(changes: Changes) -> str:
    """What would be done for a folder."""
    return (
        f"{changes.folder}: would read {changes.encoded:,} new or changed files (those that only moved are not encoded again), "
        f"remove {changes.removed:,}, leave {changes.unchanged:,} as they are{left_out(changes.left_out)}"
    )


def describe_changes(changes: Changes) -> str:
    """What was done for a folder, with the first files that could not be read."""
    rate = f" ({changes.encoded / changes.seconds:.1f} photos/s)" if changes.encoded else ""
    lines = [
        f"{changes.folder}: {changes.encoded:,} encoded{rate}, {changes.known:,} known by their bytes, "
        f"{changes.removed:,} removed, {changes.unchanged:,} as they were{left_out(changes.left_out)}"
    ]
    if changes.problems:
        lines.append(f"  {len(changes.problems):,} could not be read, and are tried again when they change, or with --retry:")
        lines += [f"    {named(path, problem)}" for path, problem in list(changes.problems.items())[:SHOWN]]
        lines += ["    ..."] if len(changes.problems) > SHOWN else []
    return "\n".join(lines)


def named(path: str, problem: str) -> str:
    """The problem with a file, and its path where the words do not have it."""
    from pipeline_caan import show_path

    return problem if show_path(path) in problem else f"{show_path(path)}: {problem}"


def left_out(counts: Counter[str]) -> str:
    """How many entries were left out, and why; the rarest reasons together."""
    reasons = [f"{count:,} {reason}" for reason, count in counts.most_common(SHOWN)]
    rest = counts.total() - sum(count for _, count in counts.most_common(SHOWN))
    reasons += [f"{rest:,} for {len(counts) - SHOWN} other reasons"] if rest else []
    return f"; left out: {', '.join(reasons)}" if reasons else ""


def summary(gallery: Gallery, name: str) -> str:
    """What the gallery holds now, and the next command."""
    from caan.search.choosing import name_option

    size = gallery.info()
    search = f"caan search SKETCH{name_option(name)}"
    return f"the gallery {name} holds {size.photos:,} photos ({size.contents:,} different ones); search it: {search}"
