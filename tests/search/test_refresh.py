"""What a refresh keeps, takes and tries again when folders are away, change or lie in each other.

python -m pytest tests/search/test_refresh.py
"""

import os
import shutil
from pathlib import Path

import pytest
from photos import photo_folder, shape
from PIL import Image

import caan.search.encoding
import caan.search.photos
from caan import cli
from caan.search.encoder import Encoder, Source
from caan.search.engine import Folder
from caan.search.gallery import Gallery
from caan.search.names import HOME


def refuse(monkeypatch, name: str, place: Path, error: type = PermissionError) -> None:
    """A call of `os` fails for one path, as for a user without rights."""
    real = getattr(os, name)

    def call(path=".", *args, **options):
        if os.fspath(path) == str(place):
            raise error(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, name, call)


def vector_of(gallery, path: bytes):
    """The vector of a photo."""
    (content,) = [photo.content for photo in gallery.engine.photos() if photo.path == path]
    return gallery.engine.vectors([content])[0]


def counts(changes) -> tuple[int, int, int, int]:
    return changes.encoded, changes.known, changes.removed, changes.unchanged


def test_photos_of_a_folder_that_cannot_be_listed_stay(gallery, photos, monkeypatch):
    (photos / "bar" / "0.png").unlink()
    refuse(monkeypatch, "scandir", photos / "circle")
    (changes,) = gallery.refresh(progress=False)
    assert counts(changes) == (0, 0, 1, 11) and changes.left_out == {"Permission denied": 1}
    assert gallery.info().photos == 11


def test_what_could_not_be_opened_is_tried_again(gallery, photos, monkeypatch):
    shape("cross", 55).save(photos / "new.png")
    real = caan.search.photos.hash_file

    def forbidden(path):
        if path.endswith("new.png"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(caan.search.photos, "hash_file", forbidden)
    (changes,) = gallery.refresh(progress=False)
    assert changes.problems == {str(photos / "new.png"): f"Cannot read the image {photos / 'new.png'}: Permission denied."}
    assert gallery.info().unreadable == 1
    monkeypatch.setattr(caan.search.photos, "hash_file", real)
    (changes,) = gallery.refresh(progress=False)
    assert counts(changes) == (1, 0, 0, 12) and gallery.info().unreadable == 0


def test_a_photo_that_changes_between_its_hash_and_its_vector_is_read_again(gallery, photos, monkeypatch):
    for name in ("a.png", "b.png"):  # copies, of which the first changes
        shape("cross", 55).save(photos / name)
    real = caan.search.encoding.open_image

    def late(path):
        if path.endswith("a.png"):
            shape("bar", 56).resize((65, 65)).save(path)
        return real(path)

    monkeypatch.setattr(caan.search.encoding, "open_image", late)
    (changes,) = gallery.refresh(progress=False)
    assert gallery.info().contents == 12 and "changed while it was read" in changes.problems[str(photos / "a.png")]
    monkeypatch.setattr(caan.search.encoding, "open_image", real)
    (changes,) = gallery.refresh(progress=False)
    assert counts(changes) == (2, 0, 0, 12) and gallery.info().unreadable == 0
    assert gallery.search_vector(vector_of(gallery, b"b.png"), 1)[0].path == str(photos / "b.png")
    values = gallery.encoder.processor([Image.open(photos / "b.png")], modality="photo", return_tensors="pt")["pixel_values"]
    expected = gallery.encoder.model.get_image_features(values)[0].numpy()
    assert vector_of(gallery, b"b.png") == pytest.approx(expected, abs=1e-3)


def test_a_picture_of_one_colour_is_named_and_harms_nothing(gallery, photos):
    Image.new("RGB", (64, 64), "gray").save(photos / "gray.png")
    (changes,) = gallery.refresh(progress=False)
    assert changes.problems == {str(photos / "gray.png"): "the model makes no usable vector of it"}
    assert gallery.verify() == []


def test_what_moved_to_another_folder_is_not_encoded_again(gallery, photos, tmp_path, pixels, monkeypatch):
    other = photo_folder(tmp_path / "other", 1)
    gallery.add(other, progress=False)
    shape("cross", 55).save(other / "kept.png")
    gallery.refresh(progress=False)
    shutil.move(photos / "circle", other / "round")  # out of the first folder, into the second
    monkeypatch.setattr(pixels.model, "get_image_features", None)
    first, second = gallery.refresh(progress=False)
    assert counts(first) == (0, 0, 3, 9) and counts(second) == (0, 3, 0, 5)


def test_the_other_folders_are_done_where_one_is_away(gallery, photos, tmp_path):
    other = photo_folder(tmp_path / "other", 1)
    gallery.add(other, progress=False)
    photos.rename(tmp_path / "away")
    shape("cross", 55).save(other / "new.png")
    reported = []
    with pytest.raises(ValueError, match="There is no folder .*photos: is a disk not connected.*\nThe other folders are up"):
        gallery.refresh(progress=False, report=reported.append)
    assert [counts(changes) for changes in reported] == [(1, 0, 0, 4)] and gallery.info().photos == 17
    photos.mkdir()
    with pytest.raises(ValueError, match="holds no photo any more, and the gallery has 12 from there"):
        gallery.refresh(progress=False)
    assert gallery.info().photos == 17


def test_a_root_above_one_whose_disk_is_away_takes_nothing(gallery, photos, tmp_path):
    photos.rename(tmp_path / "away")
    photos.mkdir()  # the mount point
    (tmp_path / "away").rename(photos.parent / ".away")
    shape("cross", 55).save(tmp_path / "new.png")
    gallery.add(tmp_path, progress=False)
    assert gallery.engine.roots() == [os.fsencode(photos), os.fsencode(tmp_path)] and gallery.info().photos == 13
    photos.rmdir()
    (tmp_path / ".away").rename(photos)
    gallery.refresh(progress=False)
    assert gallery.engine.roots() == [os.fsencode(tmp_path)] and gallery.info().photos == 13


@pytest.mark.parametrize("hidden_first", [True, False])
def test_a_hidden_folder_that_was_added_by_name_stays(tmp_path, pixels, hidden_first):
    hidden = photo_folder(tmp_path / "home" / ".pictures", 1)
    shape("cross", 55).save(tmp_path / "home" / "p.png")
    order = [hidden, tmp_path / "home"]
    with Gallery.open(tmp_path / "gallery", pixels) as gallery:
        for folder in order if hidden_first else order[::-1]:
            gallery.add(folder, progress=False)
        gallery.refresh(progress=False)
        assert gallery.info().photos == 5
        assert len(gallery.search(shape("cross", 55), under=hidden / "cross")) == 1


def test_a_folder_by_another_of_its_names(gallery, photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    (changes,) = gallery.add(tmp_path / "link", progress=False)
    assert counts(changes) == (0, 0, 0, 12) and gallery.engine.roots() == [os.fsencode(photos)]
    assert gallery.locate(tmp_path / "link" / "bar") == Folder(os.fsencode(photos), b"bar")
    assert {Path(result.path).parent for result in gallery.search(shape("bar"), under=f"{tmp_path}/link/bar/")} == {
        photos / "bar"
    }


def test_a_dry_run_of_add_notes_no_folder(tmp_path, pixels, photos):
    with Gallery.open(tmp_path / "gallery", pixels) as gallery:
        (changes,) = gallery.add(photos, dry_run=True)
        assert changes.encoded == 12 and gallery.engine.roots() == []


def test_several_folders_in_one_call(tmp_path, pixels, photos):
    with Gallery.open(tmp_path / "gallery", pixels) as gallery:
        bar, whole = gallery.add([photos / "bar", photos], progress=False)
        assert (bar.encoded, whole.encoded, whole.known) == (3, 9, 3)
        assert gallery.engine.roots() == [os.fsencode(photos)] and gallery.info().photos == 12


def test_a_model_that_came_meanwhile_is_not_mixed_in(tmp_path, photos, pixels):
    other = Encoder.load(Source("pixels"), "cpu")
    other.processor.size = {"height": 16, "width": 16}
    with Gallery.open(tmp_path / "g", pixels) as one, Gallery.open(tmp_path / "g", other) as two:
        one.add(photos / "bar", progress=False)
        with pytest.raises(ValueError, match="was made by other settings of the image processor"):
            two.add(photos / "circle", progress=False)
        assert one.verify() == [] and one.info().photos == 3


def test_where_the_model_is_now_is_kept(gallery, photos, tmp_path, pixels):
    moved = Encoder(pixels.model, pixels.processor, Source("pixels", 32))
    with Gallery.open(tmp_path / "gallery", moved) as again:
        again.refresh(progress=False)
    with Gallery.open(tmp_path / "gallery") as again:
        assert again.encoder.source == Source("pixels", 32)


def test_near_copies_do_not_crowd_out_other_photos(gallery, monkeypatch, photos):
    monkeypatch.setattr("caan.search.gallery.POOL", 2)
    for number in range(9):
        Image.open(photos / "circle" / "0.png").convert("RGB").save(photos / f"{number}.jpg", quality=87 + number)
    gallery.refresh(progress=False)
    found = gallery.search_vector(vector_of(gallery, b"circle/0.png"), top_k=3)
    assert len(found) == 3 and len(found[0].copies) == 10


def test_a_path_is_no_name(tmp_path, pixels, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    with Gallery.open(Path("holidays"), pixels) as gallery:
        gallery.add(photos, progress=False)
    assert (tmp_path / "holidays" / "gallery.sqlite").exists() and not (tmp_path / "home").exists()


def test_commands_name_files_and_folders(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    Image.new("RGB", (64, 64), "gray").save(photos / "gray.png")
    assert cli.main(["index", str(photos), "--model", "pixels", "--num_workers", "0"]) == 0
    assert f"    {photos / 'gray.png'}: the model makes no usable vector of it\n" in capsys.readouterr().out
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.rename(photos, odd)
    assert cli.main(["gallery", "move-root", "default", str(photos), odd]) == 0
    assert "caf\\xe9; caan index brings it up to date" in capsys.readouterr().out
    os.rename(odd, photos)
    other = photo_folder(tmp_path / "other", 1)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["index", str(other)]), cli.main(["index"])
    said = capsys.readouterr()
    assert stopped.value.code == 1 and "caf\\xe9: is a disk not connected" in said.err
    assert f"{other}: 0 encoded, 0 known by their bytes, 0 removed, 4 as they were" in said.out


def test_a_home_that_cannot_be_written_needs_no_model_noted(tmp_path, photos, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME, str(tmp_path / "file" / "home"))
    place = f"{tmp_path}/gallery"
    assert cli.main(["index", str(photos), "--model", "pixels", "--gallery", place, "--num_workers", "0"]) == 0
    assert "holds 12 photos" in capsys.readouterr().out
