"""A gallery that is killed, shared and short of space. python -m pytest -m "slow or not slow" tests/search/test_kills.py

CAAN_KILLS=30 sets the number of kills.
"""

import os
import random
import shutil
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from photos import photo_folder, shape

from caan.search.encoder import Encoder, Source
from caan.search.gallery import Gallery

KILLS = int(os.environ.get("CAAN_KILLS", 9))
FORK = get_context("fork")  # the libraries are there already: a child starts at once


def in_two_processes() -> None:
    """Marks this file as one that forks (tests/conftest.py)."""


def slow_encoder() -> Encoder:
    """That of the tests, with batches that take some milliseconds, so that a kill falls into one."""
    encoder = Encoder.load(Source("pixels"), "cpu")
    real = encoder.model.get_image_features

    def slow(pixels):
        time.sleep(0.01)
        return real(pixels)

    encoder.model.get_image_features = slow
    return encoder


def work(place: Path, photos: Path, action: str) -> None:
    """What is killed."""
    import caan.search.refresh

    caan.search.refresh.COMMIT = 0.02  # so that kills fall between and into commits
    with Gallery.open(place, slow_encoder()) as gallery:
        gallery.add(photos, batch_size=4, progress=False)
        while action != "index":
            if action == "remove":
                gallery.remove(photos / "circle")
            shutil.move(photos / "bar" / "0.png", photos / "bar" / "moved.png")
            gallery.refresh(batch_size=4, progress=False)
            shutil.move(photos / "bar" / "moved.png", photos / "bar" / "0.png")


def killed(place: Path, photos: Path, action: str, seconds: float) -> None:
    """Runs `work` and kills it."""
    child = FORK.Process(target=work, args=(place, photos, action))
    child.start()
    child.join(seconds)
    child.kill()
    child.join()


@pytest.mark.slow
@pytest.mark.parametrize("action", ["index", "refresh", "remove"])
def test_killed_at_random_moments(tmp_path, pixels, action):
    photos = photo_folder(tmp_path / "photos", 25)
    with Gallery.open(tmp_path / "whole", pixels) as gallery:
        gallery.add(photos, progress=False)
        expected = [(result.path, result.score) for result in gallery.search(shape("cross", 3), 20)]
    random.seed(action)
    for number in range(-(-KILLS // 3)):
        place = tmp_path / f"gallery{number}"
        killed(place, photos, action, random.uniform(0.0, 1.2))
        if (photos / "bar" / "moved.png").exists():
            shutil.move(photos / "bar" / "moved.png", photos / "bar" / "0.png")
        with Gallery.open(place, pixels) as gallery:
            assert gallery.verify() == []
            gallery.add(photos, progress=False)
            assert gallery.verify() == [] and gallery.info().photos == 100 and gallery.info().contents == 100
            found = [(result.path, result.score) for result in gallery.search(shape("cross", 3), 20)]
            assert found == expected


def test_two_writers_and_a_reader(tmp_path, pixels):
    photos = photo_folder(tmp_path / "photos", 10)
    place = tmp_path / "gallery"
    with Gallery.open(place, pixels) as gallery:
        gallery.add(photos / "circle", progress=False)
        children = [FORK.Process(target=work, args=(place, photos, "index")) for _ in range(2)]
        for child in children:
            child.start()
        while any(child.is_alive() for child in children):
            assert gallery.search(shape("circle", 3), 5)  # a reader beside the writers
        assert [child.exitcode for child in children] == [0, 0]
        gallery.refresh(progress=False)
        assert gallery.verify() == [] and gallery.info().photos == 40 and gallery.info().contents == 40


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_keeps_what_was_there(tmp_path, pixels):
    place = tmp_path / "small"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {place} 2>/dev/null"):
        pytest.skip("no disk can be mounted here")
    try:
        photos = photo_folder(tmp_path / "photos", 3)
        with Gallery.open(place / "gallery", pixels) as gallery:
            gallery.add(photos, progress=False)
            for number in range(300):
                shape("circle", number).save(photos / f"{number}.png")
            with pytest.raises(OSError, match="No space left on device for the gallery .*what was written before is kept"):
                gallery.refresh(progress=False, batch_size=16)
            kept = gallery.info().photos
            assert kept >= 12 and gallery.verify() == [] and gallery.search(shape("circle", 3), 5)
        with Gallery.open(place / "gallery", pixels) as gallery:
            assert gallery.info().photos == kept
    finally:
        os.system(f"umount {place}")
