"""Anyone's own sketches and photos: ``sketch/<class>/*`` and ``photo/<class>/*``.

    from dataset_scripts import load
    splits = load("folder", data_dir="my_data", unseen=["teapot", "swan"])

    # or, with datasets < 4 and this package installed:
    load_dataset("dataset_scripts/folder.py", data_dir="my_data", trust_remote_code=True)

    python -m dataset_scripts.folder --data_dir my_data  # folder check and split sizes

A class is spelt as its sketches' folder; ``sketch/red car`` and ``photo/Red_car`` are one class. Hidden and system folders
(``.ipynb_checkpoints``, ``__MACOSX``, ``@eaDir``) are no classes. SVG files are pictures in ``sketch`` alone.

Unseen classes are those of ``unseen=[...]``, else of ``unseen.txt`` in the folder (one class a line), else a fifth
of the classes, chosen by a hash of their names. Held-out items of the seen classes are chosen as for the benchmarks:
a fifth of a class's sketches, at most 50, and a tenth of its photos. Texts are read from ``descriptions.jsonl`` in
the folder where there is one, as ``caan describe`` writes them: a line ``{"class", "prompt", "text"}`` a text.

Sketches are paired with photos of their class by their names (column ``instance``): ``a.png`` and ``a-1.png`` with ``a.jpg``.
"""

import os
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dataset_scripts.core.builder import ZeroShotBuilder, ZeroShotConfig
from dataset_scripts.core.descriptions import read_descriptions
from dataset_scripts.core.layouts import DIFFERENCE, Benchmark, ClassNames, Pairing, Source, normalise
from dataset_scripts.core.scan import class_folders, no_data_message
from dataset_scripts.core.splits import ZeroShotSplit, first_by_hash
from dataset_scripts.core.texts import read_lines

UNSEEN_SHARE = 0.2

FOLDER = Benchmark(
    name="folder",
    title="Own sketches and photos",
    sources=(
        Source("sketches", "sketch", ("sketch", "sketches"), svg=True),
        Source("photos", "photo", ("photo", "photos", "image", "images")),
    ),
    validation_sketches=50,
    pairing=Pairing.FOUND,
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
            ValueError: two folders mean one class, or an unseen class is not there.
        """
        classes = self._class_names()
        names, asked = ClassNames(classes), self._unseen(classes)
        strangers = sorted({name for name in asked if names.resolve(name) is None})
        if strangers:
            raise ValueError(
                f"{self.data_dir}: unseen classes without a folder: {', '.join(strangers)}. Found: {', '.join(classes)}"
            )
        unseen = {names.resolve(name) for name in asked}
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

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        return {normalise(name): texts for name, texts in self.descriptions.items()}

    def texts_of(self, label: str) -> list[str]:
        """Texts of a class, which ``descriptions.jsonl`` may spell another way than the folder."""
        return self._texts.get(normalise(label), [])

    def _class_names(self) -> list[str]:
        """Classes as the sketches' folders spell them, further ones as the photos' do; in the form of Unicode that is typed."""
        data_dir = self.data_dir or "(not given)"
        roots = [paths[0] for paths in self.benchmark.locate(data_dir).values() if paths]
        classes: dict[str, str] = {}
        for root in roots:
            for name, folder in self._by_meaning(data_dir, root).items():
                classes.setdefault(name, unicodedata.normalize("NFC", folder))
        if not classes:
            raise FileNotFoundError(no_data_message(data_dir, self.benchmark))
        return sorted(classes.values())

    @staticmethod
    def _by_meaning(data_dir: str, root: str) -> dict[str, str]:
        """Normalised name -> class folder of one source."""
        folders: dict[str, str] = {}
        for name in sorted(class_folders(data_dir, root).folders):
            other = folders.setdefault(normalise(name), name)
            if other != name:
                paths = " and ".join(repr(f"{root}/{folder}") for folder in (other, name))
                raise ValueError(f"{data_dir}: {paths} differ only by {DIFFERENCE}. Merge the folders, or rename one of them.")
        return folders

    def _unseen(self, classes: list[str]) -> list[str]:
        path = Path(self.data_dir) / "unseen.txt"
        if self.unseen is not None:
            return self.unseen
        if path.is_file():
            return read_lines(path)
        return sorted(first_by_hash("unseen", set(classes), round(UNSEEN_SHARE * len(classes))))


class Folder(ZeroShotBuilder):
    """A folder of sketches and photos."""

    BUILDER_CONFIG_CLASS = FolderConfig
    BUILDER_CONFIGS = [FolderConfig(name="default", description="Seen and unseen classes of a folder")]
    DEFAULT_CONFIG_NAME = "default"


if __name__ == "__main__":
    from dataset_scripts.core.cli import main

    main(Folder)
