"""The Parquet form: loads back equal, resumes, names corrupt files; the card.

pytest tests/dataset_scripts/test_publish.py
"""

import errno
import os
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from benchmark_trees import QUICKDRAW_LINES, SKETCHY_LINES, make_tree, paths, picture

from dataset_scripts import load
from dataset_scripts.folder import Folder
from dataset_scripts.parquet import publish
from dataset_scripts.parquet.publish import PublishArguments
from dataset_scripts.parquet.shards import plan_shards
from dataset_scripts.quickdraw import QuickDraw
from dataset_scripts.sketchy import Sketchy

SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[3] / "shared"))
CLASSES = ("cup", "fox", "owl", "red_car", "tree")


def write(builder, data_dir, output_dir, **options):
    arguments = PublishArguments(data_dir=str(data_dir), **{"allow_partial": True, **options})
    return publish.publish(builder, arguments, str(output_dir))


def folder_tree(root, per_class=4):
    files = [f"{m}/{c}/{i}.png" for m in ("sketch", "photo") for c in CLASSES for i in range(per_class)]
    make_tree(root, files)
    (root / "unseen.txt").write_text("owl")
    return root


def assert_equal(one, other):
    assert set(one) == set(other)
    for name in one:
        assert one[name].features == other[name].features
        for column in ("modality", "label", "descriptions", "file", "instance"):
            assert one[name][column][:] == other[name][column][:]
        for left, right in zip(one[name]["image"], other[name]["image"]):
            assert left.mode == right.mode and left.tobytes() == right.tobytes()


@pytest.mark.parametrize(
    "name, builder, lines, configs",
    [
        ("sketchy", Sketchy, SKETCHY_LINES, ["104_21", "100_25", "100_25_sempcyc"]),
        ("quickdraw", QuickDraw, QUICKDRAW_LINES, ["80_30"]),
    ],
)
def test_loads_back_equal_by_plain_load_dataset(tmp_path, name, builder, lines, configs):
    root = make_tree(tmp_path / "data", paths(lines))
    write(builder, root, tmp_path / "out")
    assert datasets.get_dataset_config_names(str(tmp_path / "out")) == configs
    for config in configs:
        built = load(name, config, str(root), str(tmp_path / "cache"), allow_partial=True)
        assert_equal(built, datasets.load_dataset(str(tmp_path / "out"), config, cache_dir=str(tmp_path / "cache2")))


def test_pictures_are_inside(tmp_path):
    root = folder_tree(tmp_path / "data")
    write(Folder, root, tmp_path / "out")
    table = pq.read_table(tmp_path / "out/default/test-00000-of-00001.parquet")
    assert b'"List"' not in table.schema.metadata[b"huggingface"]  # which datasets 3 could not read
    for row in table.to_pylist():
        assert row["image"] == {"bytes": (root / row["file"]).read_bytes(), "path": os.path.basename(row["file"])}


def test_shards_are_cut_by_size_and_cover_the_rows_in_order(tmp_path):
    root = folder_tree(tmp_path / "data")
    table = Folder(data_dir=str(root)).rows()["train"]
    builder = Folder(data_dir=str(root))
    rows = [row for part in table for row in builder.table(part).to_pylist()]
    size = sum(os.path.getsize(row["image"]["path"]) for row in rows)
    assert [s.num_rows for s in plan_shards(rows, "", 10 * size)] == [len(rows)]
    assert [s.num_rows for s in plan_shards(rows, "", 1)] == [1] * len(rows)
    half = [s.num_rows for s in plan_shards(rows, "", size // 2)]
    assert sum(half) == len(rows) and len(half) in (2, 3)
    assert list(plan_shards([], "", 10)) == []


def shards(folder):
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.parquet"))}


def small_shards(monkeypatch):
    """Shards of a few pictures: sizes are given in MB."""
    original = publish.write_split
    monkeypatch.setattr(publish, "write_split", lambda *args: original(*args[:4], 300, args[5]))


def test_rerun_skips_what_is_finished_and_rewrites_what_changed(tmp_path, monkeypatch):
    small_shards(monkeypatch)
    root, out = folder_tree(tmp_path / "data"), tmp_path / "out"
    write(Folder, root, out)
    first = shards(out / "default")
    assert len(first) > 6
    report = write(Folder, root, out)["default"]
    assert shards(out / "default") == first
    assert all(split.finished == len(split.files) for split in report.values())
    (root / "sketch/owl/2.png").write_bytes(picture(".png", colour=5))
    report = write(Folder, root, out)["default"]
    assert sum(now != first[name] for name, now in shards(out / "default").items()) == 1
    assert len(report["test"].files) - report["test"].finished == 1
    built = load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    assert_equal(built, datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache2")))


def test_interrupted_run_goes_on(tmp_path, monkeypatch):
    small_shards(monkeypatch)
    root, out = folder_tree(tmp_path / "data"), tmp_path / "out"
    whole = (root / "photo/tree/3.png").read_bytes()
    (root / "photo/tree/3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"photo/tree/3.png. Replace them, or leave them out with --skip_corrupt"):
        write(Folder, root, out)
    done = shards(out / "default")
    assert done and not (out / "README.md").exists()
    (root / "photo/tree/3.png").write_bytes(whole)
    write(Folder, root, out)
    again = shards(out / "default")
    assert {name: again[name] for name in done} == done
    assert not list(out.rglob("*.tmp"))
    built = load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    assert_equal(built, datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache2")))


def test_shards_of_an_earlier_plan_are_removed(tmp_path, monkeypatch, capsys):
    root, out = folder_tree(tmp_path / "data"), tmp_path / "out"
    write(Folder, root, out)
    before = set(shards(out / "default"))
    assert before == {f"{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")}
    small_shards(monkeypatch)
    write(Folder, root, out)
    assert "train-00000-of-00001.parquet" not in shards(out / "default")
    assert f"removed {out / 'default/train-00000-of-00001.parquet'}" in capsys.readouterr().out
    assert_equal(
        load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache")),
        datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache2")),
    )


def test_skipped_corrupt_files_are_named_on_a_rerun_too(tmp_path):
    root, out = folder_tree(tmp_path / "data"), tmp_path / "out"
    (root / "sketch/owl/1.png").write_bytes(b"")
    (root / "photo/fox/0.png").write_bytes(b"no picture")
    for _ in range(2):
        report = write(Folder, root, out, skip_corrupt=True)["default"]
        assert report["train"].corrupt + (report["validation"].corrupt if "validation" in report else []) == ["photo/fox/0.png"]
        assert (
            "Left out, because they cannot be read or are blank sketches (2 files): sketch/owl/1.png, photo/fox/0.png."
            in (out / "README.md").read_text()
        )
    files = {f for s in datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache")).values() for f in s["file"]}
    assert len(files) == 38 and not files & {"sketch/owl/1.png", "photo/fox/0.png"}


@pytest.mark.parametrize(
    "name, content",
    [
        ("README.md", "# My set"),
        ("README.md", "---\npretty_name: Sketchy, zero-shot splits\n---\n"),
        ("data/train-00000-of-00001.parquet", "x"),
        ("default/test-00000-of-00001.parquet", "x"),
        ("default/notes.txt", "x"),
        ("photo.png", "x"),
    ],
)
def test_a_folder_that_holds_files_of_others_is_refused_and_stays_as_it_is(tmp_path, name, content):
    root, out = folder_tree(tmp_path / "data"), tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text(content)
    shown = name.split("/")[0] if name.startswith("data/") else name
    with pytest.raises(ValueError) as caught:
        write(Folder, root, out)
    expected = f"{out} holds {shown}, which is not of an earlier publication of Own sketches and photos, zero-shot splits. "
    assert str(caught.value) == f"{expected}Give another --output_dir, or move it away."
    assert [path for path in out.rglob("*") if path.is_file()] == [out / name] and (out / name).read_text() == content


def test_a_run_goes_on_after_a_full_disk_at_the_card(tmp_path, monkeypatch):
    """Half a card would be taken for somebody else's, and the next run refused."""
    root, out = folder_tree(tmp_path / "data"), tmp_path / "out"

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    for before in ("", "whole"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(os, "replace", lambda old, new: full() if new.endswith("README.md") else os.rename(old, new))
            write(Folder, root, out)
        assert (out / "README.md").exists() == bool(before)
        assert [path.name for path in out.iterdir() if path.is_file() and path.name != "README.md"] == []
        write(Folder, root, out)
    assert "pretty_name: Own sketches" in (out / "README.md").read_text()


def test_another_data_set_does_not_go_into_a_publication(tmp_path):
    root = folder_tree(tmp_path / "data")
    write(Folder, root, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    sketchy = make_tree(tmp_path / "sketchy", paths(SKETCHY_LINES))
    with pytest.raises(ValueError, match="out holds README.md, which is not of an earlier publication of Sketchy, zero-shot"):
        write(Sketchy, sketchy, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    (tmp_path / "out" / ".gitattributes").touch()
    (tmp_path / "out" / "default" / "test-00000-of-00009.parquet.tmp").touch()  # of a run that was killed
    assert write(Folder, root, tmp_path / "out")["default"]["test"].finished == 1


def test_card_header_names_configs_as_strings(tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    write(Sketchy, root, tmp_path / "out", dataset_config=["104_21", "100_25"])
    header = yaml.safe_load((tmp_path / "out/README.md").read_text().split("---")[1])
    assert [config["config_name"] for config in header["configs"]] == ["104_21", "100_25"]  # 104_21 bare would be a number
    assert header["configs"][0]["default"] is True
    assert header["license"] == "other"
    text = (tmp_path / "out/README.md").read_text()
    assert "Classes of the list without sketches or without photos here (122): airplane, alarm_clock, ant, ape," in text
    assert "Photos that two folders of the archives list are here once; the published protocol counts them twice." in text
    assert "| test | 1 | 2 | 3 |" in text


CARD = """\
---
license: other
task_categories:
- image-feature-extraction
pretty_name: Own sketches and photos, zero-shot splits
license_name: rights-of-the-sources
tags:
- sketch-based-image-retrieval
- zero-shot
- sketch
configs:
- config_name: default
  data_files:
  - split: train
    path: default/train-*.parquet
  - split: validation
    path: default/validation-*.parquet
  - split: test
    path: default/test-*.parquet
  default: true
---

# Own sketches and photos, zero-shot splits for sketch-based image retrieval

Own sketches and photos as Parquet, pictures inside.
Train on sketches and photos of *seen* classes; at test time sketches of *unseen* classes search photos of unseen classes.

```python
from datasets import load_dataset

splits = load_dataset("org/mine", "default")
```

## Splits

### `default`

Seen and unseen classes of a folder.

| split | classes | sketches | photos |
| --- | ---: | ---: | ---: |
| train | 4 | 32 | 36 |
| validation | 4 | 8 | 4 |
| test | 1 | 10 | 10 |

Unseen classes (1): owl.

- `train`: seen classes.
- `validation`: held-out sketches and photos of the seen classes, the only data that may select a model. Sketches: SAKE's
  published list where there is one (Sketchy `100_25`, TU-Berlin `220_30`), else 50 of a class, at most a
  fifth, by a fixed rule. Photos: 10 per cent of a class's, by the same rule.
- `test`: unseen classes.

## Columns

| column | type | what |
| --- | --- | --- |
| `image` | Image | the file as it was in the archive |
| `modality` | ClassLabel | `sketch` or `photo` |
| `label` | ClassLabel | all classes of the config, seen ones first |
| `descriptions` | list of strings | what such a thing looks like; the benchmarks' texts: by a large language model |
| `file` | string | path in the archive |
| `instance` | string | what a sketch and the photo it was drawn from have in common in their class, else none |

## Source and licence

Your own pictures, one folder a class.

Rights stay with the owners of the pictures.
"""


def test_card_as_a_whole(tmp_path):
    write(Folder, folder_tree(tmp_path / "data", per_class=10), tmp_path / "out", repo="org/mine", allow_partial=False)
    assert (tmp_path / "out/README.md").read_text() == CARD


def test_command_line(tmp_path, monkeypatch, capsys):
    root = folder_tree(tmp_path / "data")
    monkeypatch.setattr("sys.argv", ["publish", "folder", "--data_dir", str(root), "--output_dir", str(tmp_path / "out")])
    publish.main()
    assert "default test: 4 sketches, 4 photos in 1 shards" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["publish", "sketchy", "--data_dir", str(root), "--output_dir", str(tmp_path / "out2")])
    with pytest.raises(SystemExit, match="holds none of its folders"):
        publish.main()


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data/Sketchy").is_dir(), reason="the shared folder is absent")
def test_real_part_of_sketchy_loads_back_equal(tmp_path):
    data_dir = str(SHARED / "data/Sketchy")
    write(Sketchy, data_dir, tmp_path / "out", dataset_config=["100_25"])
    built = load("sketchy", "100_25", data_dir, str(tmp_path / "cache"), allow_partial=True)
    loaded = datasets.load_dataset(str(tmp_path / "out"), "100_25", cache_dir=str(tmp_path / "cache2"))
    assert {name: split.num_rows for name, split in loaded.items()} == {name: split.num_rows for name, split in built.items()}
    for name, split in built.items():
        assert loaded[name]["file"][:] == split["file"][:]
        for index in range(0, split.num_rows, 50):
            assert loaded[name][index]["image"].tobytes() == split[index]["image"].tobytes()
