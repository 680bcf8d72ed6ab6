"""The options that every builder and every Parquet form takes; each picture is in one split.

pytest tests/dataset_scripts/test_options.py
"""

import errno
import io

import datasets
import pytest
from benchmark_trees import QUICKDRAW_LINES, SKETCHY_LINES, TUBERLIN_LINES, make_tree, paths, picture
from PIL import Image

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.options import DataOptions
from dataset_scripts import load, openmoji
from dataset_scripts.folder import Folder
from dataset_scripts.parquet.publish import PublishArguments, publish

FOLDER_FILES = [f"{m}/{c}/{i}.png" for m in ("sketch", "photo") for c in ("cup", "fox", "owl") for i in range(10)]
TREES = {
    "sketchy": paths(SKETCHY_LINES),
    "tuberlin": paths(TUBERLIN_LINES),
    "quickdraw": paths(QUICKDRAW_LINES),
    "folder": FOLDER_FILES,
}


@pytest.fixture
def drawn(monkeypatch):
    """Every icon is a small blank picture."""
    blank = io.BytesIO()
    Image.new("RGB", (4, 4), "white").save(blank, format="PNG")
    monkeypatch.setattr(openmoji, "render", lambda *drawing: blank.getvalue())


@pytest.fixture
def source(tmp_path, drawn):
    """Name -> how `load` is called for it, with a cache of this test."""

    def arguments(name):
        cache = {"cache_dir": str(tmp_path / "cache")}
        if name == "openmoji":
            return {"name": name, **cache}
        if name == "parquet":
            root = make_tree(tmp_path / "folder", FOLDER_FILES)
            publish(Folder, PublishArguments(data_dir=str(root)), str(tmp_path / "parquet"))
            return {"name": str(tmp_path / "parquet"), **cache}
        return {"name": name, "data_dir": str(make_tree(tmp_path / name, TREES[name])), **cache}

    return arguments


EVERY = ["openmoji", "sketchy", "tuberlin", "quickdraw", "folder", "parquet"]


@pytest.mark.parametrize("name", EVERY)
def test_every_source_takes_every_option(source, name):
    arguments = source(name)
    plain = load(**arguments, allow_partial=True)
    given = load(**arguments, allow_partial=True, verify=True, skip_corrupt=True, duplicates=False, validation_photos=0.1)
    assert {s: rows["file"][:] for s, rows in given.items()} == {s: rows["file"][:] for s, rows in plain.items()}
    assert {s: rows.features for s, rows in given.items()} == {s: rows.features for s, rows in plain.items()}


@pytest.mark.parametrize("name", EVERY)
def test_every_picture_is_in_one_split(source, name):
    splits = load(**source(name), allow_partial=True)
    files = [file for rows in splits.values() for file in rows["file"]]
    assert len(files) == len(set(files))
    stems = [
        (row["label"], row["modality"], row["file"].rpartition("/")[2])
        for s in splits.values()
        for row in s.remove_columns("image")
    ]
    if name != "openmoji":  # whose packs have names in common
        assert len(stems) == len(set(stems))


@pytest.mark.parametrize("value", [-0.1, 1, 2.5, "many", None])
def test_a_share_out_of_range_is_refused(source, value):
    for name in ("openmoji", "folder"):
        with pytest.raises(ValueError, match="validation_photos is a share from 0 to below 1, not"):
            load(**source(name), validation_photos=value)


def test_what_asks_for_other_rows_than_there_are_is_refused(source):
    with pytest.raises(ValueError, match="openmoji holds out no photos.*leave validation_photos out"):
        load(**source("openmoji"), validation_photos=0.2)
    published = source("parquet")
    with pytest.raises(ValueError, match="parquet: duplicates and validation_photos cannot be chosen for a Parquet form"):
        load(**published, duplicates=True, validation_photos=0.3)


def test_an_option_that_a_builder_does_not_have_is_named(source):
    with pytest.raises(ValueError, match=r"^openmoji has no option unseen\.$"):
        load(**source("openmoji"), unseen=["owl"])


@pytest.mark.parametrize("name", ["openmoji", "folder"])
def test_a_full_disk_is_told_as_such(source, monkeypatch, name):
    def write(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    for method in ("write", "write_table"):
        monkeypatch.setattr(datasets.arrow_writer.ArrowWriter, method, write)
    with pytest.raises(OSError, match="No space left on device") as error:
        load(**source(name))
    assert error.value.errno == errno.ENOSPC


def test_options_that_do_nothing_do_not_draw_the_icons_again(source, monkeypatch):
    first = load(**source("openmoji"))
    monkeypatch.setattr(openmoji, "render", lambda *drawing: pytest.fail("drawn again"))
    again = load(**source("openmoji"), allow_partial=True, verify=True, skip_corrupt=True, duplicates=True, validation_photos=0)
    assert again["test"]["file"][:] == first["test"]["file"][:]


BAD = {"photo/fox/3.png": (picture(".png", size=200)[:150], "does not decode")}
buffer = io.BytesIO()
Image.new("L", (20, 20), 255).save(buffer, "PNG")
BAD["sketch/owl/2.png"] = (buffer.getvalue(), "blank")


@pytest.mark.parametrize("name, files", [("folder", FOLDER_FILES), ("quickdraw", paths(QUICKDRAW_LINES))])
def test_broken_and_blank_pictures_are_named_or_left_out(tmp_path, capsys, name, files):
    root = make_tree(tmp_path / "data", files)
    sketch, photo = (next(f for f in files if f.startswith(kind)) for kind in (("sketch"), ("photo", "image")))
    (root / sketch).write_bytes(BAD["sketch/owl/2.png"][0])
    (root / photo).write_bytes(BAD["photo/fox/3.png"][0])
    arguments = {"name": name, "data_dir": str(root), "cache_dir": str(tmp_path / "cache"), "allow_partial": True}
    with pytest.raises(ValueError) as error:
        load(**arguments, verify=True)
    for named in (f"{sketch} (blank)", f"{photo} (does not decode)", "corrupt or unreadable (2)", "(--skip_corrupt)"):
        assert named in str(error.value)
    capsys.readouterr()
    splits = load(**arguments, skip_corrupt=True)
    assert sorted(f for rows in splits.values() for f in rows["file"]) == sorted(set(files) - {sketch, photo})
    assert "corrupt or unreadable (2): " in capsys.readouterr().out


def spoiled_parquet(tmp_path):
    """A Parquet form whose pictures went bad after it was published, as a stranger's may be."""
    root = make_tree(tmp_path / "folder", FOLDER_FILES)
    publish(Folder, PublishArguments(data_dir=str(root)), str(tmp_path / "parquet"))
    for split in ("train", "validation", "test"):
        path = tmp_path / f"parquet/default/{split}-00000-of-00001.parquet"
        rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache")).cast_column(
            "image", datasets.Image(decode=False)
        )

        def spoil(row):
            return {"image": {"bytes": BAD[row["file"]][0], "path": None}} if row["file"] in BAD else {}

        rows.map(spoil, features=rows.features).cast_column("image", datasets.Image()).to_parquet(path)
    return {"name": str(tmp_path / "parquet"), "cache_dir": str(tmp_path / "cache2")}


def test_broken_and_blank_pictures_of_a_parquet_form(tmp_path, capsys):
    arguments = spoiled_parquet(tmp_path)
    with pytest.raises(
        ValueError, match=r"parquet: corrupt pictures or blank sketches \(2\): .*Leave them out with skip_corrupt"
    ):
        load(**arguments, verify=True)
    splits = load(**arguments, skip_corrupt=True)
    assert sorted(f for rows in splits.values() for f in rows["file"]) == sorted(set(FOLDER_FILES) - BAD.keys())
    assert "left out, corrupt pictures or blank sketches (2): photo/fox/3.png, sketch/owl/2.png" in capsys.readouterr().out
    assert splits["train"][0]["image"].size == (8, 8)


def test_a_parquet_folder_of_something_else_says_so(tmp_path):
    datasets.Dataset.from_dict({"label": [0, 1]}).to_parquet(tmp_path / "data/train.parquet")
    with pytest.raises(ValueError, match="split train has no column image, modality, file: this is no published benchmark"):
        load(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"), verify=True)


@pytest.mark.parametrize("keep, zeros", [(0.5, 0), (0.5, 2000)])
def test_a_damaged_parquet_file_is_told_in_one_line(source, tmp_path, keep, zeros):
    arguments = source("parquet")
    file = next((tmp_path / "parquet").rglob("test-*.parquet"))
    content = file.read_bytes()
    half = int(len(content) * keep)
    file.write_bytes(content[:half] + (bytes(zeros) + content[half + zeros :] if zeros else b""))
    with pytest.raises(ValueError, match=r"^.*/parquet cannot be read: [^\n]* Download or publish it again\.$"):
        load(**arguments)


# openmoji: what training and evaluation make of it


def test_the_generalized_gallery_of_openmoji_holds_each_picture_once(source):
    splits = load(**source("openmoji"))
    files = [file for gallery in make_benchmark(splits, "test", generalized=True).galleries for file in gallery.files]
    assert len(files) == len(set(files)) == 791


def test_training_on_validation_too_doubles_no_photo(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    apart, joined = (load_splits(DataOptions(train_on_validation=flag)) for flag in (False, True))
    assert len(joined["train"]) == len(set(joined["train"]["file"])) == len(apart["train"]) + len(apart["validation"])


def test_held_out_drawings_search_the_photos_of_train(source):
    splits = load(**source("openmoji"))
    benchmark = make_benchmark(splits, "validation")
    photo = splits["train"].features["modality"].str2int("photo")
    expected = [row["file"] for row in splits["train"].remove_columns("image") if row["modality"] == photo]
    assert benchmark.galleries[0].files == expected and len(benchmark.galleries) == 1
    assert benchmark.queries.files == splits["validation"]["file"][:]


def test_held_out_sketches_search_the_photos_of_train_where_none_are_held_out(source):
    splits = load(**source("folder"), validation_photos=0)
    benchmark = make_benchmark(splits, "validation")
    assert (len(benchmark.queries), len(benchmark.gallery_labels)) == (4, 20)
