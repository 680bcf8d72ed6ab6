"""`Gallery`: what a folder's gallery holds, finds and refuses. python -m pytest tests/search/test_gallery.py"""

import os
import shutil

import numpy as np
import pytest
from photos import shape
from PIL import Image

from caan.search.encoder import Encoder, Source
from caan.search.engine import UNREADABLE
from caan.search.gallery import Gallery
from caan.search.photos import is_excluded


def paths(found) -> list[str]:
    return [result.path for result in found]


def names(found, root) -> list[str]:
    return [os.path.relpath(path, root) for path in paths(found)]


def test_a_sketch_finds_its_shape_first(gallery, photos):
    for name in ("circle", "square", "cross"):
        found = gallery.search(shape(name, 7), top_k=3)
        assert {os.path.dirname(path) for path in names(found, photos)} == {name}
        assert [result.rank for result in found] == [1, 2, 3]
        assert [result.score for result in found] == sorted((result.score for result in found), reverse=True)


def test_scores_are_the_cosines_of_the_vectors(gallery, pixels, photos):
    query = pixels.sketch(shape("circle", 7))
    found = gallery.search_vector(query, top_k=12)
    assert len(found) == 12
    for result in found:
        values = pixels.processor([Image.open(result.path)], modality="photo", return_tensors="pt")["pixel_values"]
        expected = float(pixels.model.get_image_features(values)[0].numpy() @ query)
        assert result.score == pytest.approx(expected, abs=2e-3)  # vectors are float16


def test_under_a_folder_alone(gallery, photos):
    found = gallery.search(shape("circle", 7), top_k=20, under=photos / "bar")
    assert {os.path.dirname(path) for path in names(found, photos)} == {"bar"} and len(found) == 3
    assert gallery.search(shape("circle", 7), under=photos)[0].path.startswith(str(photos / "circle"))
    with pytest.raises(ValueError, match="is not in the gallery .*; its folders are .*photos"):
        gallery.search(shape("circle", 7), under=photos.parent)
    assert gallery.search(shape("circle", 7), under=photos / "empty") == []


@pytest.mark.parametrize("name", ["a_b", "50%", "it's", 'a"b', "a\\b", "na\nme", "ä"])
def test_names_of_folders_are_no_patterns(tmp_path, pixels, name):
    root = tmp_path / "photos"
    for number, folder in enumerate((name, name + "x", name.replace("_", "X").replace("%", "XX"))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        shape("circle", number).save(root / folder / "p.png")
    with Gallery.open(tmp_path / "g", pixels) as gallery:
        gallery.add(root, progress=False)
        found = gallery.search(shape("circle"), under=root / name)
        assert set(paths(found)) >= {str(root / name / "p.png")}
        assert all(path.startswith(str(root / name) + "/") for path in paths(found))


def test_names_that_are_no_utf8(tmp_path, pixels):
    root = tmp_path / "photos"
    folder = os.path.join(os.fsencode(root), b"caf\xe9")
    os.makedirs(folder)
    shape("circle").save(tmp_path / "p.png")
    shutil.copy(tmp_path / "p.png", os.path.join(folder, b"\xff.png"))
    with Gallery.open(tmp_path / "g", pixels) as gallery:
        gallery.add(root, progress=False)
        (result,) = gallery.search(shape("circle"), under=os.fsdecode(folder))
        assert os.fsencode(result.path) == os.path.join(folder, b"\xff.png")


def test_a_second_call_does_only_what_changed(gallery, photos):
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.known, changes.removed, changes.unchanged) == (0, 0, 0, 12)
    shape("cross", 55).save(photos / "new.png")
    (photos / "bar" / "0.png").unlink()
    shape("square", 56).save(photos / "bar" / "1.png")
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.known, changes.removed, changes.unchanged) == (2, 0, 1, 10)
    assert gallery.info().photos == 12 and gallery.info().contents == 12


def test_moved_files_are_not_encoded(gallery, photos, pixels, monkeypatch):
    before = paths(gallery.search(shape("circle", 7), top_k=3))
    (photos / "circle").rename(photos / "round")
    monkeypatch.setattr(pixels.model, "get_image_features", None)
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.known, changes.removed) == (0, 3, 3)
    assert paths(gallery.search(shape("circle", 7), top_k=3)) == [path.replace("circle", "round") for path in before]


def test_copies_are_one_result(gallery, photos):
    shutil.copy(photos / "circle" / "0.png", photos / "bar" / "copy.png")
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.known) == (0, 1)
    query = gallery.engine.vectors([gallery.search(shape("circle"), 1)[0].content])[0]
    found = gallery.search_vector(query, top_k=20)
    (result,) = [result for result in found if str(photos / "circle" / "0.png") in result.copies]
    assert set(result.copies) == {str(photos / "bar" / "copy.png"), str(photos / "circle" / "0.png")}
    found = gallery.search_vector(query, top_k=20, under=photos / "bar")
    (result,) = [result for result in found if result.path.endswith("copy.png")]
    assert result.copies == (str(photos / "bar" / "copy.png"),)


def test_near_copies_of_one_shot_are_one_result(gallery, photos):
    Image.open(photos / "circle" / "0.png").convert("RGB").save(photos / "circle" / "0.jpg", quality=90)
    gallery.refresh(progress=False)
    assert gallery.info().contents == 13
    found = gallery.search(shape("circle", 7), top_k=20)
    assert len(found) == 12
    (result,) = [result for result in found if len(result.copies) == 2]
    assert {os.path.basename(path) for path in result.copies} == {"0.jpg", "0.png"}


def test_new_copies_within_one_call_are_encoded_once(tmp_path, pixels):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(5):
        shape("circle").save(root / f"{number}.png")
    with Gallery.open(tmp_path / "g", pixels) as gallery:
        (changes,) = gallery.add(root, progress=False)
        assert (changes.encoded, changes.known, gallery.info().contents, gallery.info().photos) == (1, 4, 1, 5)


def test_unreadable_files_are_named_and_not_tried_again(gallery, photos):
    (photos / "broken.jpg").write_bytes(b"PK\x03\x04 a zip")
    (photos / "empty.png").touch()
    (photos / "notes.txt").write_text("no picture")
    (changes,) = gallery.refresh(progress=False)
    assert set(changes.problems) == {str(photos / "broken.jpg"), str(photos / "empty.png")}
    assert all(str(path) in problem for path, problem in changes.problems.items())
    assert changes.left_out == {".txt is no picture": 1}
    kept = [photo for photo in gallery.engine.photos() if photo.content == UNREADABLE]
    assert {photo.path for photo in kept} == {b"broken.jpg", b"empty.png"}
    assert gallery.info().photos == 12 and gallery.info().unreadable == 2
    (changes,) = gallery.refresh(progress=False)
    assert not changes.problems and changes.unchanged == 14
    (changes,) = gallery.refresh(progress=False, retry=True)
    assert len(changes.problems) == 2
    shape("bar", 77).save(photos / "empty.png")
    (changes,) = gallery.refresh(progress=False)
    assert changes.encoded == 1 and gallery.info().unreadable == 1


def test_an_empty_root_removes_nothing(gallery, photos):
    shutil.rmtree(photos)
    with pytest.raises(ValueError, match="There is no folder .*photos: is a disk not connected"):
        gallery.refresh(progress=False)
    photos.mkdir()
    with pytest.raises(ValueError, match="holds no photo any more, and the gallery has 12 from there.*--yes"):
        gallery.refresh(progress=False)
    assert gallery.info().photos == 12
    (changes,) = gallery.refresh(progress=False, yes=True)
    assert changes.removed == 12 and gallery.info().photos == 0
    with pytest.raises(ValueError, match="is empty: caan index FOLDER"):
        gallery.search(shape("circle"))


def test_excluded_patterns_are_kept(gallery, photos):
    (changes,) = gallery.refresh(progress=False, exclude=["bar/*", "*/2.png"])
    assert changes.removed == 6 and changes.left_out == {"excluded": 6}
    (changes,) = gallery.refresh(progress=False)
    assert (changes.removed, changes.unchanged) == (0, 6)
    (changes,) = gallery.refresh(progress=False, exclude=[])
    assert gallery.info().photos == 12


@pytest.mark.parametrize(
    "pattern, fits",
    [("drafts", True), ("drafts/", True), ("*drafts", True), ("drafts/*", True), ("a.jpg", False), ("*/a.jpg", True)]
    + [("deep", False), ("drafts/deep", True), ("d", False), (".", False), ("*", True)],
)
def test_a_pattern_leaves_out_a_file_or_a_folder_above_it(pattern, fits):
    assert is_excluded("drafts/deep/a.jpg", [pattern]) is fits and is_excluded("drafts/deep/a.jpg", ["no", pattern]) is fits


def test_a_dry_run_changes_nothing(gallery, photos):
    shape("cross", 55).save(photos / "new.png")
    (photos / "bar" / "0.png").unlink()
    (changes,) = gallery.refresh(dry_run=True)
    assert (changes.encoded, changes.removed, changes.unchanged) == (1, 1, 11)
    assert gallery.info().photos == 12


def test_a_folder_below_a_root_and_one_above_it(gallery, photos, tmp_path):
    shape("cross", 55).save(photos / "bar" / "new.png")
    shape("cross", 56).save(photos / "circle" / "new.png")
    (changes,) = gallery.add(photos / "bar", progress=False)
    assert changes.encoded == 1 and gallery.engine.roots() == [os.fsencode(photos)]
    (changes,) = gallery.add(tmp_path, exclude=["gallery/*"], progress=False)
    assert (changes.encoded, changes.known) == (1, 13)
    assert gallery.engine.roots() == [os.fsencode(tmp_path)] and gallery.info().photos == 14


def test_remove_takes_photos_out_and_leaves_files(gallery, photos):
    assert gallery.remove(photos / "bar") == 3
    assert gallery.info().contents == 9 and (photos / "bar" / "0.png").exists()
    assert gallery.remove(photos) == 9 and gallery.engine.roots() == []


def test_a_moved_root(gallery, photos, tmp_path):
    photos.rename(tmp_path / "elsewhere")
    gallery.engine.move_root(os.fsencode(photos), os.fsencode(tmp_path / "elsewhere"))
    assert gallery.search(shape("circle"), 1)[0].path.startswith(str(tmp_path / "elsewhere" / "circle"))
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.known, changes.removed, changes.unchanged) == (0, 0, 0, 12)


def test_another_model_is_refused(gallery, tmp_path, photos):
    other = Encoder.load(Source("pixels"), "cpu")
    other.processor.size = {"height": 16, "width": 16}
    with pytest.raises(ValueError, match="was made by other settings of the image processor .*caan index FOLDER --gallery"):
        Gallery.open(tmp_path / "gallery", other)
    with Gallery.open(tmp_path / "gallery") as again:  # loads its own
        assert again.search(shape("circle"), 1) and again.encoder.source == Source("pixels")


def test_thumbnails_are_small_upright_and_without_notes(gallery, photos):
    picture = Image.new("RGB", (1200, 600), "red")
    exif = picture.getexif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"  # turned by 90 degrees
    picture.save(photos / "turned.jpg", exif=exif, comment=b"a secret place")
    gallery.refresh(progress=False)
    (content,) = [photo.content for photo in gallery.engine.photos() if photo.path == b"turned.jpg"]
    data = gallery.engine.thumbnail(content)
    import io

    thumbnail = Image.open(io.BytesIO(data))
    assert thumbnail.size == (128, 256) and not thumbnail.getexif() and b"secret" not in data
    assert gallery.engine.thumbnail(bytes(32)) is None


def test_the_batch_is_halved_where_memory_ends(tmp_path, pixels, photos, monkeypatch):
    sizes, real = [], pixels.model.get_image_features

    def scarce(values):
        sizes.append(len(values))
        if len(values) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return real(values)

    monkeypatch.setattr(pixels.model, "get_image_features", scarce)
    with Gallery.open(tmp_path / "g", pixels) as gallery:
        (changes,) = gallery.add(photos, batch_size=12, progress=False)
        assert changes.encoded == 12 and sizes == [12, 6, 3, 3, 3, 3]


def test_a_new_gallery_needs_a_model(tmp_path, photos):
    with Gallery.open(tmp_path / "g") as gallery, pytest.raises(ValueError, match="has no model yet"):
        gallery.add(photos)


def test_verify_finds_damage(gallery):
    assert gallery.verify() == []
    gallery.engine._database.execute("update contents set vector = zeroblob(2048) where id = (select min(id) from contents)")
    gallery.engine._database.execute("delete from thumbnails where content = (select max(id) from contents)")
    assert gallery.verify() == ["1 pictures have no thumbnail", "1 vectors are damaged"]


def test_a_vector_of_the_sketch_is_of_unit_length(pixels):
    assert np.linalg.norm(pixels.sketch(shape("circle"))) == pytest.approx(1)
