"""The command line of a builder: the folder check, and how many sketches and photos each split has."""

from dataclasses import dataclass, field

import datasets
from transformers import HfArgumentParser

from dataset_scripts.core.scan import ClassFolder


@dataclass
class CheckArguments:
    """Which folder to check."""

    data_dir: str = field(metadata={"help": "folder of the archives"})
    config: str | None = field(default=None, metadata={"help": "zero-shot split; the builder's default where not given"})
    allow_partial: bool = field(default=False, metadata={"help": "go on where classes or pictures are missing"})
    verify: bool = field(default=False, metadata={"help": "decode every picture (minutes)"})
    skip_corrupt: bool = field(default=False, metadata={"help": "leave out corrupt pictures; they are named and counted"})
    duplicates: bool = field(default=False, metadata={"help": "keep both copies of doubly listed photos (Sketchy)"})
    validation_photos: float = field(default=0.1, metadata={"help": "share of each seen class's photos that is held out"})


def split_table(rows: dict[str, list[ClassFolder]]) -> str:
    """Markdown table of classes, sketches and photos of each split."""
    lines = ["| split | classes | sketches | photos |", "| --- | ---: | ---: | ---: |"]
    for split, parts in rows.items():
        counts = {m: sum(len(p.files) for p in parts if p.source.modality == m) for m in ("sketch", "photo")}
        lines.append(f"| {split} | {len({p.label for p in parts})} | {counts['sketch']:,} | {counts['photo']:,} |")
    return "\n".join(lines)


def main(builder_class: type[datasets.DatasetBuilder]) -> None:
    """Check a folder; exit with the report where it is not usable."""
    arguments = vars(HfArgumentParser(CheckArguments, prog=builder_class.__name__).parse_args_into_dataclasses()[0])
    try:
        builder = builder_class(config_name=arguments.pop("config"), **arguments)
        report = builder.check()
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(split_table(builder.rows(report.corrupt)))
