"""The gallery and the model that a command means."""

import shlex

from caan.options import GalleryOptions
from caan.search.encoder import Source
from caan.search.engine import NoGallery
from caan.search.gallery import Gallery
from caan.search.identity import SOURCE
from caan.search.names import last_model, open_engine

WITHOUT_CAAN = "openai/clip-vit-base-patch32"  # finds photos by sketches without training, and is known to everyone


def open_gallery(options: GalleryOptions, create: bool = False) -> Gallery:
    """The gallery of a command, with the model that it names; without one its own, for a new gallery the one used last.

    Raises:
        ValueError: there is no such gallery, or no model is known for a new one.
    """
    try:
        engine = open_engine(options.gallery, create=False)
    except NoGallery:
        if not create:
            raise
        engine = None
    source = chosen_source(options, (engine and engine.settings().get(SOURCE)) or last_model())
    if source is None:
        raise ValueError(
            "No model is chosen yet. Take one from the Hub that finds photos by sketches without training: --model "
            f"{WITHOUT_CAAN}\nor train a small CAAN here in minutes: caan train openmoji, then --model outputs/openmoji"
        )
    if engine is None:
        return Gallery.open(options.gallery, source, device=options.device)
    gallery = Gallery(engine, source, options.device)
    if options.model or options.image_size:
        gallery.encoder  # noqa: B018  another model is refused, also where nothing is to be encoded
    return gallery


def chosen_source(options: GalleryOptions, kept: str | None) -> Source | None:
    """The model that options name, else the one that is kept, as JSON; None where there is none."""
    source = Source.from_json(kept) if kept else None
    if options.model or options.image_size:
        model = options.model or (source.model if source else None)
        return Source(model, options.image_size) if model else None
    return source


def name_option(gallery: str) -> str:
    """How a command names a gallery, after a blank; nothing for the default one."""
    return "" if gallery == "default" else f" --gallery {shlex.quote(gallery)}"
