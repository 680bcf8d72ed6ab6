"""`caan index`, `caan search`, `caan gallery`. python -m pytest tests/search/test_commands.py"""

import json
import os
import subprocess
import sys

import pytest
from photos import SHAPES, shape
from PIL import Image

from caan import cli
from caan.search.names import HOME, data_folder, gallery_folder, place_of


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A data folder and a working folder of the test's own."""
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def indexed(photos):
    """The default gallery of twelve photos."""
    assert cli.main(["index", str(photos), "--model", "pixels", "--num_workers", "0"]) == 0
    return photos


@pytest.fixture
def sketch(tmp_path):
    shape("circle", 7).save(tmp_path / "sketch.png")
    return str(tmp_path / "sketch.png")


def fails(capsys, *arguments: str, status: int = 1) -> str:
    """What a command says that ends with that status."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert ended.value.code == status
    return capsys.readouterr().err


def test_index_says_what_it_did_and_a_second_call_only_what_changed(photos, capsys):
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "notes.txt").write_text("text")
    assert cli.main(["index", str(photos), "--model", "pixels"]) == 0
    said = capsys.readouterr().out
    assert f"{photos}: 12 encoded (" in said and "left out: 1 .txt is no picture" in said
    assert "1 could not be read" in said and "broken.jpg" in said
    assert "the gallery default holds 12 photos (12 different ones); search it: caan search SKETCH\n" in said
    assert cli.main(["index"]) == 0
    assert f"{photos}: 0 encoded, 0 known by their bytes, 0 removed, 13 as they were" in capsys.readouterr().out


def test_the_model_used_last_serves_the_next_gallery(indexed, tmp_path, capsys):
    assert cli.main(["index", str(indexed / "bar"), "--gallery", "bars"]) == 0
    assert json.loads((data_folder() / "model").read_text()) == {"model": "pixels", "image_size": None}
    capsys.readouterr()
    assert cli.main(["gallery", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["bars", "3", "photos"], ["default", "12", "photos"]]


def test_without_any_model_two_lines_of_advice(photos, capsys):
    said = fails(capsys, "index", str(photos))
    assert "--model openai/clip-vit-base-patch32\n" in said and "caan train openmoji" in said


def test_a_missing_root_ends_1_and_nothing_is_made(photos, home, capsys):
    said = fails(capsys, "index", str(photos), str(photos / "nowhere"), "--model", "pixels")
    assert "There is no folder" in said and "nothing was done" in said and not home.exists()


def test_a_dry_run_makes_no_gallery(photos, home, capsys):
    assert cli.main(["index", "--dry_run", str(photos)]) == 0
    assert "would read 12 new or changed files" in capsys.readouterr().out and not home.exists()


def test_an_emptied_root_needs_yes(indexed, capsys):
    for name in SHAPES:
        (indexed / name).rename(indexed.parent / name)
    assert "--yes removes them" in fails(capsys, "index")
    assert cli.main(["index", "--yes", str(indexed)]) == 0
    assert "12 removed" in capsys.readouterr().out


def test_search_prints_a_table_and_draws_a_picture(indexed, sketch, capsys):
    assert cli.main(["search", sketch, "-n", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith("   ")]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"] and rows[0][2].startswith(str(indexed / "circle"))
    assert lines[-1] == "picture: search.png" and Image.open("search.png").size[0] > 1000


def test_search_as_json_and_as_paths(indexed, sketch, capfdbinary):
    assert cli.main(["search", sketch, "-n", "2", "--json"]) == 0
    rows = json.loads(capfdbinary.readouterr().out)
    assert [row["rank"] for row in rows] == [1, 2] and set(rows[0]) == {"path", "score", "rank", "copies"}
    assert cli.main(["search", sketch, "-n", "2", "--paths", "--under", str(indexed / "circle")]) == 0
    assert capfdbinary.readouterr().out.decode().splitlines() == [row["path"] for row in rows]
    assert not os.path.exists("search.png")


def test_names_that_are_no_utf8_come_through_json(indexed, sketch, capfdbinary):
    os.rename(indexed / "circle" / "0.png", os.path.join(os.fsencode(indexed), b"\xff.png"))
    assert cli.main(["index"]) == 0
    capfdbinary.readouterr()
    assert cli.main(["search", sketch, "-n", "12", "--json"]) == 0
    names = {os.path.basename(os.fsencode(row["path"])) for row in json.loads(capfdbinary.readouterr().out)}
    assert b"\xff.png" in names


def test_search_from_standard_input(indexed, sketch, tmp_path):
    command = [sys.executable, "-m", "caan.cli", "search", "-", "--json", "-n", "1"]
    with open(sketch, "rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, check=True)
    assert json.loads(done.stdout)[0]["path"].startswith(str(indexed / "circle"))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 1 and b"standard input is empty" in done.stderr


def test_search_from_the_clipboard(indexed, sketch, capsys, monkeypatch):
    from PIL import ImageGrab

    monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: Image.open(sketch))
    assert cli.main(["search", "--clipboard", "--json", "-n", "1"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"].startswith(str(indexed / "circle"))
    monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: None)
    assert "There is no picture in the clipboard" in fails(capsys, "search", "--clipboard")
    assert "give a SKETCH or --clipboard" in fails(capsys, "search", status=2)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--gallery", "nowhere"), "There is no gallery at .*nowhere: caan index FOLDER --gallery NAME makes one"),
        (("--under", "/"), "/ is not in the gallery .*; its folders are"),
        (("--gallery", "ftp://host/x"), "No gallery is at an address like ftp://host/x"),
    ],
)
def test_search_of_what_is_not_there(indexed, sketch, capsys, arguments, said):
    import re

    assert re.search(said, fails(capsys, "search", sketch, *arguments))


def test_a_sketch_without_ink_is_named(indexed, tmp_path, capsys):
    Image.new("RGB", (64, 64), "white").save(tmp_path / "blank.png")
    assert "blank" in fails(capsys, "search", str(tmp_path / "blank.png"))


def test_info_verify_move_and_remove(indexed, sketch, home, capsys):
    capsys.readouterr()
    assert cli.main(["gallery", "info"]) == 0
    said = capsys.readouterr().out
    assert "photos:      12 (12 different ones), 0 more files" in said and "model:       pixels (weights " in said
    assert cli.main(["gallery", "verify", "default"]) == 0 and "whole" in capsys.readouterr().out
    moved = indexed.parent / "moved"
    indexed.rename(moved)
    assert cli.main(["gallery", "move-root", "default", str(indexed), str(moved)]) == 0
    assert cli.main(["search", sketch, "-n", "1", "--json"]) == 0
    assert str(moved) in capsys.readouterr().out
    assert cli.main(["gallery", "remove-root", "default", str(moved / "bar")]) == 0
    assert "3 photos left the gallery" in capsys.readouterr().out and (moved / "bar" / "0.png").exists()
    assert "add --yes to delete it" in fails(capsys, "gallery", "remove", "default")
    assert cli.main(["gallery", "remove", "default", "--yes"]) == 0
    assert not (home / "galleries" / "default").exists() and (moved / "circle" / "0.png").exists()
    assert "move-root takes 2 folders" in fails(capsys, "gallery", "move-root", "default", status=2)


def test_a_damaged_gallery_is_left_as_it_is(indexed, sketch, home, capsys):
    file = home / "galleries" / "default" / "gallery.sqlite"
    file.write_bytes(b"no database" * 1000)
    before = file.read_bytes()
    for command in (
        ("search", sketch),
        ("index", str(indexed)),
        ("gallery", "verify"),
        ("gallery", "remove", "default", "--yes"),
    ):
        said = fails(capsys, *command)
        assert "is damaged" in said and "It is left as it is" in said
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["a", "holidays 2024", "Übung", "a.b", "x" * 100])
def test_a_plain_word_is_a_name(name):
    assert place_of(name) == gallery_folder(name)


@pytest.mark.parametrize("path", ["./a", "a/b", ".hidden", "..", " a", "a ", "a\nb", "\x1b[1m", "x" * 101])
def test_anything_else_is_a_folder(path, tmp_path):
    assert place_of(path) == tmp_path / "work" / path


def test_a_foreign_folder_is_no_place(photos, capsys):
    assert "holds other things than a gallery" in fails(
        capsys, "index", str(photos), "--model", "pixels", "--gallery", f"{photos}/"
    )


def test_help_imports_no_torch():
    for command in ("index", "search", "gallery"):
        code = f"from caan.cli import main\ntry: main(['{command}', '--help'])\nexcept SystemExit: pass\n"
        code += "import sys\nassert 'torch' not in sys.modules"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0 and f"caan {command}" in done.stdout


def test_the_explanation_needs_local_tokens(indexed, sketch, capsys):
    assert "has no local tokens" in fails(capsys, "search", sketch, "--explain")


def test_thumbnails_of_the_sheet_come_from_the_gallery(indexed, sketch):
    assert cli.main(["search", sketch]) == 0
    before = Image.open("search.png").tobytes()
    for path in indexed.rglob("*.png"):
        path.unlink()
    assert cli.main(["search", sketch, "--picture", "again.png"]) == 0
    assert Image.open("again.png").tobytes() == before
