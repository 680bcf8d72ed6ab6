"""Anyone's own sketches and photos: ``sketch/<class>/*`` and ``photo/<class>/*``.

    from dataset_scripts import load
    splits = load("folder", data_dir="my_data", unseen=["teapot", "swan"])

    # or, with datasets < 4 and this package installed:
    load_dataset("dataset_scripts/folder.py", data_dir="my_data", trust_remote_code=True)

    python -m dataset_scripts.folder --data_dir my_data  # folder check and split sizes

Unseen classes are those of ``unseen=[...]``, else of ``unseen.txt`` in the folder (one class a line), else a fifth
of the classes, chosen by a hash of their names. Held-out items of the seen classes are chosen as for the benchmarks:
a fifth of a class's sketches, at most 50, and a tenth of its photos. Texts are read from ``descriptions.jsonl`` in
the folder where there is one, as ``caan describe`` writes them: a line ``{"class", "prompt", "text"}`` a text.
"""

import os
from dataclasses import dataclass
from functools import cached_property

from dataset_scripts.core.builder import ZeroShotBuilder, ZeroShotConfig
from dataset_scripts.core.descriptions import read_descriptions
from dataset_scripts.core.layouts import Benchmark, Source
from dataset_scripts.core.scan import no_data_message
from dataset_scripts.core.splits import ZeroShotSplit, first_by_hash

UNSEEN_SHARE = 0.2

FOLDER = Benchmark(
    name="folder",
    title="Own sketches and photos",
    sources=(
        Source("sketches", "sketch", ("sketch", "sketches")),
        Source("photos", "photo", ("photo", "photos", "image", "images")),
    ),
    validation_sketches=50,
    home="Your own pictures, one folder a class",
    license_note="Rights stay with the owners of the pictures.",
)


@dataclass
class FolderConfig(ZeroShotConfig):
    """A folder's zero-shot split.

    Attributes:
        unseen: classes to test on.
    """

    benchmark: Benchmark | None = FOLDER
    unseen: list[str] | None = None

    @cached_property
    def split(self) -> ZeroShotSplit:
        """Classes of the folder.

        Raises:
            FileNotFoundError: no such folder, or no class in it.
            ValueError: an unseen class is not there.
        """
        classes = self._folder_names()
        unseen = self._unseen(classes)
        strangers = sorted(set(unseen) - set(classes))
        if strangers:
            raise ValueError(
                f"{self.data_dir}: unseen classes without a folder: {', '.join(strangers)}. Found: {', '.join(classes)}"
            )
        return ZeroShotSplit([name for name in classes if name not in unseen], [name for name in classes if name in unseen])

    @cached_property
    def descriptions(self) -> dict[str, list[str]]:
        """Texts of ``descriptions.jsonl``, if any.

        Raises:
            FileNotFoundError: no folder was given.
        """
        if not self.data_dir:
            raise FileNotFoundError(no_data_message("(not given)", self.benchmark))
        path = os.path.join(self.data_dir, "descriptions.jsonl")
        return read_descriptions(path) if os.path.isfile(path) else {}

    def _folder_names(self) -> list[str]:
        data_dir = self.data_dir or "(not given)"
        roots = [paths[0] for paths in self.benchmark.locate(data_dir).values() if paths]
        names = {e.name for root in roots for e in os.scandir(os.path.join(data_dir, root)) if e.is_dir()}
        if not names:
            raise FileNotFoundError(no_data_message(data_dir, self.benchmark))
        return sorted(names)

    def _unseen(self, classes: list[str]) -> list[str]:
        path = os.path.join(self.data_dir, "unseen.txt")
        if self.unseen is not None:
            return self.unseen
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                return [line.strip() for line in file if line.strip()]
        return sorted(first_by_hash("unseen", set(classes), round(UNSEEN_SHARE * len(classes))))


class Folder(ZeroShotBuilder):
    """A folder of sketches and photos."""

    BUILDER_CONFIG_CLASS = FolderConfig
    BUILDER_CONFIGS = [FolderConfig(name="default", description="Seen and unseen classes of a folder")]
    DEFAULT_CONFIG_NAME = "default"


if __name__ == "__main__":
    from dataset_scripts.core.cli import main

    main(Folder)
