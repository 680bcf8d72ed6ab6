"""The data card of a published benchmark: split tables, licence, how to load. The text is `card_template.md`."""

import os
from contextlib import suppress
from importlib import resources

from huggingface_hub import DatasetCard, DatasetCardData

from dataset_scripts.core.builder import ZeroShotConfig
from dataset_scripts.core.check import FolderReport
from dataset_scripts.parquet.shards import ShardReport


def write_card(
    output_dir: str, builders: dict, checks: dict[str, FolderReport], written: dict[str, dict[str, ShardReport]], repo: str
) -> DatasetCard:
    """Write ``README.md``; its header is what lets ``load_dataset(repo, config)`` find the shards.

    Args:
        output_dir: the published folder.
        builders: config -> its builder, the default config first.
        checks: config -> outcome of its folder check.
        written: config -> split -> what was written.
        repo: what a reader passes to `load_dataset`.
    """
    config = next(iter(builders.values())).config
    card = DatasetCard.from_template(
        card_data(builders, written),
        template_path=str(resources.files("dataset_scripts.parquet") / "card_template.md"),
        title=config.benchmark.title,
        repo=repo,
        configs=[describe_config(builder.config, checks[name], written[name]) for name, builder in builders.items()],
        validation_sketches=config.benchmark.validation_sketches,
        validation_photos=config.validation_photos,
        duplicates=config.duplicates,
        has_copies=any(source.copy_of for source in config.benchmark.sources),
        home=config.benchmark.home,
        license_note=config.benchmark.license_note,
        citation=config.benchmark.citation,
    )
    replace_text(os.path.join(output_dir, "README.md"), str(card))
    return card


def rename_repository(output_dir: str, old: str, new: str) -> None:
    """Puts the full name of the repository into the card, as where "sketchy-zs" became "user/sketchy-zs"."""
    path = os.path.join(output_dir, "README.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    replace_text(path, text.replace(f'load_dataset("{old}", ', f'load_dataset("{new}", '))


def replace_text(path: str, text: str) -> None:
    """Writes a file under its name only once it is whole: part of a card would be taken for somebody else's.

    The temporary name is hidden, as what does not count in a folder.
    """
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(temporary)


def pretty_name(config: ZeroShotConfig) -> str:
    """What a publication is called in its card's header."""
    return f"{config.benchmark.title}, zero-shot splits"


def card_data(builders: dict, written: dict[str, dict[str, ShardReport]]) -> DatasetCardData:
    """The card's header: every config's shards by split."""
    config = next(iter(builders.values())).config
    return DatasetCardData(
        pretty_name=pretty_name(config),
        license="other",
        license_name="rights-of-the-sources",
        task_categories=["image-feature-extraction"],
        tags=["sketch-based-image-retrieval", "zero-shot", "sketch"],
        configs=[
            {
                "config_name": name,
                "data_files": [{"split": split, "path": f"{name}/{split}-*.parquet"} for split in splits],
                **({"default": True} if name == next(iter(builders)) else {}),
            }
            for name, splits in written.items()
        ],
    )


def describe_config(config: ZeroShotConfig, check: FolderReport, splits: dict[str, ShardReport]) -> dict:
    """What the template says of one config."""
    missing = set(check.missing["sketch"]) | set(check.missing["photo"])
    return {
        "name": config.name,
        "description": config.description,
        "rows": [
            {"split": name, "classes": len(r.classes), "sketches": r.counts["sketch"], "photos": r.counts["photo"]}
            for name, r in splits.items()
        ],
        "unseen": config.split.unseen,
        "missing": sorted(missing),
        "corrupt": [*check.corrupt] + [file for r in splits.values() for file in r.corrupt],
    }
