"""What a model finds of drawings on paper.  python -m pytest tests/benchmarks/test_paper.py"""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from running import shapes
from tiny import caan_model, image_processor, sketch

from benchmarks import paper
from benchmarks.paper import measure, summary, write
from benchmarks.paper_lines import skeleton, thin_lines
from benchmarks.paper_pictures import PaperOptions, chosen_rows, on_surfaces, shared_cases
from benchmarks.paper_score import draw_sheet, likeness, score, turned
from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.data.surfaces import SURFACES
from caan.options import DataOptions


@pytest.fixture(scope="module")
def benchmark():
    return make_benchmark(load_splits(DataOptions(dataset="folder", data_dir=str(shapes()))), "test")


@pytest.fixture
def cases(tmp_path):
    """A file like the shared one, with one condition that shows the drawing and one that is blank."""
    file = tmp_path / "scans_gen.py"
    file.write_text(
        "from PIL import Image\n"
        "def conditions(drawing, seed=0):\n"
        "    return {'as it is': drawing.convert('RGB'), f'blank {seed > -1}': Image.new('RGB', (9, 9), 'white')}\n"
    )
    return file


def options(tmp_path, cases, **fields) -> PaperOptions:
    return PaperOptions(
        **{"cases": str(cases), "output_dir": str(tmp_path), "only": ["scan", "as it is", "blank True"], **fields}
    )


def test_rows_are_spread_evenly():
    assert chosen_rows(100, 5) == [0, 25, 50, 74, 99]
    assert chosen_rows(4, 0) == [0, 1, 2, 3] == chosen_rows(4, 9)


def test_surfaces_of_a_kind_depend_on_seed_and_row_alone(cases):
    module = shared_cases(cases)
    own = list(on_surfaces(sketch(), 3, 0, "own", module))
    assert [name for _, name, *_ in own] == list(SURFACES) and {kind for kind, *_ in own} == {"own"}
    (alone,) = on_surfaces(sketch(), 3, 0, "own", None, ["kraft"])
    assert alone[2].tobytes() == next(picture for _, name, picture, _ in own if name == "kraft").tobytes()
    (other,) = on_surfaces(sketch(), 4, 0, "own", None, ["kraft"])
    assert other[2].tobytes() != alone[2].tobytes()
    assert [name for _, name, *_ in on_surfaces(sketch(), 3, 0, "shared", module)] == ["as it is", "blank True"]
    assert len(list(on_surfaces(sketch(), 3, 0, "all", module))) == len(SURFACES) + 2
    assert shared_cases(cases.with_name("absent.py")) is None and not list(on_surfaces(sketch(), 3, 0, "shared", None))


def test_likeness_of_the_same_of_nothing_and_of_another():
    one, other = sketch(box=(8, 8, 56, 56), size=(64, 64)), sketch(box=(30, 2, 62, 20), size=(64, 64))
    assert likeness(one, one) == pytest.approx((1, 1))
    assert likeness(one, Image.new("RGB", (64, 64), "white")) == (0, 0)
    correlation, overlap = likeness(one, other)
    assert correlation < 0.5 and overlap < 0.5
    assert likeness(one, one.resize((256, 256)))[0] > 0.97


def test_a_score_knows_what_is_found_and_what_is_refused(tmp_path, benchmark, cases):
    lines = {line["surface"]: line for line in score(options(tmp_path, cases, limit=4), benchmark)}
    assert lines["as it is"]["correlation"] == pytest.approx(1) and lines["as it is"]["refused"] == 0
    blank = lines["blank True"]
    assert (blank["correlation"], blank["IoU"], blank["refused"], blank["below 0.8"]) == (0, 0, 4, 4)
    assert lines["scan"]["drawings"] == 4 and 0.5 < lines["scan"]["correlation"] <= 1


def test_the_sheet_shows_pairs_of_all_surfaces(tmp_path, benchmark, cases):
    sheet = np.asarray(draw_sheet(options(tmp_path, cases, only=["black_paper", "blank True"], limit=2), benchmark))
    assert sheet.shape == (180, 3 * (2 * (120 + 160 + 12) + 6), 3)  # a line, of three columns, of two pairs each
    assert np.median(sheet[14:174, :120]) < 60 and np.median(sheet[14:174, 590:710]) == 255


def test_turned_is_clockwise_on_white():
    image = Image.new("L", (21, 21), 255)
    image.putpixel((10, 2), 0)  # above the middle
    dark = np.asarray(turned(image, 90).convert("L"))
    assert dark.shape == (21, 21)
    assert np.unravel_index(dark.argmin(), dark.shape) == (10, 18) and np.sort(dark.ravel())[1] == 255


@pytest.mark.parametrize("width", [1.2, 2.5, 4])
def test_thin_lines_have_the_width_that_is_said(width):
    image = Image.new("L", (100, 100), 255)
    ImageDraw.Draw(image).line([(10, 50), (90, 50)], fill=0, width=7)
    drawn = thin_lines(image, width)
    assert drawn.size == (1000, 1000)
    ink = 1 - np.asarray(drawn, float) / 255
    assert ink[:, 300:700].sum(axis=0) == pytest.approx(width, abs=0.15)
    assert 490 < np.flatnonzero(ink.sum(axis=1)).mean() < 520


def test_a_skeleton_is_thin_and_whole():
    ink = np.zeros((40, 60), bool)
    ink[10:17, 5:55] = ink[10:35, 25:31] = True
    lines = skeleton(ink)
    assert not (lines & ~ink).any()
    assert (lines[:, 12:20].sum(axis=0) == 1).all() and (lines[22:30].sum(axis=1) == 1).all()
    assert np.array_equal(skeleton(lines), lines)


def test_a_refused_picture_counts_nothing_and_ratios_are_to_clean(tmp_path, benchmark, cases):
    caan_model(use_text=False, share_vision_encoder=True).save_pretrained(tmp_path / "model")
    image_processor().save_pretrained(tmp_path / "model")
    given = options(tmp_path, cases, model=str(tmp_path / "model"), limit=6)
    lines = {line["surface"]: line for line in measure(given, benchmark)}
    assert lines["clean"]["ratio"] == 1 and 0 < lines["clean"]["map_all"] < 1
    assert lines["as it is"]["map_all"] == pytest.approx(lines["clean"]["map_all"])
    assert (lines["blank True"]["map_all"], lines["blank True"]["ratio"], lines["blank True"]["refused"]) == (0, 0, 6)
    assert summary(list(lines.values()))["shared"] == {"mean": pytest.approx(0.5), "worst": 0}


def test_some_refused_pictures_lower_the_mean(tmp_path, benchmark, monkeypatch):
    """Half of the queries refused: half of what the others have."""
    caan_model(use_text=False, share_vision_encoder=True).save_pretrained(tmp_path / "model")
    image_processor().save_pretrained(tmp_path / "model")
    blank = Image.new("RGB", (9, 9), "white")

    def half(drawing, row, given):
        yield "own", "half", (drawing if row % 2 else blank), 0.0

    monkeypatch.setattr(paper, "variants", half)
    clean, found = measure(PaperOptions(model=str(tmp_path / "model")), benchmark)
    features = paper.embed_images(
        caan_model(use_text=False, share_vision_encoder=True), image_processor(), benchmark.queries, "sketch"
    )
    photos = paper.embed_images(
        caan_model(use_text=False, share_vision_encoder=True), image_processor(), benchmark.galleries[0], "photo"
    )
    odd = torch.arange(len(features)) % 2 == 1
    report = paper.retrieval_metrics(features[odd], photos, benchmark.queries.labels[odd], benchmark.galleries[0].labels)
    assert found["refused"] == int((~odd).sum())
    assert found["map_all"] == pytest.approx(report["map_all"] * float(odd.float().mean()), abs=1e-5)


def test_a_record_says_what_it_is_of_and_holds_no_path(tmp_path, benchmark, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/here/paper.py", "--model", "/here/models/caan", "--fold", "0"])
    lines = [{"surfaces": kind, "surface": name, "map_all": m, "ratio": m / 0.5, "refused": 0} for kind, name, m in ROWS]
    for seed in (0, 1, 1):
        write(PaperOptions(model="/here/models/caan", output_dir=str(tmp_path), seed=seed), benchmark, lines, 3.4)
    runs = json.loads((tmp_path / "paper.json").read_text())
    assert [run["seed"] for run in runs] == [0, 1]
    assert runs[0]["gallery"] == len(benchmark.gallery_labels) and runs[0]["queries"] == len(benchmark.queries)
    assert runs[0]["command"] == "python -m benchmarks.paper --model caan --fold 0" and runs[0]["model"] == "caan"
    assert runs[0]["ratio to clean"] == {"own": {"mean": pytest.approx(0.6), "worst": 0.4}}
    text = (tmp_path / "paper.md").read_text()
    assert "/here" not in text + (tmp_path / "paper.json").read_text()
    assert "own: mean 0.600, worst 0.400" in text and "| own      | kraft   |   0.200 | 0.400 |" in text


ROWS = [("clean", "clean", 0.5), ("own", "scan", 0.4), ("own", "kraft", 0.2)]
