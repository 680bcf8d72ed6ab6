"""Write a benchmark as sharded Parquet with the pictures inside, a data card beside it, and send it to the Hub.

    python -m dataset_scripts.parquet.publish sketchy --data_dir Sketchy --output_dir sketchy-zs
    python -m dataset_scripts.parquet.publish sketchy --data_dir Sketchy --repo org/sketchy-zs --skip_corrupt

Then, anywhere: ``load_dataset("org/sketchy-zs", "104_21")``.

The options are those of `python -m dataset_scripts.sketchy`; ``--dataset_config 104_21 100_25`` chooses splits.

Decided here: a shard is written to a temporary name, then renamed; its Parquet metadata hold a fingerprint of the
files it was made from, so a rerun skips what is finished and still true, and rewrites the rest. One batch of
pictures is in memory at a time. Every picture is decoded before it goes in: a corrupt one stops the run by name, or
is left out and named in the card with ``--skip_corrupt``, as blank sketches are. Repositories are made private unless
``--public`` is given, since the photos' rights stay with their owners; a private upload into a public repository is
refused. A commit holds what this run wrote and no shard of an earlier one. (`Dataset.push_to_hub` does the last, but
neither names corrupt pictures nor goes on after a stop, and a run over several configs is several commits.)
"""

import importlib
import os
import shlex
import sys
from dataclasses import dataclass, field

from dataset_scripts import BUILDERS
from dataset_scripts.core.cli import ending_in_one_line, parse
from dataset_scripts.core.options import PictureOptions
from dataset_scripts.core.texts import say
from dataset_scripts.parquet.card import pretty_name, write_card
from dataset_scripts.parquet.ownership import require_own
from dataset_scripts.parquet.shards import ShardReport, remove_stale_shards, write_split
from dataset_scripts.parquet.upload import refuse_public, upload

PROG = "python -m dataset_scripts.parquet.publish"
NAMES = ("sketchy", "tuberlin", "quickdraw", "folder")


@dataclass
class PublishArguments(PictureOptions):
    """Write a benchmark as Parquet, and send it to the Hub."""

    data_dir: str | None = field(default=None, metadata={"help": "folder of the archives"})
    output_dir: str | None = field(default=None, metadata={"help": "folder to write; outputs/<name>-parquet where not given"})
    repo: str | None = field(default=None, metadata={"help": "Hub repository to send the folder to, as org/name"})
    dataset_config: list[str] | None = field(
        default=None, metadata={"help": "zero-shot splits to write, such as 104_21 100_25; all where not given"}
    )
    shard_size: int = field(default=400, metadata={"help": "size of a shard in MB of pictures, 1 or more"})
    public: bool = field(default=False, metadata={"help": "make a public repository; read the card's licence first"})

    def check_options(self) -> None:
        """Raises ValueError for a value out of range."""
        super().check_options()
        if self.shard_size < 1:
            raise ValueError(f"shard_size is in MB and 1 or more, not {self.shard_size}.")


def publish(builder_class, arguments: PublishArguments, output_dir: str) -> dict[str, dict[str, ShardReport]]:
    """Write every config's shards and the card.

    Returns:
        Config -> split -> what was written.

    Raises:
        FileNotFoundError, ValueError: as the builder does; finished shards stay. `output_dir` holds files of others.
    """
    configs = builder_class.BUILDER_CONFIGS
    require_own(output_dir, pretty_name(configs[0]), [config.name for config in configs])
    names = arguments.dataset_config or [config.name for config in builder_class.BUILDER_CONFIGS if config.published]
    options = {"data_dir": arguments.data_dir, **arguments.given()}
    builders = {name: builder_class(config_name=name, **options) for name in names}
    checks = {name: builder.check(arguments.verify) for name, builder in builders.items()}
    written = {}
    for name, builder in builders.items():
        folder = os.path.join(output_dir, name)
        written[name] = {
            split: write_split(builder, split, parts, folder, arguments.shard_size * 1_000_000, arguments.skip_corrupt)
            for split, parts in builder.rows(checks[name].corrupt).items()
        }
        for stale in remove_stale_shards(folder, written[name]):
            say(f"removed {os.path.join(folder, stale)}, left by an earlier run with other files")
    write_card(output_dir, builders, checks, written, arguments.repo or "path/to/this/folder")
    return written


def main() -> None:
    """Write, report, upload."""
    arguments, name = parse(PublishArguments, PROG, name={"choices": NAMES, "help": "which builder"})
    output_dir = arguments.output_dir or os.path.join("outputs", f"{name}-parquet")
    again = shlex.join([*PROG.split(), *sys.argv[1:]])
    with ending_in_one_line(f"Finished shards are kept in {output_dir}; go on with: {again}"):
        if arguments.repo and not arguments.public:
            refuse_public(arguments.repo)
        builder_class = getattr(importlib.import_module(f"dataset_scripts.{name}"), BUILDERS[name])
        for config, splits in publish(builder_class, arguments, output_dir).items():
            for split, report in splits.items():
                say(f"{config} {split}: {report}")
        say(f"written to {output_dir}")
        if arguments.repo:
            say(f"sent to {upload(output_dir, arguments.repo, private=not arguments.public)}")


if __name__ == "__main__":
    main()
