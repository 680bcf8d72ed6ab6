"""Whitening of the retrieval features.  python -m pytest tests/training/test_whitening.py"""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from running import shapes
from tiny import assert_same_tensors, batch, caan_model, image_processor

from caan.data.pictures import Pictures, load_splits
from caan.export.graphs import export_graphs
from caan.export.runtime import ExportedModel
from caan.options import DataOptions
from caan.training.whitening import FLOOR, class_deviations, fit_whitening, spread, whitening_matrix
from modeling_caan import CAANModel, Whitening
from pipeline_caan import embed_images


@pytest.fixture(scope="module")
def train_split():
    return load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]


@pytest.fixture
def fitted(train_split):
    torch.manual_seed(0)
    model = caan_model(whitening=0.5).eval()
    fit_whitening(model, image_processor(), train_split, progress=False)
    return model


def both_features(model, pixels):
    with torch.no_grad():
        return torch.cat([model.get_sketch_features(pixels), model.get_image_features(pixels)])


def uneven(count, seed):
    """Features (count, 5) of unequal variances along turned axes."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((5, 5)))[0]
    return torch.tensor(generator.standard_normal((count, 5)) * [3, 2, 1.5, 1, 0.75] @ turn)


def test_until_it_is_fitted_it_only_normalises():
    features = torch.randn(4, 6)
    assert torch.equal(Whitening(6)(features), F.normalize(F.normalize(features, dim=-1), dim=-1))


def test_deviations_are_from_the_class_s_own_mean():
    features = torch.tensor([[1.0, 0.0], [10.0, 5.0], [3.0, 4.0], [20.0, 5.0], [7.0, 7.0]])
    deviations = class_deviations(features, torch.tensor([4, 9, 4, 9, 2]))
    assert deviations.tolist() == [[-1, -2], [-5, 0], [1, 2], [5, 0], [0, 0]]


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_variances_are_raised_to_the_remaining_power(strength):
    deviations = uneven(100, 1)
    matrix = whitening_matrix(deviations, strength)
    before, after = (np.linalg.eigvalsh(x.T @ x / len(x)) for x in (deviations.numpy(), (deviations @ matrix).numpy()))
    assert np.allclose(after, np.sort(before ** (1 - strength)))
    assert torch.allclose(matrix, matrix.T)


@pytest.mark.parametrize("deviations", [torch.zeros(6, 5), 1e-9 * torch.randn(6, 5)])
def test_where_nothing_varies_within_classes_only_the_mean_is_taken_off(deviations):
    assert torch.equal(whitening_matrix(deviations, 0.5), torch.eye(5))


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_the_floor_is_a_hundredth_of_the_largest_variance(strength):
    """Variances 4 and 0.01: the second counts as 0.04."""
    deviations = torch.tensor([[2.0, 0.1], [-2.0, -0.1], [2.0, -0.1], [-2.0, 0.1]])
    matrix = whitening_matrix(deviations, strength)
    assert matrix.diagonal().tolist() == pytest.approx([4 ** (-strength / 2), 0.04 ** (-strength / 2)], rel=1e-5)


def test_a_direction_without_variance_is_not_blown_up():
    deviations = uneven(100, 1)
    deviations[:, 0] = 0
    largest = torch.linalg.eigvalsh(deviations.T @ deviations / 100).max()
    assert whitening_matrix(deviations, 1.0).abs().max() <= (FLOOR * largest) ** -0.5 * 1.001


def test_fitted_features_are_those_of_the_formula(fitted, train_split):
    plain = caan_model(whitening=0.0).eval()
    plain.load_state_dict({k: v for k, v in fitted.state_dict().items() if "whitening" not in k})
    pictures = {m: Pictures(train_split, m) for m in ("sketch", "photo")}
    features = {m: embed_images(plain, image_processor(), p, m, progress=False).numpy() for m, p in pictures.items()}
    means = {m: x.mean(axis=0) for m, x in features.items()}
    joined = np.concatenate([x - means[m] for m, x in features.items()]).astype(np.float64)
    labels = np.concatenate([p.labels.numpy() for p in pictures.values()])
    for label in np.unique(labels):
        joined[labels == label] -= joined[labels == label].mean(axis=0)
    values, vectors = np.linalg.eigh(joined.T @ joined / len(joined))
    matrix = vectors @ np.diag(np.maximum(values, FLOOR * values.max()) ** -0.25) @ vectors.T
    for modality, x in features.items():
        expected = (x - means[modality]) @ matrix
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = embed_images(fitted, image_processor(), pictures[modality], modality, progress=False)
        assert np.allclose(found.numpy(), expected, atol=1e-4)


def test_fitting_again_changes_nothing(fitted, train_split):
    before = copy.deepcopy(fitted)
    fit_whitening(fitted, image_processor(), train_split, progress=False)
    assert_same_tensors(fitted, before)


def test_it_is_saved_and_kept_for_inference(fitted, tmp_path):
    pixels = batch()["pixel_values"]
    expected = both_features(fitted, pixels)
    fitted.save_pretrained(tmp_path)
    loaded = CAANModel.from_pretrained(tmp_path).eval()
    assert torch.allclose(both_features(loaded, pixels), expected, atol=1e-6)
    assert torch.allclose(both_features(fitted.for_inference(), pixels), expected, atol=1e-6)
    with torch.no_grad():
        output = loaded(pixel_values=pixels, sketch_pixel_values=pixels)
    assert torch.allclose(torch.cat([output.sketch_embeds, output.image_embeds]), expected, atol=1e-6)


def test_losses_do_not_see_it(fitted):
    plain = caan_model(whitening=0.0)
    plain.load_state_dict({k: v for k, v in fitted.state_dict().items() if "whitening" not in k})
    losses = []
    for model in (fitted, plain):
        torch.manual_seed(3)
        losses.append(model.eval()(**batch()).loss.item())
    assert losses[0] == losses[1]


def test_a_shared_tower_is_exported_once_with_an_output_a_modality(tmp_path, train_split):
    model = caan_model(whitening=0.5, share_vision_encoder=True, use_text=False).eval()
    fit_whitening(model, image_processor(), train_split, progress=False)
    files, outputs = export_graphs(model, (32, 32), tmp_path, "torch")
    assert files == dict.fromkeys(("sketch", "photo"), "sketch_photo.pt2")
    pixels = batch()["pixel_values"]
    exported = ExportedModel(files, tmp_path, outputs)
    assert torch.allclose(both_features(exported, pixels), both_features(model, pixels), atol=1e-5)


def test_spread_takes_all_or_evenly(train_split):
    pictures = Pictures(train_split, "photo")
    assert spread(pictures).indices == list(range(len(pictures)))
    assert spread(pictures, 2).indices == [0, round(len(pictures) / 2)]


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_strength_out_of_range_is_refused(value):
    with pytest.raises(Exception, match=r"whitening must be in \[0, 1\], got"):
        caan_model(whitening=value)
