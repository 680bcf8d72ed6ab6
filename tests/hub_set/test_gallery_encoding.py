"""Folders and lists to features, pictures that cannot be read.  python -m pytest tests/hub_set/test_gallery_encoding.py"""

import warnings

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from tiny import caan_model, image_processor, photo, pixels, sketch

from pipeline_caan import REASONS_SHOWN, embed_images, list_images


@pytest.fixture(scope="module")
def model():
    return caan_model()


@pytest.fixture
def folder(tmp_path):
    """Four pictures in three folders, and files that are none."""
    for seed, name in enumerate(("b.png", "a.JPG", "deep/er/c.webp", "a.d/e.gif")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(seed=seed).save(path)
    for name in ("notes.txt", "a", ".hidden.png", ".thumbnails/b.png", "deep/._c.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture")
    (tmp_path / "photos" / "a_folder.png").mkdir()
    return tmp_path / "photos"


def one_by_one(model, images, modality="photo"):
    """The slow reference."""
    features_of = model.get_sketch_features if modality == "sketch" else model.get_image_features
    with torch.no_grad():
        return torch.cat([features_of(pixels(image_processor(), image, modality=modality)) for image in images])


def test_a_folder_is_listed_with_its_subfolders_in_order(folder):
    expected = ["a.JPG", "a.d/e.gif", "b.png", "deep/er/c.webp"]
    assert list_images(folder) == list_images(str(folder)) == [str(folder / name) for name in expected]


def test_no_folder_and_no_pictures_are_named(tmp_path):
    with pytest.raises(ValueError, match="No such folder of pictures: .*nowhere"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"no picture in .* known are \.apng, .*\.jfif, .*\.png"):
        list_images(tmp_path)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_folder_gives_what_its_pictures_give_one_by_one(model, folder, batch_size):
    features = embed_images(model, image_processor(), folder, "photo", batch_size=batch_size, progress=False)
    assert features.dtype == torch.float32
    assert torch.allclose(features, one_by_one(model, list_images(folder)), atol=1e-6)


def test_progress_is_shown_on_request_alone(model, capfd):
    images = [sketch(), sketch((1, 1, 9, 30))]
    quiet = embed_images(model, image_processor(), images, "sketch", progress=False)
    assert capfd.readouterr().err == ""
    shown = embed_images(model, image_processor(), images, "sketch", batch_size=1)
    said = capfd.readouterr().err
    assert "encoding sketches" in said and "/2" in said
    assert torch.allclose(shown, quiet, atol=1e-6)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_picture_is_named(model, folder, num_workers):
    (folder / "broken.png").write_bytes((folder / "b.png").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"photo 3 \(.*broken\.png\): Cannot read the image .*broken\.png"):
        embed_images(model, image_processor(), folder, "photo", num_workers=num_workers, progress=False)


def test_a_blank_sketch_is_told_by_its_place(model):
    with pytest.raises(ValueError, match="sketch 1: the sketch has no ink"):
        embed_images(model, image_processor(), [sketch(), Image.new("RGB", (9, 9), "white")], "sketch", progress=False)


@pytest.mark.parametrize("accelerated", [False, True])
def test_skipped_pictures_are_nan_and_counted(model, folder, accelerated):
    images = [str(folder / "b.png"), str(folder / "gone.png"), photo(), str(folder / "notes.txt"), sketch()]
    accelerator = Accelerator(cpu=True) if accelerated else None
    options = {"on_error": "skip", "batch_size": 2, "progress": False, "accelerator": accelerator}
    with pytest.warns(UserWarning) as said:
        features = embed_images(model, image_processor(), images, "photo", **options)
    assert features.isnan().all(dim=1).tolist() == features.isnan().any(dim=1).tolist() == [False, True, False, True, False]
    assert torch.allclose(features[[0, 2, 4]], one_by_one(model, [images[0], images[2], images[4]]), atol=1e-6)
    (warning,) = (warning for warning in said if warning.category is UserWarning)  # others' are of files left open
    assert warning.filename == __file__
    first, *reasons = str(warning.message).split("\n")
    assert first == "skipped 2 of 5 photos:" and len(reasons) == 2
    assert reasons[0] == f"photo 1 ({images[1]}): No such image file: {images[1]}"
    assert reasons[1].startswith(f"photo 3 ({images[3]}): Cannot read the image")


def test_where_nothing_is_skipped_nothing_is_said(model, folder):
    for name in ("notes.txt", "a"):
        (folder / name).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        features = embed_images(model, image_processor(), folder, "photo", on_error="skip", progress=False)
    assert torch.allclose(features, one_by_one(model, list_images(folder)), atol=1e-6)


def test_a_long_list_of_reasons_is_cut(model):
    with pytest.warns(UserWarning) as said:
        embed_images(model, image_processor(), ["gone.png"] * (REASONS_SHOWN + 5), "photo", on_error="skip", progress=False)
    lines = str(said[0].message).split("\n")
    assert lines[0] == f"skipped {REASONS_SHOWN + 5} of {REASONS_SHOWN + 5} photos:"
    assert len(lines) == REASONS_SHOWN + 2 and lines[-1] == "..."


def test_the_model_is_left_in_its_mode(model, folder):
    model.train()
    embed_images(model, image_processor(), folder, "photo", progress=False)
    assert model.training
    model.eval()


@pytest.mark.parametrize(
    ("options", "message"), [({"modality": "text"}, "modality must be"), ({"on_error": "ignore"}, "on_error must be one of")]
)
def test_unknown_choices_are_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        embed_images(model, image_processor(), [photo()], **{"modality": "photo", **options})
