"""The sheet of what the processor makes of sketches.  python -m pytest tests/figures/test_sketches.py"""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from tiny import image_processor

from caan import cli
from caan.figures.sketches import GAP, LINE, TILE, encoder_input, shortened, sketch_sheet, steps_of


@pytest.fixture
def files(tmp_path):
    """A clean drawing, one on kraft paper, and a blank page."""
    for name, ground, ink in (
        ("clean", "white", "black"),
        ("kraft", (176, 141, 98), (40, 30, 25)),
        ("blank", (200, 200, 200), None),
    ):
        image = Image.new("RGB", (120, 120), ground)
        if ink is not None:
            ImageDraw.Draw(image).ellipse((30, 30, 90, 80), outline=ink, width=4)
        image.save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in ("clean", "kraft", "blank")]


def test_steps_of_each_kind(files):
    processor = image_processor()
    clean, kraft, blank = (steps_of(file, processor) for file in files)
    assert clean[1] == "clean: taken as it is" and clean[0][1] is None and len(clean[0]) == 4
    given, ground, ink, encoder = kraft[0]
    assert given.size == ground.size == ink.size == (120, 120) and kraft[1] == ""
    assert np.abs(np.asarray(ground).astype(int) - (176, 141, 98)).max() <= 2
    assert ink.getpixel((60, 30)) < 40 and ink.getpixel((60, 55)) == 255
    assert encoder.size == (processor.size["width"], processor.size["height"])
    assert len(blank[0]) == 1 and "it is blank" in blank[1]


def test_what_the_encoder_gets_is_the_processors_output(files):
    processor = image_processor()
    pixels = processor([files[1]], modality="sketch", return_tensors="np")["pixel_values"][0]
    expected = (pixels.transpose(1, 2, 0) * 0.5 + 0.5) * 255
    assert np.abs(np.asarray(encoder_input(files[1], processor)) - expected).max() <= 0.5 + 1e-3


def test_a_row_a_picture_and_a_folder_is_all_of_its(files):
    sheet = sketch_sheet([files[0].parent], image_processor())
    assert sheet.size == (GAP + 4 * (TILE + GAP), LINE + GAP + 3 * (TILE + 2 * LINE + GAP))


def test_a_long_remark_is_cut():
    font = ImageFont.load_default(13)
    assert shortened("short", font, 400) == "short"
    cut = shortened("long " * 100, font, 200)
    assert cut.endswith("...") and font.getlength(cut) <= 200


def test_the_command_writes_the_sheet(files, tmp_path, capsys):
    sheet = tmp_path / "new" / "sheet.png"
    assert cli.main(["figures", "sketches", *map(str, files), "--output", str(sheet)]) == 0
    assert Image.open(sheet).height == LINE + GAP + 3 * (TILE + 2 * LINE + GAP)
    assert f"written: {sheet}" in capsys.readouterr().out


def test_a_missing_file_stands_in_its_row(tmp_path):
    sheet = sketch_sheet([tmp_path / "none.png"], image_processor())
    tiles, remark = steps_of(tmp_path / "none.png", image_processor())
    assert sheet.height == LINE + GAP + TILE + 2 * LINE + GAP and not tiles and "No such image file" in remark


def test_a_picture_is_not_replaced_by_the_sheet(files, capsys):
    before = files[0].read_bytes()
    same = files[0].parent / "." / files[0].name
    with pytest.raises(SystemExit, match="1"):
        cli.main(["figures", "sketches", *map(str, files), "--output", str(same)])
    assert files[0].read_bytes() == before
    assert f"caan figures: error: --output {same} is one of the pictures, and would be replaced" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sheet", "sheet.txt", "sheet.svg"])
def test_a_suffix_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, capsys, name):
    with pytest.raises(SystemExit, match="1"):
        cli.main(["figures", "sketches", "none.png", "--model", "no/such", "--output", str(tmp_path / name)])
    assert f"{name} has no suffix of a picture that can be written, such as .png." in capsys.readouterr().err
