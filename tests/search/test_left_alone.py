"""What `caan index` and `caan gallery` leave alone, and say so. python -m pytest tests/search/test_left_alone.py"""

import os

import pytest
from photos import shape

from caan import cli
from caan.search.gallery import Gallery
from caan.search.names import HOME


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


def test_a_model_that_cannot_be_loaded_leaves_no_gallery(photos, home, tmp_path, capsys):
    assert "cannot be loaded" in fails(capsys, "index", str(photos), "--model", "/no/model", "--gallery", "new")
    assert "No model is chosen yet" in fails(capsys, "index", str(photos), "--gallery", "new")
    assert not (home / "galleries" / "new").exists()
    with pytest.raises(ValueError, match="cannot be loaded"):
        Gallery.open(tmp_path / "new", "/no/model")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_a_blank_name_is_no_gallery(photos, name, capsys):
    for command in (("index", str(photos), "--model", "pixels"), ("search", "sketch.png")):
        assert "names no gallery" in fails(capsys, *command, "--gallery", name)


def test_what_is_left_out_is_counted_with_the_reason(photos, capsys):
    for folder in ("@eaDir", ".thumbnails", "System Volume Information", "__MACOSX", "bar/.git"):
        (photos / folder).mkdir()
        shape("bar", 90).save(photos / folder / "x.png")
    for name in (".hidden.png", "._a.png", "bar/._b.png"):
        shape("bar", 91).save(photos / name)
    os.mkfifo(photos / "pipe.png")
    assert cli.main(["index", str(photos), "--model", "pixels", "--num_workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "12 encoded" in said and "2 AppleDouble file (._*)" in said and "1 hidden file (.*)" in said
    for folder in ("@eaDir", ".thumbnails", "System Volume Information", "__MACOSX", ".git"):
        assert f"1 folder {folder}/" in said
    assert "1 no file, but a pipe or device" in said


def test_reasons_that_are_many_are_told_together(photos, capsys):
    for number in range(13):
        (photos / f"file.x{number}").touch()
    assert cli.main(["index", str(photos), "--dry_run"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(", 3 for 3 other reasons")


def test_a_dry_run_of_a_place_that_is_an_empty_folder(photos, tmp_path, capsys):
    (tmp_path / "g").mkdir()
    assert cli.main(["index", str(photos), "--gallery", str(tmp_path / "g"), "--dry_run"]) == 0
    assert "would read 12 new" in capsys.readouterr().out and not any((tmp_path / "g").iterdir())


def test_removing_a_gallery_leaves_files_of_others(photos, tmp_path, sketch):
    place = tmp_path / "g"
    for others in (True, False):
        assert cli.main(["index", str(photos), "--model", "pixels", "--gallery", str(place), "--num_workers", "0"]) == 0
        assert cli.main(["search", sketch, "--gallery", str(place)]) == 0  # makes the derived files
        if others:
            (place / "notes.txt").write_text("mine")
        assert cli.main(["gallery", "remove", str(place), "--yes"]) == 0
        if others:
            assert [path.name for path in place.iterdir()] == ["notes.txt"]
            (place / "notes.txt").unlink()
    assert not place.exists()


def test_a_folder_inside_a_root_is_said_to_come_back(indexed, capsys):
    assert cli.main(["gallery", "remove-root", "default", str(indexed / "bar")]) == 0
    assert "The next caan index takes them in again" in capsys.readouterr().out
    assert cli.main(["gallery", "remove-root", "default", str(indexed)]) == 0
    assert "again" not in capsys.readouterr().out


def test_a_path_that_is_too_long_is_counted(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    shape("bar", 92).save("x.png")
    monkeypatch.chdir(tmp_path / "work")
    assert cli.main(["index", str(photos), "--model", "pixels", "--num_workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "12 encoded" in said and "1 File name too long" in said


@pytest.mark.parametrize("name", ["holidays", "hf://datasets/org/holidays", "org/name/more", "org/na me", ""])
def test_a_wrong_name_to_push_to_is_refused_before_any_work(photos, home, name, capsys):
    said = fails(capsys, "index", str(photos), "--model", "pixels", "--push", name, status=2)
    assert "push must be ORG/NAME" in said and not home.exists()
