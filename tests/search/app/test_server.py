"""What the page asks for, without a browser.  python -m pytest tests/search/app/test_server.py"""

import hashlib
import io
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
from app_page import LARGE, NOTE, data_url, drawing, opened
from PIL import Image
from trees import CLASSES

from caan.options import AppOptions
from caan.search.app import photos as app_photos
from caan.search.app.galleries import Galleries, file_of, labels_of, token_of
from caan.search.app.photos import larger_photo, read_file
from caan.search.app.server import Server, Turns
from caan.search.gallery import Gallery

SKETCH = data_url(drawing())


def hash_of(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def own(tmp_path, home, server, monkeypatch):
    """A server of a gallery of three photos that a test may change, and their folder."""
    folder = tmp_path / "own photos"
    folder.mkdir()
    for seed in range(3):
        tiny.photo((400, 300), seed).save(folder / f"{seed}.png")
    encoder = server.galleries.get("default").encoder
    with Gallery.open(tmp_path / "gallery", encoder) as gallery:
        gallery.add(folder, progress=False)
        made = Server(Galleries(AppOptions(gallery=str(tmp_path / "gallery")), others=False))
        made.galleries._open[made.galleries.first] = gallery, file_of(gallery.engine)
        yield made, folder


def test_the_page_begins_with_galleries_and_folders(server, home):
    answer = server.start({})
    assert [row["label"] for row in answer["galleries"]] == ["default", "other"] and answer["gallery"] == "default"
    assert answer["photos"] == 65
    root = home / "photos"
    assert [row["value"] for row in answer["folders"][:3]] == [token_of(str(root / p)) for p in ("", "shapes", "shapes/arch")]
    assert [row["label"].strip("\u2003") for row in answer["folders"]] == [str(root), "shapes", *CLASSES]
    assert server.folders({"gallery": "other"})["photos"] == 9
    json.dumps(answer)


def test_a_sketch_finds_what_the_gallery_finds(server):
    answer = server.search({"sketch": SKETCH, "top_k": 7})
    expected = server.galleries.get("default").search(drawing(), 7)
    assert [row["content"] for row in answer["results"]] == [result.content.hex() for result in expected]
    assert [row["score"] for row in answer["results"]] == [round(result.score, 3) for result in expected]
    assert answer["similar"] is expected.similar and not answer["empty"]
    assert max(opened(answer["results"][0]["thumbnail"]).size) <= 256
    assert not any("/" in row["name"] for row in answer["results"])
    json.dumps(answer)


def test_thumbnails_that_the_page_has_are_not_sent_again(server):
    first = server.search({"sketch": SKETCH, "top_k": 5})["results"]
    known = [row["content"][:16] for row in first[:3]]
    again = server.search({"sketch": SKETCH, "top_k": 5, "known": known})["results"]
    assert ["thumbnail" in row for row in again] == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    "sketch", [None, "", data_url(Image.new("RGB", (64, 64), "white")), data_url(Image.new("RGBA", (64, 64), (0, 0, 0, 0)))]
)
def test_an_empty_pad_is_no_error(server, sketch):
    assert server.search({"sketch": sketch}) == {"results": [], "similar": True, "note": "", "empty": True}


def test_a_transparent_sketch_finds_the_same_as_one_on_white(server):
    clear = server.search({"sketch": data_url(drawing(mode="RGBA", ground=(0, 0, 0, 0)))})
    assert [row["content"] for row in clear["results"]] == [r["content"] for r in server.search({"sketch": SKETCH})["results"]]


def test_white_ink_on_nothing_is_a_drawing_too(server):
    light = server.search({"sketch": data_url(drawing(mode="RGBA", ground=(0, 0, 0, 0), ink="white"))})
    assert len(light["results"]) > 5 and light["results"][0]["score"] > light["results"][1]["score"]


def test_a_folder_is_searched_alone(server, home):
    place = home / "photos" / "shapes" / "cross"
    answer = server.search({"sketch": SKETCH, "folder": token_of(str(place))})
    assert {row["content"] for row in answer["results"]} <= {hash_of(path) for path in place.iterdir()}
    assert 1 <= len(answer["results"]) <= 9


@pytest.mark.parametrize(
    "folder", ["/", "/etc", "..", "../../etc", "%2e%2e/etc", "%00", "photos", "/tmp\n", "%ff%fe", "file:///etc", "a" * 9999]
)
def test_no_folder_beside_those_of_the_gallery_is_searched(server, folder):
    assert server.search({"sketch": SKETCH, "folder": folder}) == {
        "error": "This folder is not in the gallery: choose another."
    }


@pytest.mark.parametrize(
    "name", ["../default", "/etc", "hf://datasets/a/b", "nobody", "", "default/", "milvus://127.0.0.1:1/x"]
)
def test_no_gallery_beside_those_that_are_offered_is_opened(server, name):
    assert "There is no such gallery" in server.search({"sketch": SKETCH, "gallery": name})["error"]
    assert "There is no such gallery" in server.folders({"gallery": name})["error"]


@pytest.mark.parametrize("call", ["search", "more", "photo", "explain", "folders"])
@pytest.mark.parametrize(
    "request_", [[], "x", 7, {"gallery": 7}, {"gallery": ["default"]}, {"sketch": 7, "content": 7}, {"content": "/etc/passwd"}]
)
def test_nonsense_is_answered_in_words(server, call, request_):
    takes = {"search": {"gallery", "sketch"}, "folders": {"gallery"}}.get(call, {"gallery", "content"})
    if isinstance(request_, dict) and not takes & request_.keys():
        pytest.skip("this call takes no such field")
    answer = getattr(server, call)(request_)
    assert set(answer) == {"error"} and "Traceback" not in answer["error"] and "Something went wrong" not in answer["error"]


@pytest.mark.parametrize("top_k", [0, -1, 101, 10**9])
def test_the_number_of_results_is_bounded(server, top_k):
    assert "1 to 100 results" in server.search({"sketch": SKETCH, "top_k": top_k})["error"]


def test_a_photo_as_a_sketch_is_refused_in_the_processors_words(server):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    answer = server.search({"sketch": data_url(noise)})
    assert answer["error"].startswith("the sketch is no drawing") if "error" in answer else answer["note"]


def test_more_like_a_photo_are_the_nearest_to_its_vector(server, home):
    content = hash_of(home / "photos" / "shapes" / "cross" / "3.png")
    answer = server.more({"content": content, "top_k": 4})
    assert answer["results"][0]["content"] == content and answer["results"][0]["score"] == pytest.approx(1, abs=2e-3)


def test_the_larger_photo_is_upright_bounded_and_without_notes(server, home):
    path = home / "photos" / LARGE
    answer = server.photo({"content": hash_of(path)})
    picture = opened(answer["picture"])
    assert picture.format == "JPEG" and picture.size == (800, 1280) and not picture.getexif() and NOTE in str(path.read_bytes())
    assert NOTE.encode() not in picture.fp.getvalue()
    assert answer["paths"] == [str(path)] and answer["copies"] == 1 and answer["whole"]


def test_all_copies_of_a_photo_are_named(server, home):
    paths = [home / "photos" / "a copy.png", home / "photos" / "shapes" / CLASSES[0] / "0.png"]
    assert server.photo({"content": hash_of(paths[0])})["paths"] == list(map(str, paths))


@pytest.mark.parametrize("content", ["0" * 64, "../../etc/passwd", "", "%2e%2e", None, "f" * 63])
def test_a_hash_that_is_not_in_the_gallery_gives_words(server, content):
    for call in (server.photo, server.more):
        assert "not in the gallery" in (words := call({"content": content})["error"]) or "64 hexadecimal" in words


def test_a_replaced_file_gives_the_thumbnail_of_the_indexed_one(own):
    server, folder = own
    content = hash_of(folder / "0.png")
    before = opened(server.photo({"content": content})["picture"])
    tiny.photo((900, 900), seed=99).save(folder / "0.png")
    after = server.photo({"content": content})
    assert before.size == (400, 300) and not after["whole"] and opened(after["picture"]).size == (256, 192)


def test_a_link_to_a_secret_shows_nothing_of_it(own, tmp_path):
    server, folder = own
    content = hash_of(folder / "1.png")
    Image.new("RGB", (640, 640), "red").save(tmp_path / "secret.png")
    (folder / "1.png").unlink()
    (folder / "1.png").symlink_to(tmp_path / "secret.png")
    answer = server.photo({"content": content})
    assert not answer["whole"] and opened(answer["picture"]).size == (256, 192)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_in_a_photos_place_does_not_hang(own):
    server, folder = own
    content = hash_of(folder / "2.png")
    (folder / "2.png").unlink()
    os.mkfifo(folder / "2.png")
    assert not server.photo({"content": content})["whole"]


def test_a_huge_file_is_not_read(own, monkeypatch):
    server, folder = own
    monkeypatch.setattr(app_photos, "FILE_BYTES", 100)
    assert read_file(str(folder / "0.png")) is None
    assert not server.photo({"content": hash_of(folder / "0.png")})["whole"]


def test_a_photo_of_too_many_pixels_is_shown_by_its_thumbnail(own, monkeypatch):
    server, folder = own
    monkeypatch.setattr(app_photos, "PIXELS", 1000)
    assert not server.photo({"content": hash_of(folder / "0.png")})["whole"]


def test_files_of_a_gallery_of_the_hub_are_never_read(own, monkeypatch):
    server, folder = own
    engine = server.galleries.get(server.galleries.first).engine
    monkeypatch.setattr(engine, "uri", "hf://datasets/org/name")
    monkeypatch.setattr(app_photos, "read_copy", lambda *_: pytest.fail("read"))
    assert not larger_photo(engine, bytes.fromhex(hash_of(folder / "0.png"))).whole


def test_an_explanation_links_strokes_to_the_photo(server, home):
    answer = server.explain({"content": hash_of(home / "photos" / LARGE), "sketch": SKETCH})
    assert all(opened(answer[name]).size == (320, 320) for name in ("sketch", "photo", "heat"))
    assert 1 <= len(answer["links"]) <= 4  # the tiny model has four tokens
    for link in answer["links"]:
        assert all(0 < place < 1 for place in (*link["from"], *link["to"])) and link["colour"].startswith("#")
        assert -1 <= link["score"] <= 1
    assert len({link["colour"] for link in answer["links"]}) == len(answer["links"])
    json.dumps(answer)


def test_an_explanation_without_a_sketch_is_refused_in_words(server, home):
    content = hash_of(home / "photos" / LARGE)
    blank = data_url(Image.new("RGB", (64, 64), "white"))
    assert "pad is empty" in server.explain({"content": content, "sketch": blank})["error"]
    assert "no picture" in server.explain({"content": content})["error"]


def test_a_bug_is_logged_and_told_without_its_traceback(server, monkeypatch, caplog):
    monkeypatch.setattr(server.galleries, "get", lambda name: 1 / 0)
    answer = server.search({"sketch": SKETCH})
    assert answer == {"error": "Something went wrong here; the terminal that caan app runs in says more."}
    assert "ZeroDivisionError" in caplog.text


def test_requests_take_turns_and_too_many_are_refused():
    turns, at_once, most = Turns(3), [0], [0]

    def work(_):
        try:
            with turns.one():
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
                time.sleep(0.01)
                at_once[0] -= 1
                return True
        except ValueError as error:
            assert "Too many people" in str(error)
            return False

    with ThreadPoolExecutor(8) as pool, turns.one():
        waiting = [pool.submit(work, n) for n in range(8)]
        deadline = threading.Event()
        while sum(future.done() for future in waiting) < 6 and not deadline.wait(0.005):
            pass
    assert most == [1] and sorted(future.result() for future in waiting) == [False] * 6 + [True] * 2


def test_galleries_of_one_model_share_it(server):
    galleries = server.galleries
    assert galleries.get("default").encoder is galleries.get("other").encoder


def test_a_gallery_that_is_removed_and_made_anew_is_not_the_old_one(own, tmp_path, server):
    made, folder = own
    name, place = made.galleries.first, tmp_path / "gallery"
    assert made.folders({})["photos"] == 3
    shutil.rmtree(place)
    for answer in (made.folders({}), made.search({"sketch": SKETCH})):
        assert f"There is no gallery at {place}" in answer["error"]
    (folder / "2.png").unlink()
    with Gallery.open(place, server.galleries.get("default").encoder) as gallery:
        gallery.add(folder, progress=False)
    assert made.folders({})["photos"] == 2 and made.galleries.get(name) is made.galleries.get(name)
    assert len(made.search({"sketch": SKETCH})["results"]) <= 2


def test_a_folder_that_got_another_name_is_offered_by_it(own):
    made, folder = own
    gallery = made.galleries.get(made.galleries.first)
    names = []
    for old, new in ((None, "sea"), ("sea", "lake"), ("lake", "pond")):
        (folder / new).mkdir() if old is None else (folder / old).rename(folder / new)
        if old is None:
            (folder / "0.png").rename(folder / new / "0.png")
        gallery.refresh(progress=False)
        names.append(made.folders({})["folders"][-1]["label"].strip("\u2003"))
    assert names == ["sea", "lake", "pond"] and made.folders({})["photos"] == 3
    assert made.search({"sketch": SKETCH, "folder": token_of(str(folder / "pond"))})["results"][0]["name"] == "0.png"


def test_the_page_offers_the_other_galleries_where_the_first_is_gone(home):
    made = Server(Galleries(AppOptions(gallery="gone", device="cpu")))
    answer = made.start({})
    assert [row["value"] for row in answer["galleries"]] == ["gone", "default", "other"] and answer["gallery"] == "gone"
    assert "There is no gallery at" in answer["error"] and made.folders({"gallery": "other"})["photos"] == 9


def test_galleries_whose_names_end_alike_are_called_by_all_of_them(home, tmp_path):
    first = str(tmp_path / "default")
    assert Galleries(AppOptions(gallery=first)).labels() == {first: first, "default": "default", "other": "other"}


def test_a_page_without_a_default_gallery_begins_with_the_first_one(monkeypatch):
    monkeypatch.setattr("caan.search.app.galleries.gallery_names", lambda: ["beach", "zoo"])
    assert Galleries(AppOptions()).first == "beach" and Galleries(AppOptions(gallery="zoo")).names() == ["zoo", "beach"]
    assert Galleries(AppOptions(gallery="zoo"), others=False).names() == ["zoo"]


def test_names_that_are_no_text_are_tokens_and_labels():
    path = os.fsdecode(b"/photos/na\xefve & 100%")
    assert token_of(path) == "/photos/na%EFve%20%26%20100%25"
    assert labels_of(["/photos", path, "/photos2"]) == ["/photos", "\u2003na\\xefve & 100%", "/photos2"]


def test_a_picture_of_the_large_photo_is_not_kept_open(server, home):
    path = home / "photos" / LARGE
    shown = larger_photo(server.galleries.get("default").engine, bytes.fromhex(hash_of(path)))
    assert Image.open(io.BytesIO(shown.jpeg)).info.get("comment") is None
