"""What the processors take, refuse and save.  python -m pytest tests/hub_set/test_processing_input.py"""

import io
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import complaints, encoded, image_processor, photo, pixels, processor, sketch
from transformers import AutoImageProcessor, AutoProcessor

from processing_caan import CAANImageProcessor, CAANProcessor, open_image


@pytest.fixture(scope="module")
def process():
    return image_processor()


def test_arrays_and_tensors_are_the_pictures_they_came_from(process):
    array = np.asarray(photo())
    expected = pixels(process, photo())
    forms = {
        "channels last": array,
        "channels first": array.transpose(2, 0, 1),
        "tensor": torch.tensor(array),
        "tensor, channels first": torch.tensor(array).permute(2, 0, 1),
        "float": array / 255,
        "float32 tensor": torch.tensor(array).permute(2, 0, 1) / 255,
        "wide integers": array.astype(np.int64),
        "16 bits": array.astype(np.uint16) * 257,
        "a float that needs a gradient": (torch.tensor(array) / 255).requires_grad_(),
        "with alpha": np.concatenate([array, np.full_like(array[..., :1], 255)], axis=-1),
    }
    for name, form in forms.items():
        assert torch.equal(pixels(process, form), expected), name
    bfloat16 = (torch.tensor(array) / 255).to(torch.bfloat16)
    assert (pixels(process, bfloat16) - expected).abs().max() < 0.02


def test_gray_and_two_valued_arrays(process):
    gray = np.asarray(photo().convert("L"))
    expected = pixels(process, photo().convert("L"))
    for form in (gray, gray[None], gray[..., None], torch.tensor(gray)[None]):
        assert torch.equal(pixels(process, form), expected)
    drawn = np.asarray(sketch().convert("L")) > 128
    assert torch.equal(pixels(process, drawn, modality="sketch"), pixels(process, sketch().convert("1"), modality="sketch"))


def test_a_transparent_array_lies_on_white():
    """(h, w, 2) is gray with alpha."""
    array = np.zeros((4, 6, 2), dtype=np.uint8)
    array[1, 2] = (30, 255)
    prepared = CAANImageProcessor().prepare(array)
    assert prepared.getpixel((2, 1)) == (30, 30, 30) and prepared.getpixel((0, 0)) == (255, 255, 255)


def test_one_and_many_in_their_order(tmp_path, process):
    pictures = [photo((20 + i, 30), seed=i) for i in range(4)]
    pictures[2].save(tmp_path / "third.png")
    alone = torch.cat([pixels(process, picture) for picture in pictures])
    mixed = [pictures[0], np.asarray(pictures[1]), str(tmp_path / "third.png"), torch.tensor(np.asarray(pictures[3]))]
    for form in (pictures, tuple(pictures), iter(pictures), mixed):
        assert torch.equal(pixels(process, form), alone)
    same_size = np.stack([np.asarray(photo(seed=i)) for i in range(3)])
    expected = torch.cat([pixels(process, photo(seed=i)) for i in range(3)])
    assert torch.equal(pixels(process, same_size), expected)
    assert torch.equal(pixels(process, torch.tensor(same_size).permute(0, 3, 1, 2)), expected)
    assert alone.unique(dim=0).shape[0] == 4


def test_a_url_is_read(monkeypatch, process):
    asked = []

    def answer(request, timeout):
        asked.append((request.full_url, timeout))
        return io.BytesIO(encoded(photo()))

    monkeypatch.setattr("processing_caan.urlopen", answer)
    assert torch.equal(pixels(process, "https://example.org/cat.png"), pixels(process, photo()))
    assert asked == [("https://example.org/cat.png", 30)]
    monkeypatch.setattr("processing_caan.urlopen", lambda *_, **__: (_ for _ in ()).throw(URLError("no route")))
    with pytest.raises(ValueError, match="Cannot read the image https://example.org/cat.png: .*no route"):
        process("https://example.org/cat.png")


# ------------------------------------------------------------------------------------------------------ broken input


def broken_files(folder: Path) -> dict:
    """name -> (file, what the error says)"""
    data = encoded(photo((200, 200)), "JPEG")
    contents = {
        "cut.jpg": data[: len(data) // 2],
        "empty.png": b"",
        "text.jpg": b"not a picture",
        "cut.png": encoded(photo())[:60],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    return {folder / name: "Cannot read the image" for name in [*contents, "folder.png"]} | {
        folder / "absent.png": "No such image file"
    }


def test_every_broken_file_is_named_with_its_place(tmp_path, process):
    for path, said in broken_files(tmp_path).items():
        for name in (path, str(path)):
            with pytest.raises(ValueError) as caught:
                process([photo(), photo(), name])
            assert said in str(caught.value) and str(path) in str(caught.value)
            assert str(caught.value).startswith("Image 2 of the batch")
        with pytest.raises(ValueError, match=said):
            open_image(path)


def test_a_picture_opened_but_not_yet_read_is_checked_too(tmp_path, process):
    broken_files(tmp_path)
    with pytest.raises(ValueError, match="Image 0 of the batch .*cut.jpg.*truncated.*Repair or remove"):
        process(Image.open(tmp_path / "cut.jpg"))


def test_broken_bytes_have_no_name_but_a_place(process):
    with pytest.raises(ValueError, match="Image 1 of the batch: Cannot read the image <13 bytes>"):
        process([encoded(photo()), b"not a picture"])


def test_a_decompression_bomb_is_refused(tmp_path, process, monkeypatch):
    photo((30, 30)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(ValueError, match="bomb.png.*decompression bomb"):
        process(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    assert pixels(process, tmp_path / "bomb.png").shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros(5), r"a ndarray of shape \(5,\) and type float64 is no image"),
        (np.zeros((6, 5, 7)), r"shape \(6, 5, 7\)"),
        (np.zeros((2, 2, 4, 4)), r"shape \(2, 2, 4, 4\)"),
        (np.zeros((0, 4, 3)), r"an image of shape \(0, 4, 3\) has no pixels"),
        (None, "None is no picture: a picture is a path"),
        ({"path": "x.png"}, "No such image file: x.png"),
        ({"a": 1, "b": 2}, "a dict of a, b is no picture"),
        ({"composite": None, "layers": []}, "the drawing is empty: nothing has been drawn yet"),
        ({"bytes": None, "path": None}, "a row with neither bytes nor a path holds no picture"),
        (7, "a int is no picture"),
        ([sketch()], "a list is no picture"),
        (io.StringIO("x"), "is open as text"),
    ],
)
def test_what_is_no_image_is_described(process, image, said):
    with pytest.raises(ValueError, match=f"Image 1 of the batch: .*{said}"):
        process([photo(), image])


def test_an_unknown_modality_and_an_empty_batch_are_named(process):
    with pytest.raises(ValueError, match='modality must be "sketch" or "photo", got \'drawing\''):
        process(photo(), modality="drawing")
    with pytest.raises(ValueError, match="no image in the batch"):
        process([])


# -------------------------------------------------------------------------------------------------- saving, tokenizer


def test_saving_keeps_every_value(tmp_path):
    process = image_processor(size={"height": 24, "width": 16}, ink_padding=0.2, ink_threshold=0.3, image_mean=[0.4, 0.5, 0.6])
    process.save_pretrained(tmp_path)
    with complaints() as said:
        loaded = [CAANImageProcessor.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path)]
    assert said == []
    for other in loaded:
        assert type(other) is CAANImageProcessor and other.to_dict() == process.to_dict()
        for modality in ("sketch", "photo"):
            got, expected = (pixels(p, sketch(), modality=modality) for p in (other, process))
            assert got.shape == (1, 3, 24, 16) and torch.equal(got, expected)
    assert not torch.equal(
        pixels(process, sketch(), modality="sketch"), pixels(process, sketch(), modality="sketch", ink_padding=0)
    )


def test_a_processor_made_for_sketches_need_not_be_told(tmp_path):
    image_processor(modality="sketch").save_pretrained(tmp_path)
    loaded = CAANImageProcessor.from_pretrained(tmp_path)
    assert torch.equal(pixels(loaded, sketch()), pixels(image_processor(), sketch(), modality="sketch"))


def test_pictures_and_text_go_their_own_ways(tmp_path, process):
    both = processor()
    both.save_pretrained(tmp_path)
    with complaints() as said:
        loaded = [CAANProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)]
    assert said == []
    text = ["a cat is a small animal", "what does the car look like"]
    for p in (both, *loaded):
        assert type(p) is CAANProcessor
        output = p(images=[sketch(), sketch()], text=text, modality="sketch", return_tensors="pt")
        assert set(output) == {"pixel_values", "input_ids", "attention_mask"}
        assert torch.equal(output.pixel_values, pixels(process, [sketch(), sketch()], modality="sketch"))
        words = [p.tokenizer.decode(ids, skip_special_tokens=True) for ids in output.input_ids]
        assert words == text and output.attention_mask.sum(1).tolist() == [8, 8]
        assert torch.equal(p(images=photo(), return_tensors="pt").pixel_values, pixels(process, photo(), modality="photo"))
        uneven = p(text=["cat", "the car has wheels"], return_tensors="pt")
        assert uneven.attention_mask.tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6] and "pixel_values" not in uneven
        assert p(text=["cat " * 100], return_tensors="pt").input_ids.shape == (1, 64)  # cut to what the encoder reads
