"""What a browser sends, before it is decoded.  python -m pytest tests/search/app/test_uploads.py"""

import io
import zipfile

import pytest
from app_page import data_url, drawing, png_header
from PIL import Image
from tiny import encoded

from caan.search.app import uploads
from caan.search.app.uploads import field, is_blank, read_hash, read_sketch


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a.txt", "no picture")
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_browsers_write_is_read(kind):
    assert read_sketch(data_url(encoded(drawing(), kind), kind.lower())).size == (128, 128)


def test_transparency_is_kept():
    picture = read_sketch(data_url(drawing(mode="RGBA", ground=(0, 0, 0, 0))))
    assert picture.mode == "RGBA" and picture.getpixel((0, 0))[3] == 0


@pytest.mark.parametrize(
    "sent, words",
    [
        (data_url(png_header(10_000, 10_000)), "10,000 x 10,000 pixels, 100 million; the most is 4 million"),
        (data_url(png_header(50_000, 50_000)), "more pixels than any picture that is read here; the most is 4 million"),
        (data_url(zipped(), "jpeg"), "This is no picture"),
        (data_url(b"", "jpeg"), "This is no picture"),
        (data_url(encoded(drawing(), "BMP")), "This is no picture"),  # named PNG: the content counts, and BMP is not taken
        (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml"), "This is no picture"),
        (data_url(encoded(drawing())[:300]), "cut short or damaged"),
        ("data:image/png;base64," + "A" * 5_000_001, "takes 5.0 MB, and the most is 5 MB"),
        ("data:image/png;base64,!!!!", "no base64"),
        ("data:image/png;base64,AAA", "no base64"),
        ("/etc/passwd", "There is no picture"),
        ("http://127.0.0.1/secret.png", "There is no picture"),
        ("file:///etc/passwd", "There is no picture"),
        ("data:text/html;base64,AAAA", "There is no picture"),
        (None, "There is no picture"),
        ({"path": "/etc/passwd"}, "There is no picture"),
        (b"data:image/png;base64,", "There is no picture"),
    ],
)
def test_all_else_is_refused_in_words(sent, words):
    with pytest.raises(ValueError, match=words):
        read_sketch(sent)


def test_the_length_is_checked_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(uploads.base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="MB"):
        read_sketch("data:image/png;base64," + "A" * 6_000_000)


def test_the_size_is_checked_before_pixels_are_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="pixels"):
        read_sketch(data_url(png_header(5000, 5000)))


@pytest.mark.parametrize(
    "picture, blank",
    [
        (Image.new("RGB", (9, 9), "white"), True),
        (Image.new("L", (9, 9), 7), True),
        (Image.new("RGBA", (9, 9), (0, 0, 0, 0)), True),
        (drawing(), False),
        (drawing(mode="RGBA", ground=(0, 0, 0, 0)), False),  # black on nothing: one colour, but not all over
    ],
)
def test_an_empty_pad_is_told(picture, blank):
    assert is_blank(picture) is blank


def test_a_hash_is_64_digits():
    assert read_hash("0aF" + "1" * 61) == bytes.fromhex("0af" + "1" * 61)
    for wrong in ("", "0" * 63, "0" * 65, "g" * 64, "../" * 21 + "a", " " + "0" * 63, "٣" * 64, None, 7, ["0" * 64]):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            read_hash(wrong)


def test_fields_of_a_request_have_their_kinds():
    assert field({"a": "x"}, "a", str) == "x" and field({}, "a", str) is None and field({}, "a", int, 3) == 3
    for request in ({"a": 1}, {"a": ["x"]}, {"a": True}, [], "a", None, 7):
        with pytest.raises(ValueError, match="no proper 'a'"):
            field(request, "a", str)
    with pytest.raises(ValueError, match="no proper"):
        field({"a": True}, "a", int)
