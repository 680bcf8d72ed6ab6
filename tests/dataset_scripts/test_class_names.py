"""Which folder names mean one class, and which are no class at all.

pytest tests/dataset_scripts/test_class_names.py
"""

import unicodedata

import pytest
from benchmark_trees import make_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_scripts import load
from dataset_scripts.core.layouts import ClassNames, normalise
from dataset_scripts.folder import Folder

fixed = settings(derandomize=True, deadline=None, database=None)  # the same examples in every run, however slow it is
WORDS = st.text(st.characters(categories=("L", "M", "N", "S")), min_size=1)
SEPARATORS = st.text("-_ ().,'&/\u2014\u200b", min_size=1, max_size=3)


@fixed
@given(st.text())
def test_the_form_of_unicode_does_not_matter(name):
    assert normalise(unicodedata.normalize("NFC", name)) == normalise(unicodedata.normalize("NFD", name)) == normalise(name)


@fixed
@given(WORDS, SEPARATORS, WORDS, SEPARATORS)
def test_separators_do_not_matter(first, one, second, other):
    spellings = {normalise(first + mark + second) for mark in (one, other)}
    assert len(spellings) == 1


@fixed
@given(st.text(st.characters(categories=("Ll", "Lu"), max_codepoint=0x17F, exclude_characters="ıİŉſ")))
def test_case_does_not_matter(name):
    assert normalise(name.upper()) == normalise(name.lower()) == normalise(name)


@fixed
@given(st.lists(st.text(st.characters(categories=("Lo", "Mc", "Mn"), min_codepoint=0x900, max_codepoint=0xE7F), min_size=1)))
def test_words_that_differ_by_a_letter_or_a_vowel_sign_stay_apart(words):
    """Of Devanagari to Thai: scripts without case, where only the form of Unicode may join two spellings."""
    forms = {unicodedata.normalize("NFC", word) for word in words}
    assert len({normalise(word) for word in words}) == len(forms)


@fixed
@given(st.text(min_size=1))
def test_every_name_has_a_key(name):
    key = normalise(name)
    assert key and normalise(key) == key


@pytest.mark.parametrize(
    "one, other",
    [
        ("\u0915\u0932", "\u0915\u093e\u0932"),  # Hindi: tomorrow, time
        ("\u0e1b\u0e39", "\u0e1b\u0e35"),  # Thai: crab, year
        ("a", "\u00e4"),
        ("C", "C++"),
        ("\u2605", "\u2665"),
        ("--", "()"),
    ],
)
def test_different_words(one, other):
    names = ClassNames([one, other])
    assert (names.resolve(one), names.resolve(other)) == (one, other)


def test_a_collision_names_both():
    with pytest.raises(ValueError, match="differ only by case, .*: 'palm tree' and 'Palm_tree'; rename one of them"):
        ClassNames(["owl", "palm tree", "Palm_tree"])


def own(root, sketches, photos):
    files = [f"sketch/{c}/{i}.png" for c in sketches for i in range(6)] + [
        f"photo/{c}/{i}.png" for c in photos for i in range(6)
    ]
    return make_tree(root, files)


NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("photo", ["Red_Car", "red-car", "RED CAR"])
def test_one_class_spelt_in_two_ways_by_sketches_and_photos(tmp_path, photo):
    root = own(tmp_path / "data", ["owl", "red car", NFC], ["owl", photo, NFD])
    splits = load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"), unseen=["Owl"])
    assert splits["train"].features["label"].names == [NFC, "red car", "owl"]
    assert {split: rows.num_rows for split, rows in splits.items()} == {"train": 20, "validation": 4, "test": 12}
    assert {f.split("/")[1] for f in splits["train"]["file"]} == {NFC, NFD, "red car", photo}
    assert {f.split("/")[1] for f in splits["test"]["file"]} == {"owl"}


def test_two_folders_of_one_source_that_mean_one_class_are_named(tmp_path):
    root = own(tmp_path / "data", ["owl", "cup"], ["owl", "cup", "Cup"])
    with pytest.raises(ValueError, match="'photo/Cup' and 'photo/cup' differ only by case.* Merge the folders, or rename one"):
        load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))


HIDDEN = (".ipynb_checkpoints", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", ".Trash-0", "lost+found", "__pycache__")


def test_folders_of_programs_are_no_classes(tmp_path, capsys):
    root = own(tmp_path / "data", ["cup", "owl"], ["cup", "owl", *HIDDEN])
    (root / "photo/cup/@eaDir").mkdir()
    splits = load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"), unseen=["owl"])
    assert splits["train"].features["label"].names == ["cup", "owl"]
    assert sum(splits.num_rows.values()) == 24
    assert "not read (9): photo/#recycle (hidden or system folder), photo/$RECYCLE.BIN (hid" in capsys.readouterr().out


def test_texts_find_their_class_however_it_is_spelt(tmp_path):
    root = own(tmp_path / "data", ["owl", "red car"], ["owl", "red car"])
    (root / "descriptions.jsonl").write_text('{"class": "Red_car", "prompt": "parts", "text": "Wheels."}\n', encoding="utf-8")
    splits = load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"), unseen=["owl"])
    assert splits["train"][0]["descriptions"] == ["Wheels."] and splits["test"][0]["descriptions"] == []


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, line_end):
    root = own(tmp_path / "data", [NFC, "owl"], [NFC, "owl"])
    (root / "unseen.txt").write_bytes(f"\ufeff{NFD}{line_end}".encode())
    row = f'{{"class": "owl", "prompt": "parts", "text": "Two\u2028eyes."}}{line_end}'
    (root / "descriptions.jsonl").write_bytes(f"\ufeff{row}".encode())
    config = Folder(data_dir=str(root)).config
    assert (config.split.seen, config.split.unseen) == (["owl"], [NFC])
    assert config.descriptions == {"owl": ["Two\u2028eyes."]}


def test_a_text_file_in_another_encoding_is_named(tmp_path):
    root = own(tmp_path / "data", ["owl", "cup"], ["owl", "cup"])
    (root / "unseen.txt").write_bytes("owl\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"unseen.txt is no UTF-8 text \(byte 0\). Save it as UTF-8"):
        load("folder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
