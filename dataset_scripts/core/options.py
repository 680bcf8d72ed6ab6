"""The options that every builder and every Parquet form takes, under the same names in each command."""

from dataclasses import dataclass, field, fields

import datasets

VALIDATION_PHOTOS = 0.1


@dataclass
class PictureOptions:
    """What is read of a folder of pictures, as options of a command."""

    allow_partial: bool = field(default=False, metadata={"help": "go on where classes or pictures are missing"})
    verify: bool = field(default=False, metadata={"help": "decode every picture first (minutes); name corrupt and blank ones"})
    skip_corrupt: bool = field(
        default=False, metadata={"help": "decode every picture first and leave out corrupt ones and blank sketches, by name"}
    )
    duplicates: bool = field(default=False, metadata={"help": "keep both copies of doubly listed photos (Sketchy)"})
    validation_photos: float = field(
        default=VALIDATION_PHOTOS, metadata={"help": "share of each seen class's photos that is held out, from 0 to below 1"}
    )

    def given(self) -> dict:
        """The options that differ from their defaults."""
        return {f.name: getattr(self, f.name) for f in fields(PictureOptions) if getattr(self, f.name) != f.default}

    def check_options(self) -> None:
        """Raises ValueError for a value out of range."""
        share = self.validation_photos
        if not isinstance(share, int | float) or not 0 <= share < 1:
            raise ValueError(f"validation_photos is a share from 0 to below 1, not {share!r}.")


@dataclass
class PictureConfig(PictureOptions, datasets.BuilderConfig):
    """A builder's config with the options of `PictureOptions`.

    Attributes:
        allow_partial: go on where classes or pictures are missing.
        verify: decode every picture before building; stop where one is corrupt, or a sketch is blank.
        skip_corrupt: the same, but leave these pictures out; they are named and counted.
        duplicates: keep both copies of photos that two folders list (Sketchy's published protocol); no effect elsewhere.
        validation_photos: share of each seen class's photos that is held out; 0 trains on all, as published, and the
            held-out sketches then search the training photos.
    """
