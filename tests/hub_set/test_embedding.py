"""Pictures to features.  python -m pytest tests/hub_set/test_embedding.py"""

import json
import warnings

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from running import forget_accelerate, in_two_processes, shapes
from tiny import caan_model, image_processor, sketch
from trees import make_shapes

from caan.data.pictures import Pictures, load_splits
from caan.options import DataOptions
from pipeline_caan import embed_images

SKETCHES = [sketch(box=(5, 5, 20 + 5 * i, 60 - 4 * i)) for i in range(7)]


def pictures(modality: str) -> Pictures:
    splits = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))
    return Pictures(splits["test"], modality)


def one_by_one(model, images, modality: str) -> torch.Tensor:
    """The reference: a picture at a time."""
    features_of = model.get_sketch_features if modality == "sketch" else model.get_image_features
    with torch.no_grad():
        rows = [features_of(image_processor()(image, modality=modality, return_tensors="pt").pixel_values) for image in images]
    return torch.cat(rows)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
@pytest.mark.parametrize("modality", ["sketch", "photo"])
def test_order_and_values_do_not_depend_on_the_batch(modality, batch_size):
    model = caan_model()
    features = embed_images(model, image_processor(), SKETCHES, modality, batch_size=batch_size, progress=False)
    assert features.shape == (7, 8) and features.dtype == torch.float32
    assert torch.allclose(features, one_by_one(model, SKETCHES, modality), atol=1e-5)


def test_workers_keep_the_order():
    model = caan_model()
    alone = embed_images(model, image_processor(), SKETCHES, "sketch", batch_size=2, progress=False)
    assert torch.equal(embed_images(model, image_processor(), SKETCHES, "sketch", 2, num_workers=2, progress=False), alone)


def test_the_model_is_in_eval_mode_meanwhile_and_as_before_afterwards():
    model = caan_model(vision_config="resnet")
    expected = embed_images(model, image_processor(), SKETCHES, "photo", progress=False)
    buffers = [buffer.clone() for buffer in model.buffers()]
    model.train()
    assert torch.equal(embed_images(model, image_processor(), SKETCHES, "photo", progress=False), expected)
    assert model.training and all(torch.equal(one, other) for one, other in zip(buffers, model.buffers()))


def test_paths_and_rows_of_a_data_set_are_read_alike():
    model, rows = caan_model(), pictures("photo")
    files = [shapes() / file for file in rows.files]
    expected = one_by_one(model, [Image.open(file) for file in files], "photo")
    for images in (rows, files, [str(file) for file in files]):
        assert torch.allclose(embed_images(model, image_processor(), images, "photo", 5, progress=False), expected, atol=1e-5)


class Lazy:
    """A sequence that decodes where it is asked, and remembers in which order."""

    def __init__(self, images):
        self.images, self.asked = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        self.asked.append(row)
        return self.images[row].copy()


def test_a_lazy_sequence_is_decoded_once_and_a_batch_at_a_time():
    lazy, model, seen = Lazy(SKETCHES), caan_model(), []
    features_of = model.get_sketch_features
    model.get_sketch_features = lambda pixels: (seen.append(len(lazy.asked)), features_of(pixels))[1]
    embed_images(model, image_processor(), lazy, "sketch", batch_size=3, progress=False)
    assert lazy.asked == list(range(7)) and seen == [3, 6, 7]


def test_nothing_gives_nothing():
    assert embed_images(caan_model(), image_processor(), [], "photo", progress=False).shape[0] == 0


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_file_and_a_blank_sketch_are_named(tmp_path, num_workers):
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file in files:
        sketch().save(file)
    files[2].write_bytes(files[2].read_bytes()[:80])
    with pytest.raises(ValueError, match=r"sketch 2 .*2\.png.*Cannot read the image"):
        embed_images(caan_model(), image_processor(), files, "sketch", 2, num_workers=num_workers, progress=False)
    blank = Image.new("RGB", (30, 30), "white")
    with pytest.raises(ValueError, match="sketch 1: the sketch has no ink"):
        embed_images(caan_model(), image_processor(), [sketch(), blank], "sketch", 2, num_workers=num_workers, progress=False)


def test_a_broken_row_of_a_data_set_is_named(tmp_path):
    root = make_shapes(tmp_path / "shapes", sketches=5, photos=2)
    (root / "photo" / "gable" / "1.png").write_bytes(b"no picture")
    rows = Pictures(load_splits(DataOptions(dataset="folder", data_dir=str(root)))["test"], "photo")
    with pytest.raises(ValueError, match="^photo/gable/1.png: Cannot read the image"):
        embed_images(caan_model(), image_processor(), rows, "photo", progress=False)


def test_skipped_pictures_are_told_and_leave_no_numbers(tmp_path):
    images = [sketch(), Image.new("RGB", (9, 9), "white"), sketch(), str(tmp_path / "absent.png")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features = embed_images(caan_model(), image_processor(), images, "sketch", 2, progress=False, on_error="skip")
    assert features.isnan().all(dim=1).tolist() == [False, True, False, True]
    text = "\n".join(str(w.message) for w in caught)
    assert "skipped 2 of 4 sketches" in text and "no ink" in text and "absent.png" in text
    assert torch.allclose(features[0], one_by_one(caan_model(), [sketch()], "sketch")[0], atol=1e-5)


def embed_shares(folder, sizes):
    """What each process of two gets."""
    accelerator = Accelerator(cpu=True)
    features = {}
    for size in sizes:
        images = SKETCHES[:size]
        features[size] = embed_images(caan_model(), image_processor(), images, "sketch", 2, accelerator=accelerator).tolist()
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(features))


def test_two_processes_get_all_features_in_order(tmp_path):
    sizes = (7, 4, 3, 1)  # 7 = 2 + 2 + 2 + 1: the last batches are not full
    in_two_processes(embed_shares, tmp_path, sizes)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    for size in sizes:
        alone = embed_images(caan_model(), image_processor(), SKETCHES[:size], "sketch", 2, progress=False)
        assert torch.allclose(torch.tensor(ranks[0][str(size)]), alone, atol=1e-5), size


def test_under_an_accelerator_of_one_process():
    forget_accelerate()
    alone = embed_images(caan_model(), image_processor(), SKETCHES, "photo", 4, progress=False)
    shared = embed_images(caan_model(), image_processor(), SKETCHES, "photo", 4, accelerator=Accelerator(cpu=True))
    forget_accelerate()
    assert torch.allclose(shared, alone, atol=1e-6)
