"""Which part of a photo answers which stroke. python -m pytest tests/search/test_explanation.py"""

import numpy as np
import pytest
import torch
from photos import photo_folder, shape
from tiny import caan_model, image_processor

from caan.search.encoder import Encoder, Source
from caan.search.explanation import draw_explanation, explain
from caan.search.gallery import Gallery
from caan.search.pictures import explain_grid, results_grid


def test_heat_is_the_best_cosine_with_a_cell_of_ink():
    model, processor = caan_model(), image_processor()
    sketch, photo = shape("circle", 1), shape("cross", 2, ground="gray")
    found = explain(model, processor, sketch, photo)
    tokens = {
        modality: model.eval()
        .get_relation_tokens(processor([picture], modality=modality, return_tensors="pt")["pixel_values"], modality)[0]
        .detach()
        for modality, picture in (("sketch", sketch), ("photo", photo))
    }
    prepared, side = np.asarray(processor.prepare(sketch, "sketch").convert("L")), found.side
    edges = np.linspace(0, len(prepared), side + 1).round().astype(int)
    best = np.full(side * side, -2.0)
    for place in range(side * side):
        for cell in range(side * side):
            row, column = divmod(cell, side)
            if (prepared[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] < 229.5).any():
                best[place] = max(best[place], float(tokens["photo"][place] @ tokens["sketch"][cell]))
    expected = (best - best.min()) / (best.max() - best.min())
    np.testing.assert_allclose(found.heat.flatten(), expected, atol=1e-4)


def test_a_model_without_local_tokens_is_told():
    with pytest.raises(ValueError, match="has no local tokens to explain a result by"):
        explain(torch.nn.Linear(1, 1), image_processor(), shape("circle"), shape("circle"))


def test_sheets_have_a_row_for_five_results_and_one_for_each_explanation(tmp_path):
    with Gallery.open(tmp_path / "gallery", Encoder(caan_model(), image_processor(), Source("tiny"))) as gallery:
        gallery.add(photo_folder(tmp_path / "photos", 2), progress=False)
        found = gallery.search(shape("circle", 7), 7)
        sheet, page = results_grid(gallery, shape("circle", 7), found), explain_grid(gallery, shape("circle", 7), found)
        assert sheet.width == page.width and page.height > sheet.height
        row = draw_explanation(
            explain(gallery.encoder.model, gallery.encoder.processor, shape("circle", 7), found[0].path), "1"
        )
        each = row.height * sheet.width // row.width
        assert page.height == sheet.height + each * min(5, len(found))


def test_a_photo_whose_disk_is_away_is_explained_by_its_thumbnail(tmp_path):
    photos = photo_folder(tmp_path / "photos", 1)
    with Gallery.open(tmp_path / "gallery", Encoder(caan_model(), image_processor(), Source("tiny"))) as gallery:
        gallery.add(photos, progress=False)
        found = gallery.search(shape("circle", 1), top_k=2)
        photos.rename(tmp_path / "away")
        assert explain_grid(gallery, shape("circle", 1), found).height > results_grid(gallery, shape("circle", 1), found).height
