"""Which sketch shows which photo: the column `instance`.

python -m pytest tests/dataset_scripts/test_pairs.py
"""

import os
from pathlib import Path

import datasets
import pytest
from benchmark_trees import QUICKDRAW_LINES, TUBERLIN_LINES, make_tree, paths

from dataset_scripts import load
from dataset_scripts.core.layouts import Pairing
from dataset_scripts.core.pairs import Pairs
from dataset_scripts.core.scan import scan
from dataset_scripts.folder import Folder
from dataset_scripts.parquet import publish
from dataset_scripts.parquet.publish import PublishArguments
from dataset_scripts.sketchy import SKETCHY, Sketchy

SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[3] / "shared"))
SKETCH, PHOTO, EXTENDED = "256x256/sketch/tx_000000000000", "256x256/photo/tx_000000000000", "EXTEND_image_sketchy"
# Names in the archive's form and odd ones -> the name that pairs them; classes with an underscore, a bracket and a dash.
SKETCHES = {
    "car_(sedan)/n02958343_10151-3.png": "n02958343_10151",
    "car_(sedan)/n02958343_10151-12.png": "n02958343_10151",  # two digits
    "car_(sedan)/n02958343_1015-1.png": "n02958343_1015",  # the start of another name
    "car_(sedan)/n02958343_77-1.png": "n02958343_77",  # whose photo is not there
    "hot-air_balloon/n02782093_5-1.PNG": "n02782093_5",
    "hot-air_balloon/a-b-c_7-2.png": "a-b-c_7",  # several dashes
    "hot-air_balloon/a-b-c_7-2-1.png": "a-b-c_7-2",  # of a photo that ends as a sketch does
    "hot-air_balloon/v1.2_9-4.png": "v1.2_9",  # several dots
    "hot-air_balloon/lonely.png": "lonely",  # without a number
    "hot-air_balloon/n02782093_5-x.png": "n02782093_5-x",  # without a number either
    "jack-o-lantern/n02958343_10151-1.png": "n02958343_10151",  # the name of a photo of another class
    "jack-o-lantern/cafe\u0301-1.png": "caf\u00e9",  # an accent that is typed in another way
}
PHOTOS = {
    "car_(sedan)/n02958343_10151.jpg": "n02958343_10151",
    "car_(sedan)/n02958343_1015.JPG": "n02958343_1015",
    "car_(sedan)/n02958343_4.jpg": None,  # nobody drew it
    "hot-air_balloon/n02782093_5.jpeg": "n02782093_5",
    "hot-air_balloon/a-b-c_7.jpg": "a-b-c_7",
    "hot-air_balloon/a-b-c_7-2.jpg": "a-b-c_7-2",
    "hot-air_balloon/v1.2_9.jpg": "v1.2_9",
    "jack-o-lantern/caf\u00e9.jpg": "caf\u00e9",
}
EXTENDED_ONLY = {"car_(sedan)/ext_3.jpg": None, "jack-o-lantern/ext_1.jpg": None}


def sketchy_tree(root: Path) -> Path:
    files = [f"{SKETCH}/{name}" for name in SKETCHES] + [f"{PHOTO}/{name}" for name in PHOTOS]
    return make_tree(root, files + [f"{EXTENDED}/{name}" for name in (*EXTENDED_ONLY, *PHOTOS)])


def build(root: Path, name: str = "sketchy", **options) -> datasets.DatasetDict:
    return load(name, data_dir=str(root), cache_dir=str(root.parent / "cache"), allow_partial=True, **options)


def instances(splits) -> dict[str, str | None]:
    """File -> instance, of all splits."""
    return {file: name for split in splits.values() for file, name in zip(split["file"], split["instance"])}


def expected(duplicates: bool) -> dict[str, str | None]:
    rows = {f"{SKETCH}/{file}": name for file, name in SKETCHES.items()}
    rows |= {f"{EXTENDED}/{file}": name for file, name in {**PHOTOS, **EXTENDED_ONLY}.items()}
    return rows | ({f"{PHOTO}/{file}": name for file, name in PHOTOS.items()} if duplicates else {})


@pytest.mark.parametrize("duplicates", [False, True])
def test_pairs_on_sketchy_s_odd_names(tmp_path, duplicates):
    splits = build(sketchy_tree(tmp_path / "data"), duplicates=duplicates)
    assert splits["train"].features["instance"] == datasets.Value("string")
    assert instances(splits) == expected(duplicates)


def test_sketches_whose_photo_is_missing_are_counted_and_named(tmp_path, capsys):
    build(sketchy_tree(tmp_path / "data"))
    alone = ("car_(sedan)/n02958343_77-1.png", "hot-air_balloon/lonely.png", "hot-air_balloon/n02782093_5-x.png")
    named = capsys.readouterr().out.partition("  sketches whose photo is not there (4): ")[2].splitlines()[0].split(", ")
    assert sorted(named) == [f"{SKETCH}/{file}" for file in (*alone, "jack-o-lantern/n02958343_10151-1.png")]


def test_a_corrupt_photo_is_missing_and_its_sketches_keep_their_name(tmp_path, capsys):
    root = sketchy_tree(tmp_path / "data")
    for source in (PHOTO, EXTENDED):
        (root / source / "car_(sedan)/n02958343_1015.JPG").write_bytes(b"no picture")
    splits = build(root, skip_corrupt=True)
    assert instances(splits)[f"{SKETCH}/car_(sedan)/n02958343_1015-1.png"] == "n02958343_1015"
    assert f"{SKETCH}/car_(sedan)/n02958343_1015-1.png, " in capsys.readouterr().out.partition("photo is not there (5):")[2]


def test_the_hold_out_does_not_part_a_pair_s_names(tmp_path):
    files = [f"{SKETCH}/airplane/n0_{i}-{j}.png" for i in range(10) for j in (1, 2)]
    splits = build(make_tree(tmp_path / "data", files + [f"{PHOTO}/airplane/n0_{i}.jpg" for i in range(10)]))
    assert set(splits) == {"train", "validation"}
    names = instances(splits)
    assert len(names) == 30 and all(name == Path(file).stem.partition("-")[0] for file, name in names.items())


def test_a_published_data_set_has_the_pairs(tmp_path):
    root, out = sketchy_tree(tmp_path / "data"), tmp_path / "out"
    arguments = PublishArguments(data_dir=str(root), allow_partial=True, duplicates=True, dataset_config=["104_21"])
    publish.publish(Sketchy, arguments, str(out))
    splits = load(str(out), "104_21", cache_dir=str(tmp_path / "cache"))
    assert instances(splits) == expected(True) and "| `instance` | string |" in (out / "README.md").read_text()
    assert splits["train"].features["instance"] == datasets.Value("string")


# --------------------------------------------------------------------------------------------------- one's own folder

OWN = {  # sketches and photos of a class "red car" -> instance
    "sketch/red car/a.png": "a",
    "sketch/red car/a-1.png": "a",
    "sketch/red car/b-2.png": "b-2",  # a photo of the whole name comes first
    "sketch/red car/b-3.png": "b",
    "sketch/red car/A.png": None,  # case counts
    "sketch/red car/c-1.svg": "c",
    "sketch/red car/d.png": None,  # no such photo
    "photo/Red_car/a.JPG": "a",
    "photo/Red_car/b.jpg": "b",
    "photo/Red_car/b-2.jpg": "b-2",
    "photo/Red_car/c.webp": "c",
    "photo/Red_car/e.jpg": None,  # no such sketch
}


def test_a_folder_pairs_what_is_called_alike(tmp_path):
    root = make_tree(tmp_path / "data", [file for file in OWN if not file.endswith((".svg", ".webp"))])
    for file in ("sketch/red car/c-1.svg", "photo/Red_car/c.webp"):
        (root / file).write_bytes(b"not read here")
    config = Folder(data_dir=str(root), unseen=[]).config
    assert {
        f"{part.folder}/{file}": name
        for part in config.listing.classes
        for file, name in zip(part.files, config.pairs.of(part))
    } == OWN
    assert config.pairs.without_photo(config.listing) == []  # that a sketch has no photo is nothing that is missing


def test_a_folder_without_pairs(tmp_path, capsys):
    root = make_tree(tmp_path / "data", [f"{m}/{c}/{m}{i}.png" for m in ("sketch", "photo") for c in "abc" for i in range(4)])
    assert set(instances(build(root, "folder")).values()) == {None}
    assert "photo is not there" not in capsys.readouterr().out


@pytest.mark.parametrize("name, lines", [("tuberlin", TUBERLIN_LINES), ("quickdraw", QUICKDRAW_LINES)])
def test_benchmarks_without_pairs(tmp_path, capsys, name, lines):
    splits = build(make_tree(tmp_path / "data", paths(lines)), name)
    assert set(instances(splits).values()) == {None}
    assert "photo is not there" not in capsys.readouterr().out


def test_without_pairing_equal_names_are_no_pair(tmp_path):
    listing = scan(str(sketchy_tree(tmp_path)), SKETCHY, ["car_(sedan)"])
    assert all(set(Pairs(listing, Pairing.NONE).of(part)) == {None} for part in listing.classes)


@pytest.mark.skipif(not (SHARED / "data" / "Sketchy").is_dir(), reason="needs a part of Sketchy")
def test_every_sketch_of_the_archive_has_its_photo(tmp_path, capsys):
    builder = Sketchy(config_name="fold_4", data_dir=str(SHARED / "data" / "Sketchy"), allow_partial=True)
    builder.check()
    assert "photo is not there" not in capsys.readouterr().out
    parts = builder.config.listing.classes
    of = {m: [n for p in parts if p.source.modality == m for n in builder.config.pairs.of(p)] for m in ("sketch", "photo")}
    assert len(of["sketch"]) == 2600 and None not in of["sketch"]
    assert len(of["photo"]) == 2600 and sum(name is not None for name in of["photo"]) == 482
