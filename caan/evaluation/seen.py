"""Which of the evaluated classes a model was trained on: only numbers on classes that it never saw are zero-shot numbers."""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from dataset_scripts.core.layouts import normalise


class Seen(NamedTuple):
    """How many of the evaluated classes a model saw in training; None where its record does not say."""

    classes: int
    seen: int | None

    @property
    def kind(self) -> str:
        """ "unseen", "seen", "mixed", or "unknown"."""
        if self.seen is None:
            return "unknown"
        return "unseen" if not self.seen else "seen" if self.seen == self.classes else "mixed"

    def __str__(self) -> str:
        """The counts in words: "21 classes, none of which the model saw in training"."""
        classes = f"{self.classes:,} classes" if self.classes else "a number of classes"  # old records list none
        if self.seen is None:
            return f"{classes}; whether the model saw them in training is not recorded"
        if not self.seen:
            return f"{classes}, none of which the model saw in training"
        counted = "all of which the model saw" if self.kind == "seen" else f"of which the model saw {self.seen:,}"
        return f"{classes}, {counted} in training: no zero-shot numbers"


def compare_classes(evaluated: Iterable[str], seen: Iterable[str] | None) -> Seen:
    """Counts the evaluated classes that are among a model's seen classes.

    Data sets write one class in several ways: "hot-air_balloon", "Hot air balloon", "hotairballoon". What differs only by case,
    blanks, punctuation or the way accents and letters are typed counts as one class, so that an error is on the side of "seen".
    """
    names, known = set(evaluated), {class_key(name) for name in seen or ()}
    return Seen(len(names), None if seen is None else sum(class_key(name) in known for name in names))


def class_key(name: str) -> str:
    """What two spellings of one class have in common: the key by which builders match folders, of compatible letters too."""
    return normalise(unicodedata.normalize("NFKC", name))


def seen_classes(facts: dict | None) -> list[str] | None:
    """The classes that a model saw, by its `training.json`; None where that does not list them all.

    Records before this one hold a number, which names no class. A run that trained on from another CAAN lists that one's too.
    """
    own = (facts or {}).get("seen_classes")
    before = (facts or {}).get("seen_before", [])
    if not isinstance(own, list) or not isinstance(before, list):
        return None
    names = [*own, *before]
    return names if all(isinstance(name, str) for name in names) else None
