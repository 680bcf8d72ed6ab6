"""Write a benchmark as sharded Parquet with the pictures inside, a data card beside it, and send it to the Hub.

    python -m dataset_scripts.parquet.publish sketchy --data_dir Sketchy --output_dir sketchy-zs
    python -m dataset_scripts.parquet.publish sketchy --data_dir Sketchy --repo org/sketchy-zs --skip_corrupt

Then, anywhere: ``load_dataset("org/sketchy-zs", "104_21")``.

Decided here: a shard is written to a temporary name, then renamed; its Parquet metadata hold a fingerprint of the
files it was made from, so a rerun skips what is finished and still true, and rewrites the rest. One batch of
pictures is in memory at a time. Every picture is decoded before it goes in: a corrupt one stops the run by name, or
is left out and named in the card with ``--skip_corrupt``. Repositories are made private unless ``--public`` is
given, since the photos' rights stay with their owners.
"""

import importlib
import os
from dataclasses import dataclass, field

from huggingface_hub import HfApi
from transformers import HfArgumentParser

from dataset_scripts import BUILDERS
from dataset_scripts.parquet.card import write_card
from dataset_scripts.parquet.shards import ShardReport, remove_stale_shards, write_split

NAMES = ("sketchy", "tuberlin", "quickdraw", "folder")


@dataclass
class PublishArguments:
    """What to publish, from where, to where."""

    data_dir: str = field(metadata={"help": "folder of the archives"})
    output_dir: str | None = field(default=None, metadata={"help": "folder to write; outputs/<name>-parquet where not given"})
    repo: str | None = field(default=None, metadata={"help": "Hub repository to send the folder to, as org/name"})
    configs: list[str] | None = field(default=None, metadata={"help": "zero-shot splits to write; all where not given"})
    shard_size: int = field(default=400, metadata={"help": "size of a shard in MB of pictures"})
    allow_partial: bool = field(default=False, metadata={"help": "go on where classes or pictures are missing"})
    skip_corrupt: bool = field(default=False, metadata={"help": "leave out corrupt pictures; they are named in the card"})
    duplicates: bool = field(default=False, metadata={"help": "keep both copies of doubly listed photos (Sketchy)"})
    validation_photos: float = field(default=0.1, metadata={"help": "share of each seen class's photos that is held out"})
    public: bool = field(default=False, metadata={"help": "make a public repository; read the card's licence first"})


def publish(builder_class, arguments: PublishArguments, output_dir: str) -> dict[str, dict[str, ShardReport]]:
    """Write every config's shards and the card.

    Returns:
        Config -> split -> what was written.

    Raises:
        FileNotFoundError, ValueError: as the builder does; finished shards stay.
    """
    names = arguments.configs or [config.name for config in builder_class.BUILDER_CONFIGS if config.published]
    builders = {name: _builder(builder_class, name, arguments) for name in names}
    checks = {name: builder.check() for name, builder in builders.items()}
    written = {}
    for name, builder in builders.items():
        folder = os.path.join(output_dir, name)
        written[name] = {
            split: write_split(builder, split, parts, folder, arguments.shard_size * 1_000_000, arguments.skip_corrupt)
            for split, parts in builder.rows(checks[name].corrupt).items()
        }
        for stale in remove_stale_shards(folder, written[name]):
            print(f"removed {os.path.join(folder, stale)}, left by an earlier run with other files")
    write_card(output_dir, builders, checks, written, arguments.repo or "path/to/this/folder")
    return written


def _builder(builder_class, config: str, arguments: PublishArguments):
    return builder_class(
        config_name=config,
        data_dir=arguments.data_dir,
        allow_partial=arguments.allow_partial,
        skip_corrupt=arguments.skip_corrupt,
        duplicates=arguments.duplicates,
        validation_photos=arguments.validation_photos,
    )


def upload(output_dir: str, repo: str, private: bool) -> str:
    """Send a written folder to the Hub; returns the repository's address. Files that are already there are not sent again."""
    api = HfApi()
    url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
    api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=output_dir, ignore_patterns=["*.tmp"])
    return str(url)


def main() -> None:
    """Write, report, upload."""
    parser = HfArgumentParser(PublishArguments, prog="python -m dataset_scripts.parquet.publish")
    parser.add_argument("name", choices=NAMES, help="which builder")
    arguments, rest = parser.parse_args_into_dataclasses()
    builder_class = getattr(importlib.import_module(f"dataset_scripts.{rest.name}"), BUILDERS[rest.name])
    output_dir = arguments.output_dir or os.path.join("outputs", f"{rest.name}-parquet")
    try:
        written = publish(builder_class, arguments, output_dir)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from None
    for config, splits in written.items():
        for split, report in splits.items():
            print(f"{config} {split}: {report}")
    print(f"written to {output_dir}")
    if arguments.repo:
        print(f"sent to {upload(output_dir, arguments.repo, private=not arguments.public)}")


if __name__ == "__main__":
    main()
