"""Class lists, layouts, spellings, the scan and the hold-out rule.

pytest tests/dataset_scripts/test_layouts.py
"""

import os
from pathlib import Path

import pytest
from benchmark_trees import SKETCHY_LINES, make_tree, paths

from dataset_scripts.core.layouts import ClassNames, Source, normalise
from dataset_scripts.core.scan import ClassFolder, Listing, scan
from dataset_scripts.core.splits import first_by_hash, held_out_photos, held_out_sketches, read_split, split_rows
from dataset_scripts.quickdraw import QUICKDRAW, QuickDraw
from dataset_scripts.sketchy import SKETCHY, Sketchy
from dataset_scripts.tuberlin import TUBERLIN, TUBerlin

PACKAGE_SPLITS = Path(__file__).parents[2] / "dataset_scripts" / "splits"
SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[3] / "shared"))
CONFIGS = [(b, c.name) for b in (Sketchy, TUBerlin, QuickDraw) for c in b.BUILDER_CONFIGS if c.published]
SIZES = {
    ("sketchy", "104_21"): (104, 21),
    ("sketchy", "100_25"): (100, 25),
    ("sketchy", "100_25_sempcyc"): (100, 25),
    ("tuberlin", "220_30"): (220, 30),
    ("tuberlin", "220_30_sempcyc"): (220, 30),
    ("quickdraw", "80_30"): (80, 30),
}


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "splits").is_dir(), reason="the shared folder is absent")
@pytest.mark.parametrize(
    "name", sorted(p.name for p in PACKAGE_SPLITS.glob("*_*_*_t*.txt") if not p.name.startswith(("openmoji", "sketchy_fold")))
)
def test_class_lists_are_the_official_ones(name):
    assert (PACKAGE_SPLITS / name).read_bytes() == (SHARED / "splits" / name).read_bytes()


def test_every_official_list_is_in_the_package():
    lists = {p.name for p in PACKAGE_SPLITS.glob("*_t*.txt")}
    for name, config in SIZES:
        assert {f"{name}_{config}_train.txt", f"{name}_{config}_test.txt"} <= lists


@pytest.mark.parametrize("builder, config", CONFIGS)
def test_seen_and_unseen_are_disjoint(builder, config):
    name = builder.BUILDER_CONFIGS[0].benchmark.name
    split = read_split(name, config)
    assert (len(split.seen), len(split.unseen)) == SIZES[name, config]
    assert not set(split.seen) & set(split.unseen)
    assert len(set(split.classes)) == sum(SIZES[name, config])
    assert split.classes == split.seen + split.unseen


def test_configs_of_a_benchmark_split_the_same_classes():
    for name, configs in (("sketchy", ["104_21", "100_25", "100_25_sempcyc"]), ("tuberlin", ["220_30", "220_30_sempcyc"])):
        assert len({frozenset(read_split(name, config).classes) for config in configs}) == 1


def test_splits_that_share_a_name_do_not_share_their_classes():
    sake, sempcyc = (set(read_split("sketchy", c).unseen) for c in ("100_25", "100_25_sempcyc"))
    assert sake & sempcyc == {"bell", "squirrel", "tank", "wheelchair"}
    sake, sempcyc = (set(read_split("tuberlin", c).unseen) for c in ("220_30", "220_30_sempcyc"))
    assert sake & sempcyc == {"rollerblades"}


@pytest.mark.parametrize(
    "config, per_class, line, length",
    [
        (("sketchy", "100_25"), 50, "256x256/sketch/tx_000000000000_ready/{}/{}.png {}\n", 342_763),
        (("tuberlin", "220_30"), 10, "png_ready/{}/{}.png {}\n", 68_573),
    ],
)
def test_published_hold_out_lists(config, per_class, line, length):
    split = read_split(*config)
    assert list(split.held_out) == split.seen
    assert {len(stems) for stems in split.held_out.values()} == {per_class}
    # Written in SAKE's form, the list is as long as SAKE's.
    assert sum(len(line.format(c, s, i)) for i, (c, stems) in enumerate(split.held_out.items()) for s in stems) == length


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data/Sketchy").is_dir(), reason="the shared folder is absent")
def test_published_sketchy_hold_out_names_real_files():
    """The shared part has the first 25 sketches of a class by name; held-out names up to the last of them must be there."""
    found = 0
    for label, stems in read_split("sketchy", "100_25").held_out.items():
        folder = SHARED / "data/Sketchy/256x256/sketch/tx_000000000000" / label
        files = sorted(p.name for p in folder.glob("*.png"))
        due = {f"{s}.png" for s in stems if files and f"{s}.png" <= files[-1]}
        assert due <= set(files)
        found += len(due)
    assert found == 165


def test_published_tuberlin_hold_out_is_in_the_archive():
    """The archive numbers its 20,000 sketches through, 80 a class, classes in alphabetical order."""
    split = read_split("tuberlin", "220_30")
    order = sorted(split.classes)
    for label, stems in split.held_out.items():
        assert {order[(int(s) - 1) // 80] for s in stems} == {label}


@pytest.mark.parametrize("benchmark, config", [(SKETCHY, "104_21"), (TUBERLIN, "220_30"), (QUICKDRAW, "80_30")])
def test_no_two_classes_look_alike(benchmark, config):
    classes = read_split(benchmark.name, config).classes
    assert len({normalise(name) for name in classes}) == len(classes)
    assert set(benchmark.aliases.values()) <= set(classes)
    assert not {normalise(alias) for alias in benchmark.aliases} & {normalise(name) for name in classes}


@pytest.mark.parametrize(
    "benchmark, config, folder, label",
    [
        (SKETCHY, "104_21", "hot-air_balloon", "hot-air_balloon"),
        (SKETCHY, "104_21", "hot_air_balloon", "hot-air_balloon"),
        (SKETCHY, "104_21", "jack_o_lantern", "jack-o-lantern"),
        (SKETCHY, "104_21", "car_(sedan)", "car_(sedan)"),
        (TUBERLIN, "220_30", "fryingpan", "frying-pan"),
        (TUBERLIN, "220_30", "frying_pan", "frying-pan"),
        (TUBERLIN, "220_30", "bearanimal", "bear (animal)"),
        (TUBERLIN, "220_30", "bear_(animal)", "bear (animal)"),
        (TUBERLIN, "220_30", "mouse", "mouse (animal)"),
        (TUBERLIN, "220_30", "computermouse", "computer-mouse"),
        (TUBERLIN, "220_30", "pipe", "pipe (for smoking)"),
        (TUBERLIN, "220_30", "tromobone", "trombone"),
        (TUBERLIN, "220_30", "griaffe", "giraffe"),
        (TUBERLIN, "220_30", "chandeler", "chandelier"),
        (TUBERLIN, "220_30", "wristwatching", "wrist-watch"),
        (TUBERLIN, "220_30", "spacesshuttle", "space shuttle"),
        (QUICKDRAW, "80_30", "palm_tree", "palm tree"),
        (QUICKDRAW, "80_30", "fire hydrant", "fire_hydrant"),
        (QUICKDRAW, "80_30", "crocodile", None),
    ],
)
def test_spellings(benchmark, config, folder, label):
    assert ClassNames(read_split(benchmark.name, config).classes, benchmark.aliases).resolve(folder) == label


def test_nearest_class():
    names = ClassNames(["windmill", "wheelchair", "bat"])
    assert names.nearest("wind_mil", ["windmill", "bat"]) == "windmill"
    assert names.nearest("wind_mil", ["bat"]) is None
    assert names.nearest("spaceship", ["windmill", "wheelchair", "bat"]) is None


def test_two_classes_that_look_alike_are_an_error():
    with pytest.raises(ValueError, match="differ only by case"):
        ClassNames(["palm tree", "palm_tree"])


def test_absent_folder_names_what_is_accepted(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        scan(str(tmp_path / "nowhere"), SKETCHY, ["bat"])
    text = str(error.value)
    assert "does not exist" in text
    for accepted in (
        "256x256/sketch/tx_000000000000_ready/<class>/",
        "EXTEND_image_sketchy/<class>/",
        "extended_photo/<class>/",
    ):
        assert accepted in text
    assert "The Sketchy Database, http://sketchy.eye.gatech.edu" in text
    with pytest.raises(FileNotFoundError, match="holds none of its folders"):
        scan(str(tmp_path), TUBERLIN, ["bat"])


def test_fingerprint_follows_every_change(tmp_path):
    make_tree(tmp_path, paths(SKETCHY_LINES))
    classes = read_split("sketchy", "100_25").classes
    pig = tmp_path / "256x256/sketch/tx_000000000000_ready/pig/n02395406_3133-2.png"

    def fingerprint():
        return scan(str(tmp_path), SKETCHY, classes).fingerprint()

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    pig.write_bytes(pig.read_bytes() + b"x")
    seen.append(fingerprint())
    os.utime(pig, ns=(1, 1))
    seen.append(fingerprint())
    pig.rename(pig.with_name("other.png"))
    seen.append(fingerprint())
    (pig.parent / "more.png").write_bytes(b"x")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)
    (pig.parent / "notes.txt").write_bytes(b"x")
    (pig.parent / "._hidden.png").write_bytes(b"x")
    assert fingerprint() == seen[-1]


def test_first_form_of_a_folder_is_read_and_the_other_named(tmp_path):
    make_tree(tmp_path, ["png_ready/horse/1.png", "png/horse/1.png", "png/horse/2.png", "images/horse/3.jpg"])
    listing = scan(str(tmp_path), TUBERLIN, ["horse"])
    assert listing.roots == {"sketches": "png_ready", "photos": "images"}
    assert listing.passed_over == ["png"]
    assert [(part.folder, part.files) for part in listing.classes] == [
        ("png_ready/horse", ["1.png"]),
        ("images/horse", ["3.jpg"]),
    ]


def test_hold_out_rule_is_fixed():
    """A change here changes every split that was ever reported."""
    stems = {f"n{i}" for i in range(10)}
    assert first_by_hash("owl", stems, 3) == {"n5", "n7", "n8"}
    assert first_by_hash("owl", stems | {"n10", "n11"}, 12) == stems | {"n10", "n11"}
    assert first_by_hash("bat", stems, 3) != first_by_hash("owl", stems, 3)


def test_hold_out_sizes():
    split = read_split("sketchy", "104_21")
    stems = {str(i) for i in range(600)}
    assert len(held_out_sketches("owl", stems, split, 50)) == 50
    assert len(held_out_sketches("owl", set(list(stems)[:25]), split, 50)) == 5
    assert len(held_out_photos("owl", stems, 0.1)) == 60
    assert len(held_out_photos("owl", {"a", "b"}, 0.1)) == 1
    assert held_out_photos("owl", {"a"}, 0.1) == set()
    assert held_out_photos("owl", stems, 0.0) == set()


def spread(total: int, classes: list[str], source: Source, prefix: str) -> list[ClassFolder]:
    """`total` file names over `classes`, as evenly as it goes."""
    share, rest = divmod(total, len(classes))
    sizes = [share + (i < rest) for i in range(len(classes))]
    return [
        ClassFolder(label, source, f"{source.role}/{label}", [f"{prefix}{i}.png" for i in range(size)])
        for label, size in zip(classes, sizes)
    ]


@pytest.mark.parametrize(
    "config, sketches, extended, train, validation, test",
    [
        ("100_25", (60_252, 15_229), (58_401, 14_601), (55_252, 68_401), (5_000, 0), (15_229, 17_101)),
        ("104_21", (62_787, 12_694), (62_549, 10_453), (57_587, 72_949), (5_200, 0), (12_694, 12_553)),
    ],
)
def test_published_row_counts_of_sketchy(config, sketches, extended, train, validation, test):
    """An archive of the published size gives ZSE-SBIR's list lengths, both copies of the 12,500 originals included."""
    split = read_split("sketchy", config)
    split = type(split)(split.seen, split.unseen)  # file names are invented, so the rule chooses
    drawn, original, extra = SKETCHY.sources
    parts = []
    for side, classes in enumerate((split.seen, split.unseen)):
        originals = 100 * len(classes)
        parts += spread(sketches[side], classes, drawn, "s")
        parts += spread(originals, classes, original, "p")
        for part in spread(extended[side], classes, extra, "p"):  # the originals are among the extended photos
            parts.append(part)
    listing = Listing("", {}, classes=parts)

    def counts(rows, name):
        return tuple(sum(len(p.files) for p in rows[name] if p.source.modality == m) for m in ("sketch", "photo"))

    published = split_rows(listing, SKETCHY, split, validation_photos=0, duplicates=True)
    assert [counts(published, name) for name in ("train", "validation", "test")] == [train, validation, test]
    once = split_rows(listing, SKETCHY, split, validation_photos=0, duplicates=False)
    assert counts(once, "test") == (test[0], extended[1])
    assert counts(once, "train") == (train[0], extended[0])
    held = split_rows(listing, SKETCHY, split, validation_photos=0.1, duplicates=False)
    assert counts(held, "train")[1] + counts(held, "validation")[1] == extended[0]
    assert abs(counts(held, "validation")[1] - 0.1 * extended[0]) <= len(split.seen) / 2
