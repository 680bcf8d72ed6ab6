"""A home of two galleries by a tiny CAAN, and the server that the page asks."""

import os

import pytest
import tiny
from app_page import photo_tree
from trees import CLASSES

from caan.options import AppOptions
from caan.search.gallery import Gallery


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """CAAN_HOME with the galleries "default" and "other"; the folder of the photos is `home / "photos"`."""
    place = tmp_path_factory.mktemp("home")
    model = tiny.caan_model().for_inference()
    model.save_pretrained(place / "model")
    tiny.image_processor().save_pretrained(place / "model")
    root = photo_tree(place / "photos")
    before = os.environ.get("CAAN_HOME")
    os.environ["CAAN_HOME"] = str(place)
    for name, folder in (("default", root), ("other", root / "shapes" / CLASSES[1])):
        with Gallery.open(name, place / "model", device="cpu") as gallery:
            gallery.add(folder, progress=False)
    yield place
    os.environ.pop("CAAN_HOME") if before is None else os.environ.update(CAAN_HOME=before)


@pytest.fixture(scope="session")
def server(home):
    """Answers from both galleries."""
    from caan.search.app.ready import ready_server

    return ready_server(AppOptions(device="cpu"))
