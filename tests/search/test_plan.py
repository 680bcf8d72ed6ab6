"""What a refresh finds to have changed, and what stays without a yes. python -m pytest tests/search/test_plan.py"""

import os
import shutil

import pytest
from photos import shape

import caan.search.plan
from caan import cli
from caan.search.gallery import Gallery
from caan.search.names import HOME


def replace_unseen(path, picture) -> None:
    """Another picture of the same size in bytes and with the same times."""
    before = os.stat(path)
    picture.save(path)
    data = path.read_bytes()
    assert len(data) <= before.st_size
    path.write_bytes(data + b"\0" * (before.st_size - len(data)))  # behind a PNG's end
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_change_of_equal_size_and_time_is_found_by_a_check(gallery, photos):
    file = photos / "circle" / "0.png"
    replace_unseen(file, shape("bar", 0))
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.unchanged) == (0, 12)
    (changes,) = gallery.refresh(check=True, dry_run=True, progress=False)
    assert (changes.encoded, changes.unchanged) == (1, 11)
    (changes,) = gallery.refresh(check=True, progress=False)
    assert (changes.encoded, changes.unchanged) == (1, 11)
    assert gallery.search(shape("bar", 0), 1)[0].path == str(file)
    (changes,) = gallery.refresh(check=True, progress=False)
    assert (changes.encoded, changes.unchanged) == (0, 12)


def test_the_command_checks(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    assert cli.main(["index", str(photos), "--model", "pixels", "--num_workers", "0"]) == 0
    replace_unseen(photos / "circle" / "0.png", shape("bar", 7))
    capsys.readouterr()
    assert cli.main(["index", "--check", "--num_workers", "0"]) == 0
    assert "1 encoded" in capsys.readouterr().out


def test_a_disk_below_the_root_that_is_away_needs_yes(gallery, photos):
    (photos / "circle").rename(photos.parent / "away")
    (photos / "circle").mkdir()  # the mount point
    (photos / "bar" / "0.png").unlink()
    with pytest.raises(ValueError, match=f"^{photos}/circle is empty, and the gallery has 3 photos from there: .*--yes"):
        gallery.refresh(progress=False)
    assert gallery.info().photos == 11  # what was deleted left
    with pytest.raises(ValueError, match="circle is empty"):
        gallery.refresh(dry_run=True)
    (photos / "circle").rmdir()
    (photos.parent / "away").rename(photos / "circle")
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.known, changes.unchanged) == (0, 0, 11)
    shutil.rmtree(photos / "circle")
    (photos / "circle").mkdir()
    (changes,) = gallery.refresh(yes=True, progress=False)
    assert changes.removed == 3 and gallery.info().photos == 8


@pytest.mark.parametrize("left", [(), ("notes.txt",)])
def test_a_folder_that_has_gone_with_many_photos_needs_yes(gallery, photos, left):
    for number in range(4):
        shape("cross", 60 + number).save(photos / "cross" / f"more {number}.png")
    gallery.refresh(progress=False)
    shutil.rmtree(photos / "cross")
    for name in left:  # of a mount point that says that nothing is mounted
        (photos / "cross").mkdir()
        (photos / "cross" / name).touch()
    with pytest.raises(ValueError, match="cross (has gone|holds no photo any more), and the gallery has 7 photos from there"):
        gallery.refresh(progress=False)
    assert gallery.info().photos == 16
    gallery.refresh(progress=False, yes=True)
    assert gallery.info().photos == 9


def test_a_few_photos_go_without_a_question(gallery, photos):
    shutil.rmtree(photos / "bar")
    (photos / "circle" / "0.png").unlink()
    (changes,) = gallery.refresh(progress=False)
    assert changes.removed == 4 and gallery.info().photos == 8


def test_folders_that_go_count_together(gallery, photos, monkeypatch):
    for name in ("bar", "cross"):
        shutil.rmtree(photos / name)
    with pytest.raises(ValueError, match="bar has gone(.|\n)*cross has gone"):
        gallery.refresh(progress=False)
    monkeypatch.setattr(caan.search.plan, "SHOWN", 1)
    with pytest.raises(ValueError, match="bar has gone.*\n... and 1 more folders"):
        gallery.refresh(progress=False)
    assert gallery.info().photos == 12


def test_a_folder_that_moved_or_is_excluded_is_no_question(gallery, photos, monkeypatch):
    monkeypatch.setattr(caan.search.plan, "FEW", 1)
    (photos / "circle").rename(photos / "round")
    (changes,) = gallery.refresh(dry_run=True)
    assert (changes.encoded, changes.removed) == (3, 3)
    (changes,) = gallery.refresh(progress=False)
    assert (changes.encoded, changes.known, changes.removed) == (0, 3, 3)
    (changes,) = gallery.refresh(exclude=["round"], progress=False)
    assert changes.removed == 3 and gallery.info().photos == 9


def test_a_dry_run_names_every_folder_that_is_missing(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    for options in ((), ("--dry_run",)):
        with pytest.raises(SystemExit) as ended:
            cli.main(["index", str(photos), str(tmp_path / "one"), str(tmp_path / "two"), "--model", "pixels", *options])
        said = capsys.readouterr()
        assert ended.value.code == 1 and f"There is no folder {tmp_path}/one, {tmp_path}/two" in said.err
    assert f"{photos}: would read 12 new" in said.out and not (tmp_path / "home").exists()


def test_a_dry_run_says_what_a_run_would_not_do(gallery, photos):
    for folder in photos.iterdir():
        shutil.rmtree(folder)
    with pytest.raises(ValueError, match="holds no photo any more"):
        gallery.refresh(dry_run=True)
    (changes,) = gallery.refresh(dry_run=True, yes=True)
    assert changes.removed == 12


def test_folders_that_are_missing_are_all_named(tmp_path, pixels):
    with Gallery.open(tmp_path / "g", pixels) as gallery, pytest.raises(ValueError, match="one.\nThere is no folder .*two."):
        gallery.add([tmp_path / "one", tmp_path / "two"])
