"""The builders of Sketchy, TU-Berlin and QuickDraw: layouts, splits, the folder check, the cache.

pytest tests/dataset_scripts/test_benchmark_builders.py
"""

import os
from pathlib import Path

import datasets
import pytest
from benchmark_trees import QUICKDRAW_LINES, SKETCHY_LINES, TUBERLIN_LINES, counts, make_tree, paths, picture, rename

from dataset_scripts import load, load_descriptions
from dataset_scripts.core.builder import ZeroShotConfig
from dataset_scripts.core.splits import ZeroShotSplit, read_split, stem
from dataset_scripts.quickdraw import QuickDraw
from dataset_scripts.sketchy import SKETCHY, Sketchy

SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[3] / "shared"))
READY = ("tx_000000000000_ready", "tx_000000000000")

SKETCHY_LAYOUTS = {
    "SAKE": [],
    "archive": [READY, ("EXTEND_image_sketchy_ready", "EXTEND_image_sketchy")],
    "sem-pcyc": [READY, ("256x256/", ""), ("EXTEND_image_sketchy_ready", "extended_photo")],
    "inside Sketchy": [("256x256/", "Sketchy/256x256/"), ("EXTEND_image", "Sketchy/EXTEND_image")],
}
TUBERLIN_LAYOUTS = {
    "SAKE": [],
    "archive": [
        ("png_ready", "png"),
        ("ImageResized_ready/wrist-watch", "ImageResized/wristwatching"),
        ("ImageResized_ready/mouse (animal)", "ImageResized/mouse"),
        ("ImageResized_ready/frying-pan", "ImageResized/fryingpan"),
        ("ImageResized_ready", "ImageResized"),
    ],
    "doodle2search": [
        ("png_ready", "sketches"),
        ("ImageResized_ready", "images"),
        ("wrist-watch", "wrist_watch"),
        ("mouse (animal)", "mouse_(animal)"),
        ("frying-pan", "frying_pan"),
        (".JPEG", ".jpg"),
    ],
}
QUICKDRAW_LAYOUTS = {
    "ZSE-SBIR": [],
    "doodle2search": [
        ("sketches/", "QuickDraw_sketches_final/"),
        ("images/", "QuickDraw_images_final/"),
        ("palm tree", "palm_tree"),
    ],
    "doodle2search test": [
        ("sketches/", "QuickDraw_sketches/"),
        ("images/", "EXTEND_image_quickdraw/"),
        ("_hydrant", " hydrant"),
    ],
}
# What each layout gives: split -> (sketches, photos). In Sketchy the two held-out sketches of a pig, the banana's and one of
# the turtle's are on SAKE's list, as TU-Berlin's 19858, 19843, 10841 and 570; the rule holds out one of two or more photos.
CASES = [
    ("sketchy", "100_25", SKETCHY_LINES, SKETCHY_LAYOUTS, {"train": (3, 4), "validation": (4, 1), "test": (2, 3)}),
    ("tuberlin", "220_30", TUBERLIN_LINES, TUBERLIN_LAYOUTS, {"train": (3, 3), "validation": (4, 0), "test": (3, 4)}),
    ("quickdraw", "80_30", QUICKDRAW_LINES, QUICKDRAW_LAYOUTS, {"train": (3, 2), "test": (4, 5)}),
]


def build(name, root, config=None, **options):
    return load(
        name, config=config, data_dir=str(root), cache_dir=str(root.parent / "cache"), **{"allow_partial": True, **options}
    )


def pictures(split):
    """(class, file stem) of every row."""
    rows, names = split.remove_columns("image"), split.features["label"].names
    return {(names[row["label"]], stem(os.path.basename(row["file"]))) for row in rows}


@pytest.mark.parametrize(
    "name, config, lines, pairs, expected",
    [pytest.param(n, c, lines, pairs, e, id=f"{n} {k}") for n, c, lines, layouts, e in CASES for k, pairs in layouts.items()],
)
def test_layouts_give_the_published_splits(tmp_path, name, config, lines, pairs, expected):
    root = make_tree(tmp_path / "data", rename(paths(lines), *pairs))
    splits = build(name, root, config)
    assert counts(splits) == {split: n for split, n in expected.items() if sum(n)}
    unseen = set(read_split(name, config).unseen)
    listed = {(p.split("/")[-2], stem(os.path.basename(p))) for p in paths(lines)}
    assert pictures(splits["test"]) == {picture for picture in listed if picture[0] in unseen}
    assert pictures(splits["train"]) | (pictures(splits["validation"]) if "validation" in splits else set()) == {
        picture for picture in listed if picture[0] not in unseen
    }


@pytest.mark.parametrize("pairs", SKETCHY_LAYOUTS.values(), ids=SKETCHY_LAYOUTS)
def test_hold_out_does_not_depend_on_the_layout(tmp_path, pairs):
    splits = build("sketchy", make_tree(tmp_path / "data", rename(paths(SKETCHY_LINES), *pairs)), "100_25")
    held = {stem(os.path.basename(file)) for file in splits["validation"]["file"]}
    assert {"n02395406_3133-2", "n02395406_8513-2", "n07753592_5847-7", "n01669191_5438-3"} < held
    assert len(held) == 5


def test_columns(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    splits = build("sketchy", root, "104_21")
    row = splits["train"][0]
    assert list(row) == ["image", "modality", "label", "descriptions", "file", "instance"]
    features = splits["train"].features
    assert features["modality"].names == ["sketch", "photo"]
    assert len(features["label"].names) == 125
    assert features["label"].names[104:] == Sketchy(config_name="104_21").config.split.unseen
    assert row["descriptions"] == load_descriptions("sketchy")[features["label"].int2str(row["label"])]
    assert len(row["descriptions"]) == 5
    assert row["image"].size == (8, 8)
    raw = splits["train"].cast_column("image", datasets.Image(decode=False))
    for item in raw:
        assert item["image"]["path"] == os.path.join(root, item["file"])
        assert item["image"]["bytes"] is None  # the cache holds paths, not copies


def test_one_copy_of_doubled_photos_or_both(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    once, twice = (build("sketchy", root, "100_25", duplicates=d, validation_photos=0.3) for d in (False, True))
    photos = [f for split in once.values() for f in split["file"] if f.endswith(".jpg")]
    assert all(f.startswith("EXTEND") for f in photos) and len(photos) == 8
    every = {name: [f for f in split["file"] if f.endswith(".jpg")] for name, split in twice.items()}
    assert sorted(f for files in every.values() for f in files) == sorted(p for p in paths(SKETCHY_LINES) if p.endswith(".jpg"))
    sides = [{os.path.basename(f) for f in every[name]} for name in ("train", "validation")]
    assert not sides[0] & sides[1]  # both copies of a photo fall on the same side


def test_originals_alone_are_read_where_the_extended_photos_are_absent(tmp_path):
    files = [p for p in paths(SKETCHY_LINES) if not p.startswith("EXTEND")]
    splits = build("sketchy", make_tree(tmp_path / "data", files), "100_25")
    assert sorted(f for s in splits.values() for f in s["file"]) == sorted(files)


def test_no_validation_photos_trains_on_all(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    assert counts(build("sketchy", root, "100_25", validation_photos=0.0))["validation"] == (4, 0)


def test_streaming_gives_the_same_rows(tmp_path):
    root = make_tree(tmp_path / "data", paths(QUICKDRAW_LINES))
    splits = build("quickdraw", root)
    streamed = QuickDraw(data_dir=str(root), allow_partial=True, cache_dir=str(tmp_path / "cache")).as_streaming_dataset()
    for name, split in splits.items():
        rows = list(streamed[name])
        assert [row["file"] for row in rows] == split["file"][:]
        assert [row["image"].tobytes() for row in rows] == [image.tobytes() for image in split["image"]]


def test_partial_folder_stops_and_says_what_is_missing(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES) + ["EXTEND_image_sketchy_ready/wind_mil/a.jpg"])
    (root / "256x256/sketch/tx_000000000000_ready/spaceship").mkdir()
    with pytest.raises(ValueError, match="allow_partial=True") as error:
        build("sketchy", root, "100_25", allow_partial=False)
    text = str(error.value)
    assert "256x256/sketch/tx_000000000000_ready: 4 of 125 classes, 9 of 75,481 files  <- fewer than published" in text
    assert "missing classes (121; 24 of the 25 unseen): airplane, alarm_clock, ant," in text
    assert "classes without a photo (1; 0 of the 25 unseen): banana" in text
    assert "misspelt? EXTEND_image_sketchy_ready/wind_mil: the nearest missing class is 'windmill'" in text
    assert "not in the class lists (1): 256x256/sketch/tx_000000000000_ready/spaceship" in text
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.arrow"))


def test_check_is_printed_before_building(tmp_path, capsys):
    build("tuberlin", make_tree(tmp_path / "data", paths(TUBERLIN_LINES)))
    out = capsys.readouterr().out
    assert out.startswith(f"TU-Berlin 220_30 in {tmp_path / 'data'}\n")
    assert "png_ready: 5 of 250 classes, 10 of 20,000 files" in out
    assert "ImageResized_ready: 5 of 250 classes, 7 of 204,489 files" in out


def test_empty_and_truncated_files_are_named(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    empty = "EXTEND_image_sketchy_ready/bell/ext_63.jpg"
    cut = "EXTEND_image_sketchy_ready/bell/ext_205.jpg"
    (root / empty).write_bytes(b"")
    whole = picture(".jpg", size=200)
    (root / cut).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"corrupt or unreadable \(1\): " + empty + r" \(empty\)"):
        build("sketchy", root, "100_25")
    with pytest.raises(ValueError, match=rf"corrupt or unreadable \(2\): {cut} \(does not decode\), {empty} \(empty\)"):
        build("sketchy", root, "100_25", verify=True)
    splits = build("sketchy", root, "100_25", skip_corrupt=True)  # finds what it leaves out, without verify too
    kept = {f for split in splits.values() for f in split["file"]}
    assert not kept & {empty, cut}
    assert len(kept) == len(paths(SKETCHY_LINES)) - 2 - 3  # and the three second copies


def test_changed_files_give_new_rows(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    old = build("sketchy", root, "100_25")["test"]["file"][:]
    added = root / "EXTEND_image_sketchy_ready/bell/ext_999.jpg"
    added.write_bytes(picture(".jpg"))
    new = build("sketchy", root, "100_25")["test"]["file"][:]
    assert set(new) - set(old) == {"EXTEND_image_sketchy_ready/bell/ext_999.jpg"}
    added.unlink()
    assert build("sketchy", root, "100_25")["test"]["file"][:] == old


def test_cache_key_follows_files_lists_hold_out_and_texts(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))

    def key(**changes):
        config = ZeroShotConfig(name="100_25", benchmark=SKETCHY, data_dir=str(root))
        for name, value in changes.items():
            config.__dict__[name] = value  # fills the cached property
        return config.create_config_id({"data_dir": str(root)})

    split = ZeroShotConfig(name="100_25", benchmark=SKETCHY).split
    keys = [
        key(),
        key(split=ZeroShotSplit(split.seen[1:], split.unseen + split.seen[:1], split.held_out)),
        key(split=ZeroShotSplit(split.seen, split.unseen, None)),
        key(descriptions={"pig": ["Pink."]}),
    ]
    (root / paths(SKETCHY_LINES)[0]).touch()
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key() == keys[-1]


def test_same_folder_is_read_from_the_cache(tmp_path, capsys):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    build("sketchy", root, "100_25")
    first = capsys.readouterr().out
    build("sketchy", root, "100_25")
    assert "Sketchy 100_25 in" in first
    assert "Sketchy 100_25 in" not in capsys.readouterr().out


def test_benchmark_without_a_folder_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="doodle2search: QuickDraw_sketches_final.zip"):
        load("quickdraw", cache_dir=str(tmp_path))


@pytest.mark.parametrize("name, classes", [("sketchy", 125), ("tuberlin", 250), ("quickdraw", 110)])
def test_every_class_has_five_texts(name, classes):
    texts = load_descriptions(name)
    assert len(texts) == classes
    assert {len(t) for t in texts.values()} == {5}
    assert all(text.endswith(".") and len(text.split()) >= 10 for t in texts.values() for text in t)


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data/Sketchy").is_dir(), reason="the shared folder is absent")
def test_real_part_of_sketchy(tmp_path, capsys):
    splits = load("sketchy", data_dir=str(SHARED / "data/Sketchy"), cache_dir=str(tmp_path), allow_partial=True)
    assert counts(splits) == {"train": (2080, 2392), "validation": (520, 208)}
    out = capsys.readouterr().out
    absent = ", ".join(sorted(Sketchy(config_name="104_21").config.split.unseen))
    assert f"missing classes (21; 21 of the 21 unseen): {absent}" in out
    assert "split test has no picture and is left out" in out
    assert splits["validation"][0]["image"].size == (256, 256)
    with pytest.raises(ValueError, match=rf"missing classes \(21; 21 of the 21 unseen\): {absent}"):
        load("sketchy", data_dir=str(SHARED / "data/Sketchy"), cache_dir=str(tmp_path / "other"))
