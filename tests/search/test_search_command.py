"""What `caan search` writes, where, and to whom. python -m pytest tests/search/test_search_command.py"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from photos import shape
from PIL import Image, ImageShow

from caan import cli
from caan.search.names import HOME


@pytest.fixture(autouse=True)
def indexed(tmp_path, photos, monkeypatch):
    """The default gallery of twelve photos, and a sketch in the working folder."""
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shape("circle", 7).save("sketch.png")
    assert cli.main(["index", str(photos), "--model", "pixels", "--num_workers", "0"]) == 0


def fails(capsys, *arguments: str, status: int = 1) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["search", *arguments])
    assert ended.value.code == status
    return capsys.readouterr().err


def test_the_picture_does_not_take_the_place_of_the_sketch(capsys):
    os.rename("sketch.png", "search.png")
    before = Path("search.png").read_bytes()
    assert "would take the place of the sketch search.png" in fails(capsys, "search.png")
    assert Path("search.png").read_bytes() == before
    assert cli.main(["search", "search.png", "--picture", "found.png"]) == 0
    os.link("search.png", "other.png")
    assert "would take the place of the sketch" in fails(capsys, "search.png", "--picture", "other.png")


def test_a_picture_of_another_program_is_not_replaced(capsys):
    for _ in range(2):
        assert cli.main(["search", "sketch.png"]) == 0  # its own is
    shape("bar").save("search.png")
    assert "search.png is there, and no search wrote it" in fails(capsys, "sketch.png")
    assert Image.open("search.png").size == (64, 64)
    assert cli.main(["search", "sketch.png", "--picture", "none"]) == 0
    assert cli.main(["search", "sketch.png", "--json"]) == 0
    assert cli.main(["search", "sketch.png", "--picture", "./search.png"]) == 0  # asked for by name
    assert Image.open("search.png").size[0] > 1000


def test_print0_ends_each_path_with_nul(photos, capfdbinary):
    os.rename(photos / "circle" / "0.png", photos / "circle" / "line\nfeed.png")
    assert cli.main(["index", "--num_workers", "0"]) == 0
    capfdbinary.readouterr()
    assert cli.main(["search", "sketch.png", "-n", "3", "--under", str(photos / "circle"), "--print0"]) == 0
    *paths, last = capfdbinary.readouterr().out.split(b"\0")
    assert last == b"" and set(paths) == {os.fsencode(path) for path in (photos / "circle").iterdir()}
    assert any(b"\n" in path for path in paths)


def test_forms_of_the_answer_exclude_each_other(capsys):
    assert "give one" in fails(capsys, "sketch.png", "--print0", "--paths", status=2)
    assert "leave out --picture none" in fails(capsys, "sketch.png", "--open", "--picture", "none", status=2)


def test_the_picture_is_shown_beside_json(capsys, monkeypatch):
    shown = []
    capsys.readouterr()
    monkeypatch.setattr(ImageShow, "show", lambda picture: not shown.append(picture))
    monkeypatch.setenv("DISPLAY", ":0")
    assert cli.main(["search", "sketch.png", "--json", "--open", "-n", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("[") and said.out.endswith("]\n") and said.err == "picture: search.png\n" and len(shown) == 1


def test_without_a_display_open_says_so(capsys, monkeypatch):
    monkeypatch.setattr(ImageShow, "show", lambda picture: False)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert cli.main(["search", "sketch.png", "--open"]) == 0
    assert "there is no display" in capsys.readouterr().err


def test_a_folder_without_photos_is_told(photos, capsys):
    assert "has no photo in" in fails(capsys, "sketch.png", "--under", str(photos / "nowhere"))
    (photos / "empty").mkdir()
    capsys.readouterr()
    assert cli.main(["search", "sketch.png", "--json", "--under", str(photos / "empty")]) == 0
    said = capsys.readouterr()
    assert said.out == "[]\n" and "the gallery has no photo in" in said.err


def test_copies_are_counted(photos, capsys):
    for name in ("a.png", "b.png"):
        os.link(photos / "circle" / "0.png", photos / name)
        assert cli.main(["index", "--num_workers", "0"]) == 0
        assert cli.main(["search", "sketch.png", "-n", "12"]) == 0
    said = capsys.readouterr().out
    assert "  (and 1 copy)\n" in said and "  (and 2 copies)\n" in said


@pytest.mark.parametrize("form, unbuffered", [("--picture=none", ""), ("--json", "1")])
def test_a_reader_that_ends_early_is_no_error(form, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "caan.cli", "search", "sketch.png", form]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    assert done.returncode == 141 and b"rror" not in done.stderr


def test_a_working_folder_that_was_deleted_is_told(tmp_path):
    code = "import os, sys; from caan import cli; os.rmdir(os.getcwd()); sys.exit(cli.main(['search', 'sketch.png']))"
    (tmp_path / "gone").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "gone", capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "caan search: error: the working folder was deleted: cd to another one\n"
