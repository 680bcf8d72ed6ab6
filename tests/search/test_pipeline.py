"""The pipeline with a gallery on disk. python -m pytest tests/search/test_pipeline.py"""

import pytest
from photos import photo_folder, shape
from tiny import caan_model, image_processor
from transformers import pipeline

from caan.search.encoder import Encoder, Source
from caan.search.gallery import Gallery


@pytest.fixture
def pipe():
    return pipeline("sketch-retrieval", model=caan_model(), image_processor=image_processor())


def test_a_gallery_on_disk_gives_what_one_in_memory_gives(pipe, tmp_path):
    root = photo_folder(tmp_path / "photos")
    with Gallery.open(tmp_path / "gallery", Encoder(pipe.model, pipe.image_processor, Source("tiny"))) as gallery:
        gallery.add(root, progress=False)
        sketches = [shape("circle", 7), shape("cross", 8)]
        expected = pipe(sketches, gallery=pipe.encode_gallery(root, progress=False), top_k=12)
        for found, wanted in zip(pipe(sketches, gallery=gallery, top_k=12), expected, strict=True):
            scores = {row["image"]: row["score"] for row in wanted}
            assert [row["rank"] for row in found] == list(range(1, len(found) + 1)) and len(found) >= 1
            assert all(row["score"] == pytest.approx(scores[row["image"]], abs=2e-3) for row in found)
            assert found[0]["score"] == pytest.approx(wanted[0]["score"], abs=2e-3)
        assert pipe(sketches[0], gallery=gallery, top_k=1)[0]["image"] == found_first(pipe, sketches[0], gallery)


def found_first(pipe, sketch, gallery) -> str:
    return gallery.search(sketch, 1)[0].path


def test_a_gallery_of_another_model_is_refused(pipe, tmp_path, photos_pixels):
    with pytest.raises(ValueError, match="was made by another model"):
        pipe(shape("circle"), gallery=photos_pixels)


@pytest.fixture
def photos_pixels(tmp_path):
    with Gallery.open(tmp_path / "pixels", Encoder.load(Source("pixels"), "cpu")) as gallery:
        gallery.add(photo_folder(tmp_path / "p"), progress=False)
        yield gallery
