"""`Gallery`: one's own photos, searched by sketch; the same calls for a folder on disk, a server, and a data set on the Hub.

gallery = Gallery.open("holidays", model="org/caan-sketchy")
gallery.add("photos/")                                     # encodes what is new
gallery.search("sketch.png", top_k=20, under="photos/2024")
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from caan.search.encoder import Encoder, Source
from caan.search.engine import Engine, Folder, NoGallery, Size
from caan.search.folders import locate, root_for, take_over
from caan.search.identity import SETTING, SOURCE, identity_of, require_same
from caan.search.names import open_engine
from caan.search.photos import folder_path
from caan.search.plan import Comparison, plan_all
from caan.search.refresh import Changes, add_new, drop_gone
from caan.search.results import Found, group_copies, near_limit, standing_of
from caan.search.second_stage import SecondStage, rescored
from pipeline_caan import show_path

Folders = str | os.PathLike | Sequence[str | os.PathLike]  # one, or several
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
        place = uri if isinstance(uri, str) else os.path.abspath(uri)  # a Path is no name
        try:
            engine = open_engine(place, create=False)
        except NoGallery:
            if not create:
                raise
            if isinstance(model, Source):  # before a gallery is made, so that a model that cannot be loaded leaves none behind
                model = Encoder.load(model, device)
            engine = open_engine(place)
        gallery = cls(engine, model, device)
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

    def add(self, folder: Folders, **options: Any) -> list[Changes]:
        """Adds the photos of folders, and keeps to them from then on: `refresh` of folders that need not be there yet."""
        folders = listed(folder)
        if missing := [show_path(os.path.abspath(place)) for place in folders if not os.path.isdir(place)]:
            raise ValueError("\n".join(f"There is no folder {place}." for place in missing))
        if not options.get("dry_run"):
            self.encoder  # noqa: B018  before the folders are noted, a model that cannot be loaded is told
            for place in folders:
                self.engine.add_root(root_for(self.engine, place).root)
        return self._refresh([root_for(self.engine, place) for place in folders], **options)

    def refresh(self, folder: Folders | None = None, **options: Any) -> list[Changes]:
        """Brings the gallery up to what is in its folders, or in some of them.

        Args:
            folder: one of its folders, or one below, or several; None = all.
            dry_run: change nothing; the counts are of what would be done, where files that only moved count as new.
            yes: also take out photos whose disk may be away: of a folder that is empty now, or without photos and had many.
            exclude: patterns of paths below a root that are left out, from now on; None = as the last time.
            retry: also read files again that could not be read. check: read all files, to find those that changed while their
            size and time stayed.
            batch_size: photos encoded at once; halved where the memory does not suffice. num_workers: processes that read
            photos. progress: show a bar.
            report: called with the `Changes` of each folder, also where an error about another one follows.

        Returns the `Changes` of each folder.

        Raises:
            ValueError: a folder is not in the gallery, not on disk, or lacks photos whose disk may be away and not `yes`, after
                all else was done; another model. What was done before is kept.
        """
        folders = self._roots() if folder is None else [self.locate(place) for place in listed(folder)]
        return self._refresh(folders, **options)

    def _refresh(
        self,
        folders: Sequence[Folder],
        *,
        dry_run: bool = False,
        yes: bool = False,
        exclude: Sequence[str] | None = None,
        retry: bool = False,
        check: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
        progress: bool = True,
        report: Callable[[Changes], object] = lambda changes: None,
    ) -> list[Changes]:
        how = Comparison(self._excluded(exclude), retry, check, progress)
        plans, problems = plan_all(self.engine, folders, how, yes)
        if problems and len(problems) == len(folders):
            raise ValueError("\n".join(problems))
        if dry_run:
            done = [Changes.planned(show_path(folder_path(place)), plan) for place, plan in plans.items()]
        else:
            self._keep_settings(exclude)
            done = add_new(self.engine, self.encoder, plans, batch_size, num_workers, progress)
        problems += drop_gone(self.engine, list(plans.values()), done, yes, dry_run)
        if not dry_run:
            for place in plans:
                if not place.path:
                    take_over(self.engine, place.root)
            self.engine.prepare()
        for changes in done:
            report(changes)
        if problems:
            raise ValueError("\n".join([*problems, "" if dry_run else "The other folders are up to date."]).rstrip())
        return done

    def _roots(self) -> list[Folder]:
        return [Folder(root) for root in self.engine.roots()]

    def remove(self, folder: str | os.PathLike) -> int:
        """Takes a folder's photos out of the gallery, and a root for good; returns how many. Files on disk are not touched."""
        place = self.locate(folder)
        removed = self.engine.drop(list(self.engine.photos(place)))
        if not place.path:
            self.engine.remove_root(place.root)
        self.engine.sweep()
        return removed

    def search(
        self,
        sketch: Any,
        top_k: int = 20,
        under: str | os.PathLike | None = None,
        second_stage: SecondStage | None = None,
        first: int = 100,
    ) -> Found:
        """The `top_k` pictures nearest to a sketch, best first; copies of a picture are one result.

        Args:
            sketch: a path, PIL image or any other form that the processor takes.
            under: only photos at or below this folder.
            second_stage: scores the `first` results anew, by the local tokens that the gallery keeps of them.

        Raises:
            ValueError: no drawing in the sketch, an empty gallery, or a folder that is not in it.
        """
        query = self.encoder.sketch(sketch)
        if second_stage is None:
            return self.search_vector(query, top_k, under)
        found = rescored(self.search_vector(query, max(top_k, first), under), self.engine, sketch, second_stage, first)
        return Found(found[:top_k], found.standing)

    def search_vector(self, query: np.ndarray, top_k: int = 20, under: str | os.PathLike | None = None) -> Found:
        """As `search`, for a unit vector (width,), such as a photo's own, to find more like it."""
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        folder = None if under is None else self.locate(under)
        sample, count = self.engine.sample(SAMPLE), top_k + POOL
        if not len(sample):
            raise ValueError(f"The gallery {self.engine.uri} is empty: caan index FOLDER adds photos.")
        near = near_limit(sample)
        while True:
            found = self.engine.nearest(query, count, folder)
            hashes = [content for content, _ in found]
            results = group_copies(found, self.engine.vectors(hashes), self.engine.files(hashes, folder), top_k, near)
            if len(results) == top_k or len(found) < count:
                break
            count *= 4  # near-copies of one shot fill the pool
        contents = max(len(sample), self.engine.count())  # another process may remove some meanwhile
        return Found(results, standing_of(found[0][1], sample @ query, contents) if found else None)

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
        return locate(self.engine, folder)

    def _excluded(self, exclude: Sequence[str] | None) -> list[str]:
        return list(exclude) if exclude is not None else json.loads(self.engine.settings().get(EXCLUDE, "[]"))

    def _keep_settings(self, exclude: Sequence[str] | None) -> None:
        """What the next call needs to know: the model, where it is now, and the patterns.

        Raises:
            ValueError: another process has given the gallery another model meanwhile.
        """
        settings = {} if exclude is None else {EXCLUDE: json.dumps(list(exclude))}
        identity, kept = identity_of(self.encoder.model, self.encoder.processor), self.engine.settings()
        require_same(kept, identity, self.engine.uri)
        if SETTING not in kept:
            settings[SETTING] = json.dumps(identity)
        if kept.get(SOURCE) != (source := self.encoder.source.to_json()):
            settings[SOURCE] = source
        if settings:
            self.engine.set_settings(settings)


def listed(folders: Folders) -> list[str | os.PathLike]:
    """Folders as a list, of which one may be given alone."""
    return [folders] if isinstance(folders, (str, os.PathLike)) else list(folders)
