"""What the benchmarks' archives look like on disk.

The archives of the field reach people in several forms: as published, resized by SAKE (folders that end in
``_ready``), and renamed by the download scripts of sem-pcyc and doodle2search. They differ in the names of a few
folders only, so a benchmark is described by its *sources* (a source is a folder of class folders) and the names each
goes by, and any mixture of forms is read. Class folders are matched without regard to case, spaces, punctuation and
Unicode form (``hot_air_balloon`` is ``hot-air_balloon``); real misspellings that an archive carries are listed as aliases.
Source: paper.md section 5, the published file lists, and the rename commands of those download scripts.
"""

import difflib
import os
import unicodedata
from dataclasses import dataclass, field
from enum import Enum

DIFFERENCE = "case, spaces, punctuation or the way accents are typed"


class Pairing(Enum):
    """How a benchmark's sketches and photos belong together.

    NONE: they do not. ALWAYS: each sketch was drawn from a photo and bears its name. FOUND: where their names say so. The rules
    are in `core.pairs`.
    """

    NONE = "none"
    ALWAYS = "always"
    FOUND = "found"


@dataclass(frozen=True)
class Source:
    """One folder of class folders.

    Attributes:
        role: what the folder check calls it.
        modality: ``sketch`` or ``photo``.
        candidates: paths it goes by relative to the data set's folder, preferred first.
        expected: number of pictures in the whole archive, None where nothing is published.
        copy_of: role of the source that contains these pictures too; one copy is read unless duplicates are asked for.
        svg: whether SVG files are pictures of it. Not of the archives: some hold each sketch as PNG and as SVG.
    """

    role: str
    modality: str
    candidates: tuple[str, ...]
    expected: int | None = None
    copy_of: str | None = None
    svg: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A data set: where its pictures lie, how its classes are spelt, and where it is to be had.

    Attributes:
        name: prefix of its class lists in ``splits/``.
        title: how people call it.
        sources: its folders.
        prefixes: folders that may lie between ``data_dir`` and the sources.
        aliases: folder name -> class, for spellings that normalisation does not bridge.
        validation_sketches: sketches of each seen class that are held out.
        pairing: how its sketches and photos belong together.
        home: data set's home page, and what to look for there.
        license_id: licence as a data card names it.
        license_note: the licence in words.
        citation: BibTeX.
    """

    name: str
    title: str
    sources: tuple[Source, ...]
    prefixes: tuple[str, ...] = ("",)
    aliases: dict[str, str] = field(default_factory=dict, hash=False)
    validation_sketches: int = 50
    pairing: Pairing = Pairing.NONE
    home: str = ""
    license_id: str = "other"
    license_note: str = ""
    citation: str = ""

    def locate(self, data_dir: str) -> dict[str, list[str]]:
        """Every existing candidate of every source, relative to `data_dir`, preferred first."""
        found = {}
        for source in self.sources:
            paths = [os.path.join(prefix, name) for name in source.candidates for prefix in self.prefixes]
            found[source.role] = [path for path in paths if os.path.isdir(os.path.join(data_dir, path))]
        return found

    def describe_layouts(self) -> str:
        """The accepted folder names, for error messages."""
        lines = [f"  {s.role}: " + " | ".join(f"{name}/<class>/" for name in s.candidates) for s in self.sources]
        inside = [prefix for prefix in self.prefixes if prefix]
        if inside:
            lines.append(f"  (in data_dir itself or in {' | '.join(inside)} inside it)")
        return "\n".join(lines)


def normalise(name: str) -> str:
    """What all spellings of a class name have in common: letters with their marks, digits and symbols, in lower case.

    Dropped are spaces, punctuation and control characters. Vowel signs and accents stay (they make words of Hindi and
    Thai differ), written in one way (NFC), however they were typed. A name of punctuation alone stays as it is.
    """
    folded = unicodedata.normalize("NFD", name).casefold()
    kept = (
        char for char in folded if unicodedata.category(char)[0] not in "PZ" and unicodedata.category(char) not in ("Cc", "Cf")
    )
    return unicodedata.normalize("NFC", "".join(kept) or folded)


class ClassNames:
    """Finds the class that a folder's name means.

    Args:
        classes: names as in the class lists.
        aliases: folder name -> class for spellings that normalisation does not bridge.

    Raises:
        ValueError: two classes normalise to the same string; the message names both.
    """

    def __init__(self, classes: list[str], aliases: dict[str, str] | None = None):
        self.classes = classes
        self._by_key: dict[str, str] = {}
        for name in classes:
            other = self._by_key.setdefault(normalise(name), name)
            if other != name:
                raise ValueError(f"two classes differ only by {DIFFERENCE}: {other!r} and {name!r}; rename one of them")
        known = set(classes)
        self._by_key.update({normalise(k): v for k, v in (aliases or {}).items() if v in known})

    def resolve(self, folder: str) -> str | None:
        """Class of a folder, or None."""
        return self._by_key.get(normalise(folder))

    def nearest(self, folder: str, among: list[str]) -> str | None:
        """The class of `among` that `folder` most likely misspells, or None when nothing is near (ratio below 0.75)."""
        keys = {normalise(name): name for name in among}
        match = difflib.get_close_matches(normalise(folder), keys, n=1, cutoff=0.75)
        return keys[match[0]] if match else None
