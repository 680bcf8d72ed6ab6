"""Augmentation of sketches and photos.  python -m pytest tests/data/test_augment.py"""

import numpy as np
import pytest
import torch
from tiny import photo, sketch

from caan.data.augment import StrokeWidth, photo_augmentation, sketch_augmentation


def tensor(image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)


def draws(monkeypatch, *values):
    """`torch.rand(3)` gives these values."""
    monkeypatch.setattr(torch, "rand", lambda count: torch.tensor(values[:count]))


@pytest.fixture
def line():
    """A black line of one pixel in a white 7 x 7 sketch."""
    image = torch.ones(3, 7, 7)
    image[:, :, 3] = 0
    return image


@pytest.mark.parametrize(
    "thin,amount,row",
    [
        (0.9, 1.0, [1, 1, 0, 0, 0, 1, 1]),  # dark grows by a pixel on both sides
        (0.9, 0.25, [1, 1, 0.75, 0, 0.75, 1, 1]),
        (0.1, 1.0, [1, 1, 1, 0.5, 1, 1, 1]),  # thinning is halved: the line is still there
        (0.1, 0.5, [1, 1, 1, 0.25, 1, 1, 1]),
    ],
)
def test_strokes_grow_and_shrink(monkeypatch, line, thin, amount, row):
    draws(monkeypatch, 0.0, thin, amount)
    out = StrokeWidth(0.5)(line)
    assert torch.allclose(out[:, 2:5], torch.tensor(row, dtype=torch.float32).expand(3, 3, 7))


def test_strokes_are_left_alone_as_often_as_asked(monkeypatch, line):
    draws(monkeypatch, 0.5, 0.9, 1.0)
    assert StrokeWidth(0.5)(line) is line
    assert not torch.equal(StrokeWidth(0.6)(line), line)


@pytest.mark.parametrize("seed", range(20))
def test_a_sketch_stays_ink_on_white(seed):
    torch.manual_seed(seed)
    drawn = tensor(sketch(box=(8, 12, 54, 50)))
    out = sketch_augmentation(64)(drawn)
    assert out.shape == (3, 64, 64) and out.dtype == torch.float32
    assert -1e-5 <= out.min() < 0.5 and out.max() <= 1 + 1e-5
    border = torch.cat([out[:, 0], out[:, -1], out[:, :, 0], out[:, :, -1]], dim=1)
    assert border.median() > 0.99  # what moves in from outside is white
    ink = (1 - out).mean() / (1 - drawn).mean()
    assert 0.2 < ink < 4


def test_white_paper_stays_white():
    for seed in range(10):
        torch.manual_seed(seed)
        assert torch.allclose(sketch_augmentation(32)(torch.ones(3, 32, 32)), torch.ones(3, 32, 32))


@pytest.mark.parametrize("size", [(48, 40), (20, 90), (32, 32), (3, 5)])
def test_a_photo_of_any_size_becomes_a_square_of_finite_colours(size):
    checkers = torch.from_numpy(np.indices(size[::-1]).sum(axis=0) % 2).float().expand(3, -1, -1)
    for seed, image in enumerate([tensor(photo(size)), checkers] * 5):
        torch.manual_seed(seed)
        out = photo_augmentation(32)(image)
        assert out.shape == (3, 32, 32)
        assert out.isfinite().all() and out.min() >= -1e-5 and out.max() <= 1 + 1e-5


def test_most_photos_keep_their_colours_and_some_lose_them():
    """A share of 0.2 is made gray: of 200 draws 20 to 60 in all but one of a million cases."""
    coloured, gray = tensor(photo()), 0
    for seed in range(200):
        torch.manual_seed(seed)
        out = photo_augmentation(16)(coloured)
        gray += bool((out.max(dim=0).values - out.min(dim=0).values).max() < 1e-3)
    assert 20 <= gray <= 60


@pytest.mark.parametrize("maker,image", [(sketch_augmentation, sketch(size=(64, 64))), (photo_augmentation, photo())])
def test_the_global_generator_decides_everything(maker, image):
    augment, outputs = maker(64), []
    for seed in (0, 1, 2, 0):
        torch.manual_seed(seed)
        outputs.append(augment(tensor(image)))
    assert torch.equal(outputs[0], outputs[3])
    assert all(not torch.equal(outputs[i], outputs[j]) for i, j in ((0, 1), (1, 2), (0, 2)))
