"""The command line of a builder: the folder check, and how many sketches and photos each split has.

What every command of this package shares is here too: how options are parsed, and how it ends.
"""

import errno
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

import datasets
from transformers import HfArgumentParser

from dataset_scripts.core.options import PictureOptions
from dataset_scripts.core.scan import ClassFolder
from dataset_scripts.core.texts import say


@dataclass
class CheckArguments(PictureOptions):
    """Check a folder, and print how its pictures are split."""

    data_dir: str | None = field(default=None, metadata={"help": "folder of the archives"})
    dataset_config: str | None = field(
        default=None, metadata={"help": "zero-shot split, such as 104_21; the builder's default where not given"}
    )


def split_table(rows: dict[str, list[ClassFolder]]) -> str:
    """Markdown table of classes, sketches and photos of each split."""
    lines = ["| split | classes | sketches | photos |", "| --- | ---: | ---: | ---: |"]
    for split, parts in rows.items():
        counts = {m: sum(len(p.files) for p in parts if p.source.modality == m) for m in ("sketch", "photo")}
        lines.append(f"| {split} | {len({p.label for p in parts})} | {counts['sketch']:,} | {counts['photo']:,} |")
    return "\n".join(lines)


def parse(arguments_class, prog: str, **positional):
    """Arguments of the command line as `arguments_class`; with `positional` ones, a tuple of it and their values."""
    parser = HfArgumentParser(arguments_class, prog=prog, description=arguments_class.__doc__)
    for name, settings in positional.items():
        parser.add_argument(name, **settings)
    known, unknown = parser.parse_known_args()
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    values = vars(known)
    try:
        own = arguments_class(**{f.name: values[f.name] for f in fields(arguments_class)})
        own.check_options()
    except ValueError as error:
        parser.error(str(error))
    return (own, *(values[name] for name in positional)) if positional else own


@contextmanager
def ending_in_one_line(kept: str = ""):
    """Ends the program as a user needs it: bad input with its message and exit 1, Ctrl-C with 130, SIGTERM with 143.

    Args:
        kept: what is told after a stop, such as where finished work lies and how to go on.
    """

    def stop(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped. {kept}".rstrip(), file=sys.stderr)
        raise SystemExit(130) from None
    except SystemExit as end:
        if end.code == 128 + signal.SIGTERM:
            print(f"\nstopped. {kept}".rstrip(), file=sys.stderr)
        raise
    except (OSError, ValueError, ImportError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise SystemExit(f"error: {error}" + (f". Make room on the disk. {kept}" if full else "")) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def main(builder_class: type[datasets.DatasetBuilder]) -> None:
    """Check a folder; exit with the report where it is not usable."""
    module = builder_class.BUILDER_CONFIGS[0].benchmark.name
    arguments = parse(CheckArguments, f"python -m dataset_scripts.{module}")
    with ending_in_one_line():
        builder = builder_class(config_name=arguments.dataset_config, data_dir=arguments.data_dir, **arguments.given())
        report = builder.check()
        say(split_table(builder.rows(report.corrupt)))
