"""A gallery on the Hub: what is sent and what is not, the same answers as the gallery that it was made of, and read-only.

pytest tests/search/test_hub_gallery.py
"""

import io
import json
import os

import datasets
import numpy as np
import pytest
from contract import CAT, DOG, FOX, ODD_NAMES, OTHER, OWL, QUERY, content, photo
from fake_hub import READER
from fake_hub_metadata import metadata_errors
from huggingface_hub import HfApi, constants
from PIL import Image

from caan.search import hub_files, hub_push
from caan.search.embedded import EmbeddedEngine
from caan.search.engine import Folder, Size
from caan.search.gallery import Gallery
from caan.search.hub import HubEngine
from caan.search.hub_files import path_bytes, path_text
from caan.search.hub_push import Prepared, prepare_gallery, public_name, push_gallery, without_notes

REPO = "org/holidays"
URI = f"hf://datasets/{REPO}"
WEIGHTS = "0123456789abcdef" * 4
SETTINGS = {
    "model": json.dumps({"name": "org/caan", "revision": "abc", "weights": WEIGHTS, "config": {"a": 1}, "photos": {"size": 8}}),
    "source": json.dumps({"model": "org/caan", "image_size": None}),
    "exclude": '["private/*"]',
}


def jpeg(colour: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 8), colour).save(stream, "JPEG", **options)
    return stream.getvalue()


def noted(colour: str) -> bytes:
    """A JPEG that says where and by whom it was taken."""
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    return jpeg(colour, exif=exif, comment=b"SecretComment")


@pytest.fixture
def root(tmp_path):
    """Photos as files: two cats, a dog, an owl; a link that leads out, and a folder that does."""
    folder, away = tmp_path / "home-of-ann" / "photos", tmp_path / "away"
    for name in ("a/cat.jpg", "b/cat.jpg", "a/dog.jpg", "owl 100%.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a photo")
    away.mkdir()
    (away / "secret.jpg").write_bytes(b"a secret")
    (folder / "link.jpg").symlink_to(away / "secret.jpg")
    (folder / "linked").symlink_to(away)
    (folder / "inside.jpg").symlink_to(folder / "a" / "dog.jpg")
    return os.fsencode(folder)


@pytest.fixture
def engine(tmp_path, root):
    engine = EmbeddedEngine(tmp_path / "gallery")
    engine.set_settings(SETTINGS)
    engine.add_root(root)
    pictures = [
        CAT._replace(thumbnail=jpeg("red")),
        DOG._replace(thumbnail=noted("green")),
        OWL._replace(thumbnail=jpeg("blue")),
        FOX._replace(thumbnail=jpeg("white")),
    ]
    names = {"a/cat.jpg": CAT, "b/cat.jpg": CAT, "a/dog.jpg": DOG, "owl 100%.jpg": OWL, "inside.jpg": DOG}
    photos = [photo(name, picture, root) for name, picture in names.items()]
    outside = [photo("link.jpg", FOX, root), photo("linked/secret.jpg", FOX, root), photo("gone.jpg", CAT, root)]
    engine.put([*photos, *outside, photo("bad.jpg", None, root)], pictures)
    yield engine
    engine.close()


def files_of(gallery, root: bytes, hashes: list[bytes], folder: Folder | None = None) -> list[set[bytes]]:
    assert all(one.root == root for photos in gallery.files(hashes, folder).values() for one in photos)
    return [{one.path for one in gallery.files([number], folder)[number]} for number in hashes]


# ---------------------------------------------------------------------------------------------------- round trip


def test_a_pushed_gallery_gives_the_same_answers(hub, engine, root):
    assert push_gallery(engine, REPO) == f"{hub.url}/datasets/{REPO}"
    assert hub.repositories["dataset", REPO].private is True
    assert hub.files(REPO, kind="dataset").keys() == {".gitattributes", "README.md", "data/photos-00000-of-00001.parquet"}
    there = HubEngine(URI)
    assert there.uri == URI and there.roots() == [URI.encode()] and there.verify() == []
    assert there.nearest(QUERY, 3) == engine.nearest(QUERY, 3)
    assert [number for number, _ in there.nearest(QUERY, 9)] == [CAT.hash, DOG.hash, OWL.hash]  # the fox is a secret
    hashes = [CAT.hash, DOG.hash, OWL.hash]
    paths = [{b"a/cat.jpg", b"b/cat.jpg"}, {b"a/dog.jpg", b"inside.jpg"}, {b"owl 100%.jpg"}]
    assert files_of(there, URI.encode(), hashes) == paths
    assert there.files([FOX.hash]) == {FOX.hash: []} and there.known([CAT.hash, FOX.hash]) == {CAT.hash}
    assert len(list(there.photos())) == 5 and len(list(there.photos(Folder(URI.encode(), b"a")))) == 2
    assert np.array_equal(there.vectors([OWL.hash, CAT.hash]), engine.vectors([OWL.hash, CAT.hash]))
    assert np.array_equal(there.vectors([FOX.hash]), np.zeros((1, 8)))
    assert there.thumbnail(CAT.hash) == jpeg("red") and there.thumbnail(FOX.hash) is None
    assert np.array_equal(there.sample(9), engine.vectors(hashes)) and len(there.sample(2)) == 2
    assert there.size() == Size(5, 3, 0, 8, 3 * 8 * 2, there.size().total_bytes) and there.size().total_bytes > 1000
    there.close()


@pytest.mark.parametrize("path, expected", [(b"a", [CAT, DOG]), (b"b", [CAT]), (b"", [CAT, DOG, OWL]), (b"c", []), (b"ow", [])])
def test_a_folder_narrows_the_search(hub, engine, path, expected):
    push_gallery(engine, REPO)
    found = HubEngine(URI).nearest(QUERY, 9, Folder(URI.encode(), path))
    assert [number for number, _ in found] == [picture.hash for picture in expected]
    assert HubEngine(URI).nearest(QUERY, 9, Folder(b"/elsewhere", path)) == []


def test_a_folder_is_named_as_results_name_it(hub, engine):
    push_gallery(engine, REPO)
    gallery = Gallery(HubEngine(URI))
    assert gallery.locate(f"{URI}/a/") == Folder(URI.encode(), b"a") and gallery.locate(URI) == Folder(URI.encode())
    found = gallery.search_vector(QUERY, 9, under=f"{URI}/a")
    assert {result.content for result in found} <= {CAT.hash, DOG.hash} and found[0].path.startswith(f"{URI}/a/")
    with pytest.raises(ValueError, match="is not in the gallery"):
        gallery.locate(f"{URI}-other/a")


def test_a_gallery_of_many_files(engine, root, tmp_path, monkeypatch):
    """More pictures than go into one file or group; equal scores in their order."""
    monkeypatch.setattr(hub_files, "ROWS", 20)
    monkeypatch.setattr("caan.search.hub.ROWS", 20)
    for name in ("caan.search.hub.GROUP", "caan.search.hub_files.GROUP"):
        monkeypatch.setattr(name, 7)
    pictures = [content(f"many {n}", 1, n // 2)._replace(thumbnail=jpeg(f"#0000{n:02x}")) for n in range(47)]
    engine.put([photo(f"a/{n}.jpg", picture, root) for n, picture in enumerate(pictures)], pictures)
    for n in range(47):
        open(os.path.join(root, b"a/%d.jpg" % n), "wb").close()
    prepared = prepare_gallery(engine, REPO, tmp_path / "out")
    assert len(list((tmp_path / "out" / "data").iterdir())) == 3 and prepared.contents == 50
    there = HubEngine.from_folder(tmp_path / "out")
    engine.drop([photo("link.jpg", None, root), photo("linked/secret.jpg", None, root)])
    engine.sweep()
    query = np.array([0.6, 0.8, 0, 0, 0, 0, 0, 0], dtype=np.float32)
    assert there.nearest(query, 99) == engine.nearest(query, 99) and len(there.nearest(query, 99)) == 50
    assert all(there.thumbnail(picture.hash) == picture.thumbnail for picture in pictures[::-1])
    assert np.array_equal(there.sample(25), engine.sample(25)) and there.verify() == []


def test_datasets_reads_it(engine, tmp_path):
    prepare_gallery(engine, REPO, tmp_path / "out")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["hash", "paths", "vector", "thumbnail"] and len(rows) == 3
    assert rows[0]["hash"] == CAT.hash.hex() and set(rows[0]["paths"]) == {"a/cat.jpg", "b/cat.jpg"}
    assert rows[2]["paths"] == ["owl 100%25.jpg"]
    assert rows[0]["thumbnail"].size == (16, 8) and rows[0]["vector"] == CAT.vector.tolist()
    assert rows.features["thumbnail"] == datasets.Image() and rows.features["vector"].feature.dtype == "float16"


def test_a_revision_and_the_cache(hub, engine, monkeypatch):
    push_gallery(engine, REPO)
    first = hub.repositories["dataset", REPO].branches["main"][-1].sha
    engine.drop([one for one in engine.photos() if one.content == OWL.hash])
    push_gallery(engine, REPO)
    assert HubEngine(URI).size().contents == 2
    old = HubEngine(f"{URI}@{first}")
    assert old.size().contents == 3 and old.roots() == [URI.encode()]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.log)
    assert HubEngine(URI).size().contents == 2 and len(hub.log) == asked
    with pytest.raises(OSError, match="org/other is not in the cache, and the Hub cannot be reached"):
        HubEngine("hf://datasets/org/other")


@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
def test_no_byte_of_a_name_is_lost(name):
    assert path_bytes(path_text(name)) == name
    path_text(name).encode()


# --------------------------------------------------------------------------------------------------- what is sent


def test_what_would_be_sent_is_said_before(hub, engine):
    said = []

    def confirm(prepared: Prepared) -> bool:
        said.append(str(prepared))
        assert ("dataset", REPO) not in hub.repositories
        return False

    assert push_gallery(engine, REPO, confirm=confirm) is None and ("dataset", REPO) not in hub.repositories
    (text,) = said
    assert f"to upload to {REPO}, private:\n  3 pictures (5 files), 0.0 MB" in text and "such as a/cat.jpg" in text
    assert "left out: 2 links that lead out of their folder, 1 whose files are not there" in text
    assert f"made by org/caan (weights {WEIGHTS[:12]})" in text
    push_gallery(engine, REPO, public=True, confirm=lambda prepared: said.append(str(prepared)) or True)
    assert "PUBLIC: everyone can read it" in said[1] and hub.repositories["dataset", REPO].private is False


def test_nothing_of_this_machine_is_sent(engine, tmp_path, root):
    local = tmp_path / "home-of-ann" / "models" / "my-caan"
    local.mkdir(parents=True)
    model = json.loads(SETTINGS["model"])
    engine.set_settings({"model": json.dumps({**model, "name": str(local)}), "source": json.dumps({"model": str(local)})})
    prepared = prepare_gallery(engine, REPO, tmp_path / "out")
    sent = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    sent += repr(list(datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "c")))).encode()
    for secret in ("home-of-ann", str(tmp_path), "secret", "private/", "Secret", FOX.hash.hex()):
        assert secret.encode() not in sent and secret not in str(prepared)
    there = HubEngine.from_folder(tmp_path / "out")
    assert json.loads(there.settings()["source"])["model"] == "my-caan" and set(there.settings()) == {"model", "source"}
    assert json.loads(there.settings()["model"]) == {**model, "name": "my-caan"}  # what identity is checked by is whole
    assert b'model="path/to/my-caan"' in sent


def test_several_folders_are_told_apart_by_number(engine, tmp_path):
    other = os.fsencode(tmp_path / "second")
    os.mkdir(other)
    open(os.path.join(other, b"owl.jpg"), "wb").close()
    engine.add_root(other)
    engine.put([photo("owl.jpg", OWL, other)])
    prepare_gallery(engine, REPO, tmp_path / "out")
    there = HubEngine.from_folder(tmp_path / "out", URI)
    assert files_of(there, URI.encode(), [OWL.hash]) == [{b"1/owl 100%.jpg", b"2/owl.jpg"}]


def test_thumbnails_carry_no_notes(engine, tmp_path):
    prepare_gallery(engine, REPO, tmp_path / "out")
    thumbnail = HubEngine.from_folder(tmp_path / "out").thumbnail(DOG.hash)
    assert b"SecretCamera" in noted("green") and b"Secret" not in thumbnail
    image = Image.open(io.BytesIO(thumbnail))
    assert not image.getexif() and image.size == (16, 8) and image.getpixel((4, 4))[1] > 100
    assert without_notes(jpeg("red")) == jpeg("red") and without_notes(b"no picture") == b""


@pytest.mark.parametrize(
    "name, public",
    [
        ("org/caan", "org/caan"),
        ("timm/vit_tiny.augreg", "timm/vit_tiny.augreg"),
        ("/home/ann/models/caan", "caan"),
        ("/home/ann/models/caan/", "caan"),
        ("C:\\Users\\ann\\caan", "caan"),
        ("../caan/run", "run"),
        ("", ""),
    ],
)
def test_folders_become_their_last_name(name, public):
    assert public_name(name) == public


def test_the_card_is_valid(engine, tmp_path):
    prepare_gallery(engine, REPO, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert metadata_errors(card, "dataset") == []
    assert 'Gallery.open("hf://datasets/org/holidays")' in card and WEIGHTS in card and "revision abc" in card
    assert "3 pictures (5 files)" in card


# ------------------------------------------------------------------------------------------------------ refusals


def test_a_private_push_into_a_public_repository_is_refused(hub, engine):
    HfApi().create_repo(REPO, repo_type="dataset", private=False)
    with pytest.raises(OSError, match="org/holidays is there and public"):
        push_gallery(engine, REPO, confirm=lambda prepared: pytest.fail("asked"))
    assert hub.files(REPO, kind="dataset").keys() == {".gitattributes"}


def test_a_repository_with_other_things_is_left_alone(hub, engine):
    HfApi().create_repo(REPO, repo_type="dataset", private=True)
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="data/train-00000.parquet", repo_id=REPO, repo_type="dataset")
    with pytest.raises(ValueError, match="holds data/train-00000.parquet, which is not of a gallery: give another repository"):
        push_gallery(engine, REPO)
    assert "data/train-00000.parquet" in hub.files(REPO, kind="dataset")


def test_a_push_that_may_not_write(hub, engine, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(
        OSError, match="Your token may not write to org/holidays.*The gallery is whole; the same command goes on"
    ):
        push_gallery(engine, REPO)


def test_a_push_that_broke_off_is_whole_or_not_there(hub, engine):
    hub.fail("POST", "/commit/", status=500, message="out of order")
    with pytest.raises(OSError, match="out of order"):
        push_gallery(engine, REPO)
    with pytest.raises(ValueError, match="org/holidays is no gallery: caan index --push ORG/NAME makes one"):
        HubEngine(URI)


def test_an_empty_gallery_is_not_pushed(tmp_path, engine, root):
    empty = EmbeddedEngine(tmp_path / "empty")
    with pytest.raises(ValueError, match="has no model yet"):
        prepare_gallery(empty, REPO, tmp_path / "out")
    empty.set_settings(SETTINGS)
    with pytest.raises(ValueError, match="has no photo to push"):
        prepare_gallery(empty, REPO, tmp_path / "out")


@pytest.mark.parametrize("uri", ["hf://org/name", "hf://datasets/name", "hf://datasets/a/b/c", "hf://datasets/a/b@", "hf://"])
def test_incomplete_addresses(uri):
    with pytest.raises(ValueError, match="is no address of a gallery on the Hub"):
        HubEngine(uri)


def test_a_data_set_that_is_not_there(hub, engine):
    push_gallery(engine, REPO)
    with pytest.raises(ValueError, match="There is no data set hf://datasets/org/none, or it is private and not yours"):
        HubEngine("hf://datasets/org/none")
    with pytest.raises(ValueError, match="org/holidays@v9 cannot be downloaded"):
        HubEngine(f"{URI}@v9")


def test_a_gallery_that_is_not_whole(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_files, "ROWS", 2)
    prepare_gallery(engine, REPO, tmp_path / "out")
    first, second = sorted((tmp_path / "out" / "data").iterdir())
    second.unlink()
    with pytest.raises(ValueError, match="is not whole: it has 2 pictures of 3"):
        HubEngine.from_folder(tmp_path / "out")
    first.write_bytes(first.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is no gallery"):
        HubEngine.from_folder(tmp_path / "out")


def test_it_is_read_only(engine, tmp_path):
    prepare_gallery(engine, REPO, tmp_path / "out")
    there = HubEngine.from_folder(tmp_path / "out", URI)
    writes = [
        lambda: there.put([photo("x.jpg", CAT)]),
        lambda: there.drop([photo("x.jpg", CAT)]),
        lambda: there.set_settings({"model": "{}"}),
        lambda: there.add_root(OTHER),
        lambda: there.move_root(URI.encode(), OTHER),
        lambda: there.remove_root(URI.encode()),
        there.sweep,
        there.remove,
    ]
    for write in writes:
        with pytest.raises(ValueError, match="The gallery hf://datasets/org/holidays is read-only"):
            write()
    assert there.verify() == [] and hub_push.OWN
