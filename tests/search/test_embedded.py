"""The gallery in a folder: the steps that its queries take, files that go, a medium that cannot be written.

pytest tests/search/test_embedded.py
"""

import hashlib
import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from photos import photo_folder, shape

import caan.search.sqlite
from caan.search.embedded import EmbeddedEngine
from caan.search.engine import Content, Folder, Photo
from caan.search.gallery import Gallery

COUNT = 4000


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """4,000 photos in two roots and forty folders."""
    engine = EmbeddedEngine(tmp_path_factory.mktemp("large") / "gallery")
    for root in (b"/r", b"/s"):
        engine.add_root(root)
    vectors = np.random.default_rng(0).normal(size=(COUNT, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    contents = [Content(hashlib.sha256(b"%d" % n).digest(), vectors[n].astype(np.float16), b"jpeg") for n in range(COUNT)]
    photos = [Photo((b"/r", b"/s")[n % 10 == 0], b"d%d/%d.jpg" % (n % 40, n), 1, 1, contents[n].hash) for n in range(COUNT)]
    engine.put(photos, contents)
    yield engine
    engine.close()


def steps(engine, call) -> int:
    """Hundreds of steps of SQLite's machine that a call takes."""
    counted = []
    engine._database.set_progress_handler(lambda: counted.append(1) and None, 100)
    call()
    engine._database.set_progress_handler(None, 0)
    return len(counted)


def test_files_of_results_are_looked_up_not_searched_for(engine):
    hashes = [photo.content for photo in engine.photos(Folder(b"/r"))][:200]
    for folder in (None, Folder(b"/r"), Folder(b"/r", b"d1")):
        assert steps(engine, lambda folder=folder: engine.files(hashes, folder)) < 200
    assert all(len(photos) == 1 for photos in engine.files(hashes, Folder(b"/r")).values())


def test_photos_of_a_folder_come_in_pages(engine, monkeypatch):
    monkeypatch.setattr("caan.search.embedded.PAGE", 100)
    whole = steps(engine, lambda: list(engine.photos()))
    for folder in (Folder(b"/r"), Folder(b"/s"), Folder(b"/r", b"d1")):
        assert steps(engine, lambda folder=folder: list(engine.photos(folder))) < 2 * whole
        assert {photo.path for photo in engine.photos(folder)} == {
            photo.path for photo in engine.photos() if folder.holds(photo)
        }


def test_a_sample_reads_only_what_it_takes(engine):
    engine.nearest(np.ones(16, np.float32) / 4, 5)
    assert steps(engine, lambda: engine.sample(10)) < 5
    assert engine.sample(10).shape == (10, 16) and engine.sample(2 * COUNT).shape == (COUNT, 16)


def test_a_file_that_goes_while_sizes_are_taken(gallery, tmp_path, monkeypatch):
    (tmp_path / "gallery" / "vectors.tmp").symlink_to("gone")
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    assert gallery.info().photos == 12


@contextmanager
def unwritable(place: Path):
    """A function that takes all rights to write in a folder."""
    if os.geteuid():
        yield lambda: [path.chmod(0o500 if path.is_dir() else 0o400) for path in (place, *place.rglob("*"))]
        [path.chmod(0o700) for path in (place, *place.rglob("*"))]
        return
    if os.system(f"mount -t tmpfs -o size=4m tmpfs {place} 2>/dev/null"):
        pytest.skip("no disk can be mounted here")
    try:
        yield lambda: os.system(f"mount -o remount,ro {place}")
    finally:
        os.system(f"umount {place}")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights as on Unix")
@pytest.mark.parametrize("killed", [False, True])
def test_a_gallery_on_a_medium_that_cannot_be_written_is_searched(tmp_path, pixels, killed):
    place, photos = tmp_path / "medium", photo_folder(tmp_path / "photos")
    place.mkdir()
    with unwritable(place) as forbid:
        with Gallery.open(place / "gallery", pixels) as gallery:
            gallery.add(photos, progress=False)
            expected = [result.path for result in gallery.search(shape("circle", 7), 3)]
            left = {path: path.read_bytes() for path in (place / "gallery").iterdir()} if killed else {}
        for path, data in left.items():
            path.write_bytes(data)  # as a process leaves it that was killed
        forbid()
        with Gallery.open(place / "gallery", pixels, create=False) as gallery:
            assert [result.path for result in gallery.search(shape("circle", 7), 3)] == expected
            assert gallery.info().photos == 12 and gallery.verify() == []
            (photos / "circle" / "0.png").unlink()
            with pytest.raises(PermissionError, match="cannot be written"):
                gallery.refresh(progress=False)


def test_a_gallery_on_a_full_disk_is_searched_and_says_what_is_wrong(gallery, monkeypatch, photos):
    place = gallery.engine.folder
    gallery.close()  # no log is left, and none can be made
    monkeypatch.setattr(caan.search.sqlite, "ROOM", 1 << 62)
    with Gallery.open(place, gallery.encoder) as full:
        assert full.search(shape("circle", 7), 1)[0].path.startswith(str(photos / "circle")) and full.verify() == []
        shape("bar", 77).save(photos / "new.png")
        with pytest.raises(OSError, match="No space left on device"):
            full.refresh(progress=False)
    assert not (place / "gallery.sqlite-wal").exists()
    monkeypatch.setattr(caan.search.sqlite, "ROOM", 0)
    with Gallery.open(place, gallery.encoder) as again:
        assert again.refresh(progress=False)[0].encoded == 1


def test_an_error_of_a_full_disk_is_no_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(caan.search.sqlite, "ROOM", 1 << 62)
    with pytest.raises(OSError, match="No space left on device"), caan.search.sqlite.checked(tmp_path):
        raise sqlite3.OperationalError("disk I/O error")
    monkeypatch.setattr(caan.search.sqlite, "ROOM", 0)
    with pytest.raises(ValueError, match="is damaged"), caan.search.sqlite.checked(tmp_path):
        raise sqlite3.OperationalError("disk I/O error")
