"""A gallery of small photos by the correlation of pixels: no weights, a millisecond a picture."""

from pathlib import Path

import pytest
from photos import photo_folder

from caan.search.encoder import Encoder, Source
from caan.search.gallery import Gallery


@pytest.fixture(scope="session")
def pixels() -> Encoder:
    """The encoder of the tests."""
    return Encoder.load(Source("pixels"), "cpu")


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve photos in four folders."""
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def gallery(tmp_path, pixels, photos):
    """The gallery of `photos`, open."""
    with Gallery.open(tmp_path / "gallery", pixels) as opened:
        opened.add(photos, progress=False)
        yield opened
