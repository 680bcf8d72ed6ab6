"""Folders of photos as people have them.  python -m pytest tests/hub_set/test_list_images.py"""

import os
import warnings

import pytest
from PIL import Image
from tiny import caan_model, image_processor, photo

import pipeline_caan
from dataset_scripts.core import entries
from pipeline_caan import embed_images, image_suffixes, list_images, show_path


def listed(folder) -> list[str]:
    """Relative paths; no warning is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return [os.path.relpath(path, folder) for path in list_images(folder)]


@pytest.mark.parametrize(
    "suffix,kind",
    [(".jpg", "JPEG"), (".jfif", "JPEG"), (".jpe", "JPEG"), (".tga", "TGA"), (".jp2", "JPEG2000"), (".mpo", "MPO")],
)
def test_every_suffix_that_pillow_reads_is_a_picture(tmp_path, suffix, kind):
    photo().save(tmp_path / f"a{suffix}", kind)
    photo().save(tmp_path / f"B{suffix.upper()}", kind)
    assert listed(tmp_path) == [f"B{suffix.upper()}", f"a{suffix}"]
    with Image.open(tmp_path / f"a{suffix}") as image:
        image.load()


def test_formats_that_need_other_programs_are_none():
    assert not {".eps", ".ps", ".mpg", ".h5", ".wmf", ".pdf", ".svg"} & set(image_suffixes())
    assert {".jpg", ".png", ".webp", ".mpo", ".heic", ".heif", ".hif", ".avif"} <= set(image_suffixes())
    assert set(image_suffixes(svg=True)) - set(image_suffixes()) == {".svg", ".svgz"}


def test_a_path_is_shown_on_one_line_whatever_its_name_is(tmp_path):
    assert show_path("Übung/日本 1.jpg") == "Übung/日本 1.jpg"
    assert show_path(os.fsdecode(b"\xff\xfe/a.jpg")) == "\\xff\\xfe/a.jpg"
    assert show_path("a\nb\x1b[31m\x07\u2028\x9b.jpg") == "a\\nb\\x1b[31m\\x07\\u2028\\x9b.jpg"
    assert show_path("\u202egnp.exe \u2066\u05e9\u2069") == "\\u202egnp.exe \\u2066\u05e9\\u2069"
    assert show_path(tmp_path / "a" / "b\t.jpg", tmp_path) == "a/b\\t.jpg"


def test_links_are_followed_and_loops_are_cut(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    photo().save(tmp_path / "elsewhere" / "a.png")
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    photo().save(root / "b.png")
    os.symlink(tmp_path / "elsewhere", root / "deep" / "link")
    os.symlink(root, root / "deep" / "loop")
    os.symlink(root / "b.png", root / "c.png")
    assert listed(root) == ["b.png", "c.png", "deep/link/a.png"]


def test_what_is_left_out_is_counted_and_named(tmp_path):
    photo().save(tmp_path / "a.png")
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    os.symlink("/nowhere.png", tmp_path / "gone.png")
    os.symlink(tmp_path / "self.png", tmp_path / "self.png")
    with pytest.warns(UserWarning) as said:
        assert [os.path.basename(path) for path in list_images(tmp_path)] == ["a.png"]
    (warning,) = said
    assert "3 entries that are no readable pictures are ignored: gone.png (" in str(warning.message)
    assert "notes.txt" in str(warning.message) and "self.png (" in str(warning.message)


def test_hidden_and_system_files_are_left_out_in_silence(tmp_path):
    folders = (".thumbnails", "@eaDir", "__MACOSX", "#recycle", "~snapshot", "@tmp", "RECYCLER", "__pycache__", "$RECYCLE.BIN")
    for name in (".hidden.png", "._a.png", *(f"{folder}/a.png" for folder in folders), "a.png", "@b.png", "lost+found/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo().save(tmp_path / name)
    assert listed(tmp_path) == ["@b.png", "a.png"]


def test_galleries_and_the_builders_of_data_sets_read_the_same():
    """The file that travels with the weights cannot import what the builders have."""
    for name in ("SYSTEM_MARKS", "SYSTEM_FOLDERS", "UNREADABLE_FORMATS", "CAMERA_SUFFIXES", "SVG_SUFFIXES"):
        assert getattr(pipeline_caan, name) == getattr(entries, name), name


def test_an_empty_file_is_no_picture(tmp_path):
    photo().save(tmp_path / "a.png")
    (tmp_path / "empty.png").touch()
    with pytest.warns(UserWarning, match=r"1 entries that are no readable pictures are ignored: empty.png \(empty\)$"):
        assert list_images(tmp_path) == [str(tmp_path / "a.png")]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_utf8_are_read_and_printable(tmp_path):
    photo().save(tmp_path / "x.png")
    os.rename(os.fsencode(tmp_path / "x.png"), os.fsencode(tmp_path) + b"/caf\xe9.png")
    (path,) = list_images(tmp_path)
    with Image.open(path) as image:
        assert image.size == photo().size
    (tmp_path / "y.png").write_bytes(b"")
    os.rename(os.fsencode(tmp_path / "y.png"), os.fsencode(tmp_path) + b"/caf\xe9.txt")
    with pytest.warns(UserWarning, match=r"caf\\xe9.txt"):
        list_images(tmp_path)


def test_what_lies_in_the_folder_is_listed_under_its_own_name(tmp_path):
    """Whichever is met first: links are followed last, and each folder is read once."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    for path in (outside / "deep" / "y.png", outside / "x.png", root / "z" / "b.png", root / "z" / "deep" / "c.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        photo().save(path)
    for link, target in {
        "again": root,
        "first": root / "z",
        "out": outside,
        "z/up": root / "z",
        "z/deep/top": tmp_path,
    }.items():
        os.symlink(target, root / link)
    assert listed(root) == ["out/deep/y.png", "out/x.png", "z/b.png", "z/deep/c.png"]


def test_files_that_are_no_pictures_are_counted_by_suffix(tmp_path):
    photo().save(tmp_path / "a.png")
    for name in ("a.svg", "B.SVG", "c.svg", "notes.txt", "README", "d.svg", "e.svg"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.warns(UserWarning, match=r"8 entries .* ignored: B.SVG, .*, \.\.\.; by suffix: 5 \.svg, 1 no suffix, 1 \.txt"):
        assert list_images(tmp_path) == [str(tmp_path / "a.png")]


def test_a_broken_picture_whose_name_is_no_utf8_is_named(tmp_path):
    (tmp_path / "caf\udce9.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"photo 0 \(.*caf\\xe9.png\): Cannot read the image") as caught:
        embed_images(caan_model(), image_processor(), tmp_path, "photo", progress=False)
    str(caught.value).encode()  # can be printed
