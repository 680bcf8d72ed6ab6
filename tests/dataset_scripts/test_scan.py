"""What lies in a data folder beside sound pictures: links, folders, names and rights that are not as they should be.

pytest tests/dataset_scripts/test_scan.py
"""

import os
import sys
from importlib.util import find_spec

import pytest
from benchmark_trees import make_tree, picture
from PIL import Image

import pipeline_caan
from dataset_scripts import load
from dataset_scripts.core.entries import Entries, image_suffixes, read_folder
from dataset_scripts.core.faults import fault_of
from dataset_scripts.core.scan import scan
from dataset_scripts.folder import FOLDER

CLASSES = ("cup", "fox", "owl")


@pytest.fixture
def root(tmp_path):
    """36 sound pictures of three classes; `owl` is unseen."""
    files = [f"{m}/{c}/{i}.png" for m in ("sketch", "photo") for c in CLASSES for i in range(6)]
    make_tree(tmp_path / "data", files)
    (tmp_path / "data/unseen.txt").write_text("owl", encoding="utf-8")
    return tmp_path / "data"


def build(root, **options):
    splits = load("folder", data_dir=str(root), cache_dir=str(root.parent / "cache"), **options)
    return sorted(file for rows in splits.values() for file in rows["file"])


SOUND = sorted(f"{m}/{c}/{i}.png" for m in ("sketch", "photo") for c in CLASSES for i in range(6))


def broken_link(root):
    os.symlink("/nowhere.png", root / "photo/cup/bad.png")


def link_loop(root):
    os.symlink("bad.png", root / "photo/cup/bad.png")


def latin_1(root):
    with open(os.fsencode(root / "photo/cup") + b"/bad\xe9.png", "wb") as file:
        file.write(picture(".png"))


def pipe(root):
    os.mkfifo(root / "photo/cup/bad.png")


def empty(root):
    (root / "photo/cup/bad.png").write_bytes(b"")


BROKEN = [
    (broken_link, r"photo/cup/bad.png (broken link)"),
    (link_loop, r"photo/cup/bad.png (broken link)"),
    (latin_1, r"photo/cup/bad\xe9.png (its name is no UTF-8, rename it)"),
    (pipe, r"photo/cup/bad.png (no file, but a pipe or device)"),
    (empty, r"photo/cup/bad.png (empty)"),
]


@pytest.mark.parametrize("spoil, named", BROKEN, ids=[spoil.__name__ for spoil, _ in BROKEN])
def test_a_picture_that_cannot_be_read_is_named_or_left_out_on_request(root, spoil, named, capsys):
    spoil(root)
    with pytest.raises(ValueError) as error:
        build(root)
    assert f"corrupt or unreadable (1): {named}" in str(error.value)
    assert str(error.value).endswith("leave them out with skip_corrupt=True (--skip_corrupt).")
    assert build(root, skip_corrupt=True) == SOUND
    assert f"corrupt or unreadable (1): {named}" in capsys.readouterr().out


def test_a_picture_without_the_right_to_read_it_is_named(root, monkeypatch):
    (root / "photo/cup/0.png").chmod(0o200)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who may all
    with pytest.raises(ValueError, match=r"corrupt or unreadable \(1\): photo/cup/0.png \(no right to read it\)"):
        build(root)


def refuse(monkeypatch, folder):
    scandir = os.scandir

    def guarded(path):
        if isinstance(path, str) and os.path.basename(path) == folder:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


def test_a_class_folder_without_the_right_to_read_it_is_named(root, monkeypatch):
    refuse(monkeypatch, "cup")
    with pytest.raises(ValueError) as error:
        build(root)
    named = "corrupt or unreadable (2): sketch/cup (folder: permission denied), photo/cup (folder: permission denied)"
    assert named in str(error.value) and "missing classes (1; 0 of the 1 unseen): cup" in str(error.value)
    assert build(root, skip_corrupt=True, allow_partial=True) == [file for file in SOUND if "/cup/" not in file]


def test_a_source_without_the_right_to_read_it_is_named(root, monkeypatch):
    refuse(monkeypatch, "photo")
    with pytest.raises(PermissionError, match="data/photo cannot be read: you have no right to"):
        build(root)


def test_a_class_folder_whose_name_is_no_utf_8_is_named(root, capsys):
    os.mkdir(os.fsencode(root / "photo") + b"/caf\xe9")
    with pytest.raises(ValueError, match=r"corrupt or unreadable \(1\): photo/caf\\xe9 \(its name is no UTF-8, rename it\)"):
        build(root)
    assert build(root, skip_corrupt=True) == SOUND


def test_a_data_dir_whose_name_is_no_utf_8_is_named(root):
    moved = os.fsencode(root) + b"\xe9"
    os.rename(root, moved)
    with pytest.raises(ValueError, match=r"data_dir .*data\\xe9: its name is no UTF-8, rename it"):
        load("folder", data_dir=os.fsdecode(moved))


def test_folders_in_class_folders_are_named_and_not_read(root, capsys):
    make_tree(root, ["photo/cup/album.jpg/9.png", "photo/fox/more/9.png"])
    assert build(root) == SOUND
    out = capsys.readouterr().out
    assert "not read (2): photo/cup/album.jpg (folder inside a class folder), photo/fox/more (folder inside" in out


def test_folder_links_are_followed_and_loops_cut(root, tmp_path, capsys):
    make_tree(tmp_path / "elsewhere", [f"bee/{i}.png" for i in range(3)])
    for modality in ("sketch", "photo"):
        os.symlink(tmp_path / "elsewhere/bee", root / modality / "bee")
    os.symlink("..", root / "photo/round")
    os.symlink(root / "photo", root / "photo/self")
    os.symlink("nowhere", root / "photo/gone")
    assert build(root) == sorted(SOUND + [f"{m}/bee/{i}.png" for m in ("sketch", "photo") for i in range(3)])
    back = "link to a folder that holds it"
    assert f"not read (3): photo/gone (broken link), photo/round ({back}), photo/self ({back})" in capsys.readouterr().out


def test_what_is_ignored_is_counted(root, capsys):
    for name in (".DS_Store", "._0.png", ".hidden.jpg"):
        (root / "photo/cup" / name).write_bytes(b"x")
    (root / "photo/cup/notes.txt").write_bytes(b"x")
    (root / "photo/loose.png").write_bytes(picture(".png"))
    assert build(root) == SOUND
    ignored = "ignored: 1 pictures outside the class folders, 3 hidden files, 1 files that are not pictures\n"
    assert ignored in capsys.readouterr().out


def test_nothing_left_says_so(root):
    for file in SOUND:
        (root / file).write_bytes(b"")
    with pytest.raises(ValueError, match="no class folder holds a picture"):
        build(root, skip_corrupt=True, allow_partial=True)


def test_the_fingerprint_follows_what_is_broken(root):
    before = scan(str(root), FOLDER, list(CLASSES)).fingerprint()
    broken_link(root)
    assert scan(str(root), FOLDER, list(CLASSES)).fingerprint() != before


def test_suffixes_are_those_of_pillow_s_readers():
    suffixes = set(image_suffixes())
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".bmp", ".tga", ".avif", ".jp2"} <= suffixes
    assert not suffixes & {
        ".pdf",
        ".eps",
        ".ps",
        ".h5",
        ".hdf",
        ".grib",
        ".bufr",
        ".mpg",
        ".mpeg",
        ".wmf",
        ".emf",
        ".iim",
        ".txt",
    }


def test_galleries_have_the_same_suffixes():
    assert set(image_suffixes()) == set(pipeline_caan.image_suffixes())
    assert set(image_suffixes(svg=True)) == set(pipeline_caan.image_suffixes(svg=True))


@pytest.mark.parametrize(
    "suffix, form",
    [(".JFIF", "JPEG"), (".jpe", "JPEG"), (".avif", "AVIF"), (".tga", "TGA"), (".jp2", "JPEG2000"), (".mpo", "MPO")],
)
def test_every_readable_form_is_a_picture(tmp_path, suffix, form):
    Image.new("RGB", (8, 8), "red").save(tmp_path / f"a{suffix}", form)
    assert [name for name, _, _ in read_folder(str(tmp_path), image_suffixes()).pictures] == [f"a{suffix}"]


def test_an_empty_folder_has_nothing(tmp_path):
    assert read_folder(str(tmp_path), image_suffixes()) == Entries()


def stroke(mode, ground, ink):
    image = Image.new(mode, (9, 9), ground)
    image.putpixel((4, 4), ink)
    return image


@pytest.mark.parametrize(
    "image, fault",
    [
        (Image.new("RGB", (9, 9), "white"), "blank"),
        (Image.new("L", (9, 9), 0), "blank"),
        (Image.new("1", (9, 9), 1), "blank"),
        (Image.new("I;16", (9, 9), 65535), "blank"),
        (Image.new("RGB", (9, 9), (255, 250, 235)), "blank"),
        (Image.new("P", (9, 9)), "blank"),
        (Image.new("RGBA", (9, 9), (255, 0, 0, 0)), "blank"),
        (Image.new("LA", (9, 9), (200, 255)), "blank"),
        (stroke("RGB", "white", (0, 0, 0)), None),
        (stroke("P", 0, 1), None),
        (stroke("I;16", 65535, 0), None),
        (stroke("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)), None),  # white ink on nothing
        (Image.new("RGB", (9, 9), "red"), None),
    ],
)
def test_blank_sketches(tmp_path, image, fault):
    image.save(tmp_path / "a.png")
    assert fault_of(tmp_path / "a.png", "sketch") == fault
    assert fault_of(tmp_path / "a.png", "photo") is None


@pytest.mark.parametrize(
    "image, fault",
    [
        (Image.new("CMYK", (9, 9), (0, 0, 0, 0)), "blank"),
        (stroke("CMYK", (0, 0, 0, 0), (0, 0, 0, 255)), None),
        (Image.new("F", (9, 9), 0.5), "blank"),
        (stroke("F", 0.5, 0.1), None),
        (stroke("I", 70000, 0), None),
    ],
)
def test_blank_sketches_in_the_modes_of_tiff(tmp_path, image, fault):
    image.save(tmp_path / "a.tif")
    assert fault_of(tmp_path / "a.tif", "sketch") == fault


def test_a_sketch_that_a_later_frame_shows_is_not_blank(tmp_path):
    Image.new("L", (9, 9), 255).save(tmp_path / "a.gif", save_all=True, append_images=[stroke("L", 255, 0)])
    assert fault_of(tmp_path / "a.gif", "sketch") is None


@pytest.mark.parametrize("content", [b"", b"no picture", picture(".jpg", size=300)[:-400]])
def test_what_does_not_decode(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert fault_of(tmp_path / "a.jpg", "photo") == "does not decode"


HEIC_HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'


def test_photos_of_phones_are_not_overlooked(root, monkeypatch, capsys):
    """Without pillow-heif they are named with the cure where pictures are decoded, and left out on request."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (root / "photo/cup/IMG_1.HEIC").write_bytes(HEIC_HEADER)
    assert build(root) == sorted([*SOUND, "photo/cup/IMG_1.HEIC"])
    with pytest.raises(
        ValueError, match=r"unreadable \(1\): photo/cup/IMG_1.HEIC \(it is HEIC.* Cure: pip install pillow-heif.\)"
    ):
        build(root, verify=True)
    assert build(root, verify=True, skip_corrupt=True) == SOUND


def test_verify_reads_heic_where_it_can(root):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red")).save(root / "photo/cup/a.heic")
    assert build(root, verify=True) == sorted([*SOUND, "photo/cup/a.heic"])
    (root / "photo/cup/cut.heic").write_bytes((root / "photo/cup/a.heic").read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"unreadable \(1\): photo/cup/cut.heic \(does not decode\)"):
        build(root, verify=True)


@pytest.mark.skipif(find_spec("resvg_py") is None, reason="resvg-py is not installed")
def test_svg_files_are_sketches_and_no_photos(root, capsys):
    for modality in ("sketch", "photo"):
        (root / modality / "cup/a.svg").write_text(SVG.format('<circle cx="4" cy="4" r="3"/>'))
    assert build(root, verify=True) == sorted([*SOUND, "sketch/cup/a.svg"])
    assert "1 files that are not pictures" in capsys.readouterr().out
    (root / "sketch/cup/empty.svg").write_text(SVG.format(""))
    with pytest.raises(ValueError, match=r"unreadable \(1\): sketch/cup/empty.svg \(blank\)"):
        build(root, verify=True)
