"""What is one picture and what are many, in every form that users have.

python -m pytest tests/hub_set/test_batch_forms.py"""

import base64
import io
from collections import UserDict, deque

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny import encoded, image_processor, pixels, sketch

from processing_caan import NAME_LENGTH, as_batch, open_image

FIRST, SECOND = sketch(), sketch((2, 2, 60, 30))
GRAY = [np.asarray(picture.convert("L")) for picture in (FIRST, SECOND)]
COLOUR = [np.asarray(picture) for picture in (FIRST, SECOND)]


@pytest.fixture(scope="module")
def process():
    return image_processor(modality="sketch")


@pytest.fixture
def files(tmp_path):
    for name, picture in (("first.png", FIRST), ("second.png", SECOND)):
        picture.save(tmp_path / name)
    return [str(tmp_path / "first.png"), str(tmp_path / "second.png")]


def one(files) -> dict:
    """Forms of the first sketch alone."""
    data, transparent = encoded(FIRST), FIRST.convert("RGBA")
    transparent.putalpha(Image.eval(FIRST.convert("L"), lambda value: 255 - value))
    used = io.BytesIO(data)
    used.seek(0, io.SEEK_END)  # as after writing into it
    return {
        "path": files[0],
        "URL with the data": "data:image/png;base64," + base64.b64encode(data).decode(),
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "BytesIO": io.BytesIO(data),
        "BytesIO at its end": used,
        "row of bytes": {"bytes": data, "path": None},
        "row with the file's name": {"bytes": data, "path": "first.png"},
        "row with a path": {"bytes": None, "path": files[0]},
        "mapping": UserDict(bytes=data, path=None),
        "gradio": {"background": None, "layers": [transparent], "composite": transparent},
        "gradio, arrays": {"background": None, "layers": [], "composite": np.asarray(transparent)},
        "gradio, an upload alone": {"background": FIRST, "layers": [], "composite": None},
        "gray array": GRAY[0],
        "colour array": COLOUR[0],
        "tensor, channels first": torch.tensor(COLOUR[0]).permute(2, 0, 1),
        "numpy text": np.str_(files[0]),
        "text without axes": np.array(files[0]),
    }


def many(files) -> dict:
    """Forms of both sketches."""
    data = [encoded(picture) for picture in (FIRST, SECOND)]
    objects = np.empty(2, dtype=object)
    objects[:] = [FIRST, SECOND]
    column = datasets.Dataset.from_dict({"image": files}).cast_column("image", datasets.Image())["image"]
    return {
        "list": [FIRST, SECOND],
        "tuple": (FIRST, SECOND),
        "deque": deque([FIRST, SECOND]),
        "generator": (picture for picture in (FIRST, SECOND)),
        "iterator": iter([FIRST, SECOND]),
        "map": map(str, files),
        "values of a dict": dict(zip("ab", files)).values(),
        "rows": [{"bytes": content, "path": None} for content in data],
        "files": [io.BytesIO(content) for content in data],
        "mixed": [FIRST, data[1]],
        "column": column,
        "series": pd.Series(files, index=[7, 3]),
        "series of pictures": pd.Series([FIRST, SECOND]),
        "array of objects": objects,
        "array of paths": np.array(files),
        "(n, h, w)": np.stack(GRAY * 3),
        "(n, h, w, 1)": np.stack(GRAY)[..., None],
        "(n, h, w, 3)": np.stack(COLOUR),
        "(n, 3, h, w)": torch.tensor(np.stack(COLOUR)).permute(0, 3, 1, 2),
    }


def test_one_sketch(process, files):
    expected = pixels(process, [FIRST])
    for name, form in one(files).items():
        if name != "text without axes":  # which is the array of one path
            assert torch.equal(pixels(process, [SECOND, form])[1:], expected), name
        assert as_batch(form)[1], name
        assert torch.equal(pixels(process, form), expected), name


def test_several_sketches(process, files):
    expected = pixels(process, [FIRST, SECOND])
    for name, form in many(files).items():
        pictures, single = as_batch(form)
        assert not single, name
        got = pixels(process, pictures)
        assert torch.equal(got, expected.repeat(len(got) // 2, 1, 1, 1)) and len(got) in (2, 6), name


def test_the_processor_takes_them_as_they_are(process, files):
    expected = pixels(process, [FIRST, SECOND])
    for name, form in many(files).items():
        assert torch.equal(pixels(process, form)[:2], expected), name


def test_a_sequence_that_reads_when_asked_is_not_read_ahead():
    class Lazy:
        def __len__(self):
            return 10**9

        def __getitem__(self, row):
            raise AssertionError("read")

    pictures, single = as_batch(lazy := Lazy())
    assert pictures is lazy and not single


@pytest.mark.parametrize("count", [2, 4])
def test_an_array_that_may_be_either_is_refused(process, count):
    stack = np.stack(GRAY * 2)[:count]
    with pytest.raises(
        ValueError, match=rf"a ndarray of shape \({count}, 64, 64\) .* {count} channels or {count} gray pictures"
    ):
        process(stack)
    assert len(pixels(process, stack[..., None])) == len(pixels(process, list(stack))) == count


NO_PICTURES = {
    "none": (None, "None is no picture"),
    "number": (3, "a int is no picture"),
    "set": ({"a.png"}, "a set is no picture"),
    "object": (object(), "a object is no picture"),
    "numbers": (np.zeros(5), r"a ndarray of shape \(5,\) and type float64"),
    "five axes": (np.zeros((1, 1, 1, 4, 4)), r"a ndarray of shape \(1, 1, 1, 4, 4\)"),
    "table": (pd.DataFrame({"image": ["a.png"]}), r'a DataFrame is no picture: .*table\["image"\]'),
    "data set": (datasets.Dataset.from_dict({"image": ["a.png"]}), r'a Dataset .*table\["image"\]'),
    "other dict": ({"mask": 1, "size": 2}, "a dict of mask, size is no picture"),
    "row with a picture": ({"image": FIRST, "label": 0}, 'a dict of image, label is no picture: give its "image"'),
    "empty dict": ({}, r"a dict of nothing"),
    "empty row": ({"bytes": None, "path": None}, "neither bytes nor a path"),
    "empty editor": ({"background": None, "layers": [], "composite": None}, "nothing has been drawn yet"),
    "dict in a dict": ({"composite": {"path": "a.png"}}, "a dict within a dict"),
    "list in a list": ([[FIRST, SECOND]], "Image 0 of the batch: a list is no picture"),
    "numbers in lists": ([[0.0, 1.0]], "Image 0 of the batch: a list is no picture"),
    "none in a list": ([FIRST, None], "Image 1 of the batch: None is no picture"),
    "empty": ([], "no image in the batch"),
    "empty array": (np.zeros((0, 8, 8, 3)), "no image in the batch"),
    "text file": (io.StringIO("picture"), "<StringIO>: it is open as text"),
    "closed file": (io.BytesIO(), "Cannot read the image <BytesIO>"),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_named_with_what_is(process, name):
    given, said = NO_PICTURES[name]
    with pytest.raises(ValueError, match=said) as caught:
        process(given)
    if "is no picture" in said and "table" not in said and "image, label" not in said:
        assert "a picture is a path, a URL, a PIL image, an array or tensor" in str(caught.value)


def test_long_and_unprintable_names_are_shown():
    with pytest.raises(ValueError) as caught:
        open_image("data:image/png;base64," + "A" * 10**6)
    assert len(str(caught.value)) < NAME_LENGTH + 200
    with pytest.raises(ValueError, match=r"No such image file: caf\\xe9.png") as caught:
        open_image("caf\udce9.png")
    str(caught.value).encode()


def test_a_broken_link_says_where_it_leads(tmp_path):
    (tmp_path / "a.png").symlink_to("/nowhere/b.png")
    with pytest.raises(ValueError, match=r"No such image file: .*a.png, a broken link to /nowhere/b.png"):
        open_image(tmp_path / "a.png")


def test_an_open_file_is_read_and_left_open(process, files):
    with open(files[0], "rb") as file:
        for _ in range(2):  # from its beginning each time
            assert torch.equal(pixels(process, file), pixels(process, FIRST))
        assert not file.closed
    with open(files[0], encoding="latin-1") as text, pytest.raises(ValueError, match=r'first.png: it is open as text; .*"rb"'):
        process(text)
