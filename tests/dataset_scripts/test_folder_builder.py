"""The builder of a user's own folder.

pytest tests/dataset_scripts/test_folder_builder.py
"""

import pytest
from benchmark_trees import counts, make_tree

from dataset_scripts import load, load_descriptions
from dataset_scripts.folder import Folder


def own_folder(tmp_path):
    files = [
        f"{m}/{c}/{i}.png" for m in ("sketch", "photo") for c in ("owl", "red_car", "cup", "tree", "fox") for i in range(10)
    ]
    return make_tree(tmp_path / "data", files)


def test_folder_with_named_unseen_classes(tmp_path):
    splits = load("folder", data_dir=str(own_folder(tmp_path)), cache_dir=str(tmp_path / "cache"), unseen=["owl", "cup"])
    assert splits["train"].features["label"].names == ["fox", "red_car", "tree", "cup", "owl"]
    assert counts(splits) == {"train": (24, 27), "validation": (6, 3), "test": (20, 20)}
    assert splits["train"][0]["descriptions"] == []


def test_folder_reads_unseen_and_descriptions_from_files(tmp_path):
    root = own_folder(tmp_path)
    (root / "unseen.txt").write_text("fox\n\n")
    (root / "descriptions.jsonl").write_text(
        '{"class": "fox", "prompt": "parts", "text": "A tail."}\n{"class": "fox", "prompt": "appearance", "text": "Red."}\n'
    )
    splits = load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    assert splits["test"].features["label"].names[-1:] == ["fox"]
    assert splits["test"][0]["descriptions"] == ["Red.", "A tail."]
    assert load_descriptions("folder", data_dir=str(root)) == {"fox": ["Red.", "A tail."]}


def test_folder_chooses_a_fifth_by_hash(tmp_path):
    first, again = (Folder(data_dir=str(own_folder(tmp_path))).config.split for _ in range(2))
    assert (len(first.seen), len(first.unseen)) == (4, 1)
    assert first == again


def test_folder_errors_name_the_cure(tmp_path):
    root = own_folder(tmp_path)
    with pytest.raises(ValueError, match="unseen classes without a folder: wolf. Found: cup, fox, owl, red_car, tree"):
        load("folder", data_dir=str(root), unseen=["wolf"])
    with pytest.raises(FileNotFoundError, match=r"sketch/<class>/ \| sketches/<class>/"):
        load("folder", data_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="data_dir"):
        load("folder")


@pytest.mark.parametrize(
    "line",
    [
        '{"class": "fox"}',
        '{"class": 3, "prompt": "parts", "text": "Legs."}',
        '{"class": "fox", "prompt": "parts", "text": 5}',
        '{"class": "fox", "prompt": "parts", "text": null}',
        '{"class": "fox", "prompt": "parts", "text": "\\ud800"}',
        '{"class": "fox", "prompt": ["parts"], "text": "Legs."}',
        "no JSON",
    ],
)
def test_a_line_that_is_no_description_is_named(tmp_path, line):
    root = own_folder(tmp_path)
    (root / "descriptions.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match="descriptions.jsonl, line 1: expected"):
        load("folder", data_dir=str(root), unseen=["owl"])
