"""`Gallery`: one's own photos, searched by sketch; the same calls for a folder on disk, a server, and a data set on the Hub.

gallery = Gallery.open("holidays", model="org/caan-sketchy")
gallery.add("photos/")                                     # encodes what is new
gallery.search("sketch.png", top_k=20, under="photos/2024")
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from caan.search.encoder import Encoder, Source
from caan.search.encoding import PhotoEncoder
from caan.search.engine import Engine, Folder, Size
from caan.search.identity import SETTING, SOURCE, identity_of, require_same
from caan.search.names import open_engine
from caan.search.photos import folder_path, show
from caan.search.refresh import Changes, Plan, Refresh, plan_refresh, require_not_empty
from caan.search.results import Found, group_copies, standing_of

EXCLUDE = "exclude"
SAMPLE = 1000  # contents whose scores tell what an ordinary score is
POOL = 200  # contents that are looked at for copies of one shot, beyond those that are asked for


class Gallery:
    """Photos of folders, kept with what a model makes of them. `Gallery.open` makes one.

    Attributes:
        engine: what keeps it.
    """

    def __init__(self, engine: Engine, model: Encoder | Source | None = None, device: str | None = None):
        self.engine, self._device = engine, device
        self._source = None if isinstance(model, Encoder) else model
        self._encoder: Encoder | None = None
        if isinstance(model, Encoder):
            self._use(model)

    @classmethod
    def open(cls, uri: str | os.PathLike, model: Any = None, *, create: bool = True, device: str | None = None) -> "Gallery":
        """The gallery at a place, made where it is missing.

        Args:
            uri: a folder; a name, which is a folder in the user's data; `milvus://host:19530/collection`;
                `hf://datasets/org/name`.
            model: an id or folder, as `caan eval` takes it, a `Source`, or an `Encoder`. None: the one that the gallery was
                made by, loaded when it is needed.
            create: make it where there is none.
            device: where a model runs that is loaded here; None = the fastest there is.

        Raises:
            ValueError: no gallery, a damaged one, or one of another model.
        """
        model = Source(os.fspath(model)) if isinstance(model, (str, os.PathLike)) else model
        gallery = cls(open_engine(os.fspath(uri), create), model, device)
        if model is not None:
            gallery.encoder  # noqa: B018  another model is refused now
        return gallery

    @property
    def encoder(self) -> Encoder:
        """The gallery's model, loaded at the first call.

        Raises:
            ValueError: the gallery is new and was given none; or it is another model than the one that made the gallery.
        """
        if self._encoder is not None:
            return self._encoder
        kept = self.engine.settings().get(SOURCE)
        source = self._source or (Source.from_json(kept) if kept else None)
        if source is None:
            raise ValueError(f"The gallery {self.engine.uri} has no model yet: give model=, a Hub id or a folder.")
        return self._use(Encoder.load(source, self._device))

    def _use(self, encoder: Encoder) -> Encoder:
        require_same(self.engine.settings(), identity_of(encoder.model, encoder.processor), self.engine.uri)
        self._encoder = encoder
        return encoder

    def add(self, folder: str | os.PathLike, **options: Any) -> list[Changes]:
        """Adds the photos of a folder, and keeps to it from then on: `refresh` of a folder that need not be there yet."""
        place = Path(os.path.abspath(folder))
        if not place.is_dir():
            raise ValueError(f"There is no folder {show(place)}.")
        self.encoder  # noqa: B018  before the folder is noted, a model that cannot be loaded is told
        if self._inside(place) is None:
            self.engine.add_root(os.fsencode(place))
        return self.refresh(place, **options)

    def plans(
        self, folder: str | os.PathLike | None = None, exclude: Sequence[str] | None = None, retry: bool = False
    ) -> dict[Folder, Plan]:
        """What `refresh` would do for each folder; a folder that is not in the gallery counts as new."""
        exclude = self._excluded(exclude)
        if folder is None:
            folders = [Folder(root) for root in self.engine.roots()]
        else:
            place = Path(os.path.abspath(folder))
            folders = [self._inside(place) or Folder(os.fsencode(place))]
        return {place: plan_refresh(self.engine, place, exclude, retry) for place in folders}

    def refresh(
        self,
        folder: str | os.PathLike | None = None,
        *,
        dry_run: bool = False,
        yes: bool = False,
        exclude: Sequence[str] | None = None,
        retry: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
        progress: bool = True,
    ) -> list[Changes]:
        """Brings the gallery up to what is in its folders, or in one of them.

        Args:
            folder: one of its folders, or one below; None = all.
            dry_run: change nothing; the counts are of what would be done, where files that only moved count as new.
            yes: also empty it of a folder in which there is no photo any more.
            exclude: patterns of paths below a root that are left out, from now on; None = as the last time.
            retry: also read files again that could not be read.
            batch_size: photos encoded at once; halved where the memory does not suffice. num_workers: processes that read
            photos.

        Returns the `Changes` of each folder.

        Raises:
            ValueError: a folder is not in the gallery, not on disk, or empty and not `yes`; another model. What was done before
                is kept.
        """
        if folder is not None:
            self.locate(folder)
        plans = self.plans(folder, exclude, retry)
        if dry_run:
            return [Changes.planned(show(folder_path(place)), plan) for place, plan in plans.items()]
        if not yes:
            for place, plan in plans.items():
                require_not_empty(plan, show(folder_path(place)))
        self._keep_settings(exclude)
        done = []
        for place, plan in plans.items():
            total = len(plan.new) + len(plan.changed)
            name = show(folder_path(place))
            with tqdm(total=total, desc=name, unit="photo", disable=not (progress and total)) as bar:
                done.append(
                    Refresh(self.engine, self._photo_encoder(batch_size, num_workers, total), bar.update).run(plan, name)
                )
            if not place.path:
                self._take_over(place.root)
        self.engine.prepare()
        return done

    def _photo_encoder(self, batch_size: int, num_workers: int, photos: int) -> PhotoEncoder:
        """Fewer processes where there are few photos: each takes a second to start."""
        workers = min(num_workers, photos // (2 * batch_size))
        return PhotoEncoder(self.encoder.model, self.encoder.processor, batch_size, workers)

    def remove(self, folder: str | os.PathLike) -> int:
        """Takes a folder's photos out of the gallery, and a root for good; returns how many. Files on disk are not touched."""
        place = self.locate(folder)
        removed = self.engine.drop(list(self.engine.photos(place)))
        if not place.path:
            self.engine.remove_root(place.root)
        self.engine.sweep()
        return removed

    def search(self, sketch: Any, top_k: int = 20, under: str | os.PathLike | None = None) -> Found:
        """The `top_k` pictures nearest to a sketch, best first; copies of a picture are one result.

        Args:
            sketch: a path, PIL image or any other form that the processor takes.
            under: only photos at or below this folder.

        Raises:
            ValueError: no drawing in the sketch, an empty gallery, or a folder that is not in it.
        """
        return self.search_vector(self.encoder.sketch(sketch), top_k, under)

    def search_vector(self, query: np.ndarray, top_k: int = 20, under: str | os.PathLike | None = None) -> Found:
        """As `search`, for a unit vector (width,), such as a photo's own, to find more like it."""
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        folder = None if under is None else self.locate(under)
        found = self.engine.nearest(query, top_k + POOL, folder)
        if not found and not self.engine.size().contents:
            raise ValueError(f"The gallery {self.engine.uri} is empty: caan index FOLDER adds photos.")
        hashes = [content for content, _ in found]
        results = group_copies(found, self.engine.vectors(hashes), self.engine.files(hashes, folder), top_k)
        return Found(
            results,
            standing_of(found[0][1], self.engine.sample(SAMPLE) @ query, self.engine.size().contents) if found else None,
        )

    def require_model(self, identity: dict | None) -> None:
        """Checks that vectors of a model (`pipeline_caan.model_identity`) compare with the gallery's.

        Raises:
            ValueError: another model made it, or it cannot be told.
        """
        if identity is None:
            raise ValueError("The model's weights are not in memory (offloaded), so that they cannot be told from others.")
        require_same(self.engine.settings(), identity, self.engine.uri)

    def info(self) -> Size:
        """How much it holds and takes."""
        return self.engine.size()

    def verify(self) -> list[str]:
        """What is damaged in it, in words; nothing where all is well. Reads everything, changes nothing."""
        return self.engine.verify()

    def close(self) -> None:
        """Lets go of its files."""
        self.engine.close()

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def locate(self, folder: str | os.PathLike) -> Folder:
        """A folder of this machine as the gallery keeps it.

        Raises:
            ValueError: it is in none of the gallery's folders.
        """
        place = Path(os.path.abspath(folder))
        found = self._inside_address(os.fsencode(folder)) or self._inside(place)
        if found is None:
            roots = ", ".join(show(os.fsdecode(root)) for root in self.engine.roots()) or "none"
            raise ValueError(f"{show(place)} is not in the gallery {self.engine.uri}; its folders are {roots}.")
        return found

    def _inside_address(self, text: bytes) -> Folder | None:
        """A folder of a gallery on the Hub, by its address, as results have it."""
        for root in self.engine.roots():
            if b"://" in root and (text + b"/").startswith(root + b"/"):
                return Folder(root, text[len(root) + 1 :].rstrip(b"/"))
        return None

    def _inside(self, place: Path) -> Folder | None:
        for root in self.engine.roots():
            with contextlib.suppress(ValueError):
                below = place.relative_to(os.fsdecode(root)).as_posix()
                return Folder(root, b"" if below == "." else os.fsencode(below))
        return None

    def _take_over(self, root: bytes) -> None:
        """A new root holds older ones that lie below it: their photos were found again, by their hashes."""
        for other in self.engine.roots():
            if other != root and Path(os.fsdecode(other)).is_relative_to(os.fsdecode(root)):
                self.engine.remove_root(other)

    def _excluded(self, exclude: Sequence[str] | None) -> list[str]:
        return list(exclude) if exclude is not None else json.loads(self.engine.settings().get(EXCLUDE, "[]"))

    def _keep_settings(self, exclude: Sequence[str] | None) -> None:
        """What the next call needs to know: the model and the patterns."""
        settings = {} if exclude is None else {EXCLUDE: json.dumps(list(exclude))}
        if SETTING not in self.engine.settings():
            identity = identity_of(self.encoder.model, self.encoder.processor)
            settings |= {SETTING: json.dumps(identity), SOURCE: self.encoder.source.to_json()}
        if settings:
            self.engine.set_settings(settings)
