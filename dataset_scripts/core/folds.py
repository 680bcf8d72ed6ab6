"""Zero-shot folds for choosing recipes, drawn inside the 104 seen classes of Sketchy's split 104_21; ours.

A recipe that is tuned on the 21 unseen classes is no longer judged by them. So the seen classes are cut again: each fold
sets 20 of them aside as its unseen classes and trains on the other 84. The five folds' unseen classes are disjoint.

    python -m dataset_scripts.core.folds          # writes the lists into dataset_scripts/splits: configs fold_0 ... fold_4

The order is that of a hash of the name, which no library's random generator can change.
"""

import hashlib
from importlib import resources
from pathlib import Path
from typing import NamedTuple

NUM_FOLDS, UNSEEN_PER_FOLD = 5, 20


class Fold(NamedTuple):
    """Class names of a fold, spelled as in the archive and in alphabetical order."""

    seen: list[str]
    unseen: list[str]


def seen_classes() -> list[str]:
    """The 104 seen classes of Sketchy 104_21."""
    return (resources.files("dataset_scripts") / "splits" / "sketchy_104_21_train.txt").read_text(encoding="utf-8").split()


def draw_fold(number: int, classes: list[str] | None = None) -> Fold:
    """Fold `number` of the seen classes: 20 unseen ones that no other fold has, and the rest.

    Args:
        classes: by default Sketchy's 104.

    Raises:
        ValueError: there is no such fold.
    """
    if not 0 <= number < NUM_FOLDS:
        raise ValueError(f"There are folds 0 to {NUM_FOLDS - 1}, not {number}.")
    classes = seen_classes() if classes is None else classes
    order = sorted(classes, key=lambda name: hashlib.sha256(f"caan{name}".encode()).hexdigest())
    unseen = set(order[number * UNSEEN_PER_FOLD : (number + 1) * UNSEEN_PER_FOLD])
    return Fold(sorted(set(classes) - unseen), sorted(unseen))


def write_lists(folder: Path) -> None:
    """Writes the folds as class lists, `sketchy_fold_<n>_{train,test}.txt`."""
    for number in range(NUM_FOLDS):
        fold = draw_fold(number)
        for part, classes in (("train", fold.seen), ("test", fold.unseen)):
            (folder / f"sketchy_fold_{number}_{part}.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_lists(Path(str(resources.files("dataset_scripts") / "splits")))
