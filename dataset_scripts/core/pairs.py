"""Which sketch shows which photo: the column ``instance``, from file names.

Sketchy's sketches were drawn from photos, and a sketch is called by its photo with the number of the drawing behind it:
``n02691156_10151-3.png`` is the third sketch of ``n02691156_10151.jpg`` (Sangkloy et al. 2016). So

- a sketch's *instance* is its name without suffix and number: ``n02691156_10151``. The class is not part of it, and pairs are
  made within a class alone;
- a photo's instance is its name without suffix, where a sketch of its class has that instance, and None elsewhere: nobody drew
  the extended photos ``ext_N.jpg``. Both copies of a doubly listed photo have it.

A user's folder is paired where it can be (`Pairing.FOUND`): the sketches ``a.png`` and ``a-1.png`` belong to the photo
``a.jpg`` of their class, and a sketch without such a photo has no instance. A photo of a sketch's full name comes first: the
sketch ``b-2.png`` is of ``b-2.jpg`` where there is one, else of ``b.jpg``.

Suffixes count in no case, and how accents are typed (Unicode form) does not matter; case and dashes of the names do. Pairs are
read from the folder as it is: a photo that is corrupt or held out keeps its sketches, and evaluation counts them.
"""

import re
import unicodedata
from collections.abc import Iterable

from dataset_scripts.core.layouts import Pairing
from dataset_scripts.core.scan import ClassFolder, Listing
from dataset_scripts.core.splits import stem

NUMBER = re.compile(r"-[0-9]+$")  # of the drawing


class Pairs:
    """The instances of a folder's pictures.

    Args:
        listing: all pictures, of all splits. pairing: of the benchmark.
    """

    def __init__(self, listing: Listing, pairing: Pairing):
        self.pairing = pairing
        self._photos: dict[str, set[str]] = {}  # class -> names of its photos
        self._drawn: dict[str, set[str]] = {}  # class -> instances of its sketches
        if pairing is Pairing.NONE:
            return
        for part in _of_modality(listing, "photo"):
            self._photos.setdefault(part.label, set()).update(map(_name, part.files))
        for part in _of_modality(listing, "sketch"):
            self._drawn.setdefault(part.label, set()).update(filter(None, (self._of_sketch(part.label, f) for f in part.files)))

    def of(self, part: ClassFolder) -> list[str | None]:
        """Instance of each file of a class folder, in order; None where there is none."""
        if self.pairing is Pairing.NONE:
            return [None] * len(part.files)
        if part.source.modality == "sketch":
            return [self._of_sketch(part.label, file) for file in part.files]
        drawn = self._drawn.get(part.label, set())
        return [name if name in drawn else None for name in map(_name, part.files)]

    def without_photo(self, listing: Listing) -> list[str]:
        """Paths, relative to ``data_dir``, of the sketches that were drawn from a photo which is not in the folder."""
        return [
            f"{part.folder}/{file}"
            for part in _of_modality(listing, "sketch")
            for file, instance in zip(part.files, self.of(part))
            if instance is not None and instance not in self._photos.get(part.label, ())
        ]

    def _of_sketch(self, label: str, file: str) -> str | None:
        name = _name(file)
        drawn_from = NUMBER.sub("", name)
        if self.pairing is Pairing.ALWAYS:
            return drawn_from
        photos = self._photos.get(label, ())
        return next((candidate for candidate in (name, drawn_from) if candidate in photos), None)


def _name(file: str) -> str:
    return unicodedata.normalize("NFC", stem(file))


def _of_modality(listing: Listing, modality: str) -> Iterable[ClassFolder]:
    return (part for part in listing.classes if part.source.modality == modality)
