"""Rows as pictures and training pairs.  python -m pytest tests/data/test_pictures.py"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value
from PIL import Image as PILImage
from running import shapes
from tiny import encoded, image_processor, photo, sketch
from torch.utils.data import DataLoader
from trees import make_shapes

from caan.data.pairs import PAPER_SIZES, SketchPhotoPairs
from caan.data.pictures import Pictures, join_splits, load_splits
from caan.data.sampling import TrainingItem
from caan.options import DataOptions

FEATURES = Features(
    {
        "image": Image(),
        "modality": ClassLabel(names=["sketch", "photo"]),
        "label": ClassLabel(names=["ant", "bee", "cow"]),
        "descriptions": Sequence(Value("string")),
        "file": Value("string"),
    }
)


def split(*rows) -> Dataset:
    """(modality, label, bytes) rows as a split whose pictures are embedded, as in the Parquet form."""
    columns = {"image": [], "modality": [], "label": [], "descriptions": [], "file": []}
    for number, (modality, label, content) in enumerate(rows):
        columns["image"].append({"bytes": content, "path": None})
        columns["modality"].append(modality)
        columns["label"].append(label)
        columns["descriptions"].append([])
        columns["file"].append(f"{modality}/{number}.png")
    return Dataset.from_dict(columns, FEATURES)


@pytest.fixture(scope="module")
def train():
    return load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]


def test_pictures_of_a_modality_with_their_classes_and_files(train):
    pictures = Pictures(train, "photo")
    assert len(pictures) == 5 * 7 and pictures.names[:5] == ["arch", "bar", "cross", "diamond", "ellipse"]
    for row in (0, 17, 34, -1):
        file = shapes() / pictures.files[row]
        assert file.parts[-3:-1] == ("photo", pictures.names[pictures.labels[row]])
        assert np.array_equal(np.asarray(pictures[row]), np.asarray(PILImage.open(file)))
        assert pictures[row].filename == pictures.files[row]
    for row in (35, -36):
        with pytest.raises(IndexError):
            pictures[row]


def test_embedded_pictures_are_read_too():
    first, second = sketch(), sketch(box=(1, 2, 30, 40))
    rows = split(("photo", 0, encoded(photo())), ("sketch", 2, encoded(first)), ("sketch", 1, encoded(second)))
    pictures = Pictures(rows, "sketch")
    assert pictures.labels.tolist() == [2, 1] and pictures.files == ["sketch/1.png", "sketch/2.png"]
    for picture, image in zip(pictures, (first, second)):
        assert np.array_equal(np.asarray(picture), np.asarray(image))


def test_nothing_is_decoded_before_it_is_asked_for_and_a_broken_picture_is_named():
    rows = split(("photo", 0, encoded(photo())), ("photo", 0, encoded(photo())[:300]), ("photo", 1, b""))
    pictures = Pictures(rows, "photo")
    assert pictures[0].size == (48, 40)
    for row in (1, 2):
        with pytest.raises(ValueError, match=f"^photo/{row}.png: Cannot read the image"):
            pictures[row]


def test_a_modality_that_is_not_there():
    rows = split(("photo", 0, encoded(photo())))
    with pytest.raises(ValueError, match="no modality 'drawing'; it has sketch, photo"):
        Pictures(rows, "drawing")
    with pytest.raises(ValueError, match="no sketch at all"):
        Pictures(rows, "sketch")


def pairs(rows, **options) -> SketchPhotoPairs:
    return SketchPhotoPairs(Pictures(rows, "sketch"), Pictures(rows, "photo"), image_processor(), **options)


def test_a_pair_depends_on_its_seed_alone(train):
    items = pairs(train)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = items[TrainingItem(3, 4, 77)]
    assert torch.equal(torch.get_rng_state(), state)  # the caller's randomness is not touched
    torch.manual_seed(6)
    again, other = items[TrainingItem(3, 4, 77)], items[TrainingItem(3, 4, 78)]
    for name in ("sketch_pixel_values", "pixel_values"):
        assert first[name].shape == (3, 32, 32)
        assert -1 <= first[name].min() < first[name].max() <= 1
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_without_augmentation_a_pair_is_what_inference_sees(train):
    items, process = pairs(train, augment=False), image_processor()
    item = items[TrainingItem(3, 4, 77)]
    sketches, photos = Pictures(train, "sketch"), Pictures(train, "photo")
    expected = process(shapes() / sketches.files[3], modality="sketch", return_tensors="pt").pixel_values[0]
    assert torch.equal(item["sketch_pixel_values"], expected)
    expected = process(shapes() / photos.files[4], modality="photo", return_tensors="pt").pixel_values[0]
    assert torch.equal(item["pixel_values"], expected)
    assert item["labels"] == int(sketches.labels[3])


def test_labels_count_the_classes_that_are_there():
    drawn, taken = encoded(sketch()), encoded(photo())
    rows = split(("sketch", 2, drawn), ("sketch", 0, drawn), ("sketch", 2, drawn), ("photo", 0, taken), ("photo", 2, taken))
    items = pairs(rows)
    assert [items[TrainingItem(row, 0, 0)]["labels"] for row in range(3)] == [1, 0, 1]


@pytest.mark.parametrize("augment", [True, False])
def test_a_blank_sketch_and_a_broken_photo_are_named_once(augment):
    blank = encoded(PILImage.new("RGB", (20, 20), "white"))
    items = pairs(split(("sketch", 0, blank), ("sketch", 0, encoded(sketch())), ("photo", 0, b"no")), augment=augment)
    for row, reason in ((0, "blank"), (1, "Cannot read the image")):
        with pytest.raises(ValueError, match=reason) as caught:
            items[TrainingItem(row, 0, 0)]
        assert str(caught.value).count("sketch/0.png" if row == 0 else "photo/2.png") == 1


def test_an_incomplete_folder_needs_the_option(tmp_path):
    root = make_shapes(tmp_path / "shapes", sketches=5, photos=2)
    shutil.rmtree(root / "photo" / "bar")
    options = DataOptions(dataset="folder", data_dir=str(root))
    with pytest.raises(ValueError, match="classes without a photo.*bar(.|\n)*--allow_partial"):
        load_splits(options)
    options.allow_partial = True
    splits = load_splits(options)
    assert splits["train"].features["label"].str2int("bar") not in Pictures(splits["train"], "photo").labels


def test_held_out_items_join_the_training_split_on_request():
    common = {"dataset": "folder", "data_dir": str(shapes())}
    apart, joined = (load_splits(DataOptions(**common, train_on_validation=flag)) for flag in (False, True))
    assert "validation" not in joined
    assert sorted(joined["train"]["file"]) == sorted([*apart["train"]["file"], *apart["validation"]["file"]])
    assert joined["train"].features == apart["train"].features
    assert joined["train"].info.config_name == apart["train"].info.config_name == "default"
    assert joined["test"]["file"] == apart["test"]["file"]


def test_augmentation_begins_from_the_pixels_that_inference_sees(train):
    """Sketches are resized as in use: by another filter, thin strokes would look otherwise in training."""
    items, process = pairs(train), image_processor()
    items.augmentations = {"sketch": torch.nn.Identity(), "photo": torch.nn.Identity()}
    sketches = Pictures(train, "sketch")
    for row in range(5):
        made = items._pixels(sketches, row)
        expected = process(shapes() / sketches.files[row], modality="sketch", return_tensors="pt").pixel_values[0]
        torch.testing.assert_close(made, expected, rtol=0, atol=2.01 / 255)  # rounded once in one, twice in the other


# -------------------------------------------------------------------------------------------------------- paper


def digests(items, seeds=range(6)) -> list[bytes]:
    """The sketches' pixels, which depend on row and seed."""
    return [items[TrainingItem(seed % 3, 0, seed)]["sketch_pixel_values"].numpy().tobytes() for seed in seeds]


def test_without_paper_nothing_changes_and_with_it_photos_stay(train):
    plain, paper = pairs(train, paper=0.0), pairs(train, paper=1.0)
    assert digests(plain) == digests(pairs(train))
    assert all(one != two for one, two in zip(digests(plain), digests(paper)))
    photos = [items[TrainingItem(0, 2, 9)]["pixel_values"] for items in (plain, paper)]
    assert torch.equal(*photos)


def test_paper_takes_its_share_and_leaves_the_other_sketches_as_they_are(train):
    plain, some, all_ = (digests(pairs(train, paper=share), range(40)) for share in (0.0, 0.3, 1.0))
    assert all(two in (one, three) for one, two, three in zip(plain, some, all_))
    assert 4 <= sum(one != two for one, two in zip(plain, some)) <= 20  # 0.3 of 40


def test_paper_is_the_same_in_any_number_of_workers(train):
    items = [TrainingItem(row % 5, row % 4, 100 + row) for row in range(8)]
    loaders = [DataLoader(pairs(train, paper=0.7), batch_size=4, sampler=items, num_workers=count) for count in (0, 2)]
    for one, two in zip(*loaders):
        for name in one:
            assert torch.equal(one[name], two[name])


def test_a_surface_without_ink_for_the_processor_falls_back_to_the_sketch(train, monkeypatch):
    given, expected = pairs(train, paper=1.0), digests(pairs(train))
    prepare = given.image_processor.prepare

    def refuse_pages(image, modality):
        if image.size in PAPER_SIZES:
            raise ValueError("the sketch has no ink: it is blank")
        return prepare(image, modality)

    monkeypatch.setattr(given.image_processor, "prepare", refuse_pages)
    assert digests(given) == expected


def test_paper_is_a_part_of_augmentation(train):
    assert digests(pairs(train, augment=False, paper=1.0)) == digests(pairs(train, augment=False))
    with pytest.raises(ValueError, match="paper is a part of augment"):
        DataOptions(augment=False, paper=0.5)
    with pytest.raises(ValueError, match=r"paper must be in \[0, 1\], got 1.5"):
        DataOptions(paper=1.5)


# ------------------------------------------------------------------------------------------------------- splits


def test_a_data_set_of_other_columns_is_refused_with_what_it_has(tmp_path):
    Dataset.from_dict({"img": [1, 2], "label": [0, 1]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="has no column image, modality, descriptions, file; it has img, label. A data set"):
        load_splits(DataOptions(dataset=str(tmp_path)))


@pytest.mark.parametrize("column, kind", [("modality", "string"), ("label", "int64")])
def test_columns_that_name_no_classes_are_refused(tmp_path, column, kind):
    rows = split(("sketch", 0, encoded(sketch())), ("photo", 0, encoded(photo())))
    rows.cast_column(column, Value(kind)).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=f"column {column} is of type {kind}, and must be a ClassLabel"):
        load_splits(DataOptions(dataset=str(tmp_path)))


@pytest.mark.parametrize("label", [-1, None])
def test_pictures_without_a_label_are_no_class_of_their_own(label):
    """Test splits on the Hub often keep their labels to themselves: all of one class, any ranking would be perfect."""
    rows = split(("sketch", 0, b""), ("photo", 0, b""), ("photo", label, b""))
    assert len(Pictures(rows, "sketch")) == 1
    with pytest.raises(ValueError, match="1 pictures have no label, such as photo/2.png"):
        Pictures(rows, "photo")


def test_a_folder_whose_classes_are_all_unseen_is_refused(tmp_path):
    root = make_shapes(tmp_path / "shapes", sketches=5, photos=2)
    (root / "unseen.txt").write_text("\n".join(path.name for path in (root / "sketch").iterdir()))
    with pytest.raises(ValueError, match="has no split train: all its classes are unseen. Name fewer of them in unseen.txt"):
        load_splits(DataOptions(dataset="folder", data_dir=str(root)))


def test_no_picture_is_twice_in_a_joined_split(tmp_path):
    """A validation split of an older Parquet form has the training photos."""
    drawn, taken = encoded(sketch()), encoded(photo())
    first = split(("sketch", 0, drawn), ("photo", 0, taken), ("photo", 1, taken))
    second = split(("photo", 0, taken), ("photo", 0, taken), ("photo", 1, taken))  # files photo/0.png, photo/1.png, photo/2.png
    joined = join_splits(first, second)
    assert joined["file"][:] == ["sketch/0.png", "photo/1.png", "photo/2.png", "photo/0.png"]


def test_skip_corrupt_leaves_out_what_training_would_stop_at(tmp_path, capsys):
    root = make_shapes(tmp_path / "shapes", sketches=10, photos=8)
    (root / "sketch" / "bar" / "3.png").write_bytes(encoded(PILImage.new("RGB", (40, 40), "white")))
    photo_file = root / "photo" / "cross" / "2.png"
    photo_file.write_bytes(photo_file.read_bytes()[:90])
    options = DataOptions(dataset="folder", data_dir=str(root))
    with pytest.raises(ValueError, match="bar/3.png(.|\n)*--skip_corrupt"):
        load_splits(replace(options, verify=True))
    splits = load_splits(replace(options, skip_corrupt=True))
    assert sum(len(part) for part in splits.values()) == 7 * 18 - 2
    said = capsys.readouterr().out
    assert "sketch/bar/3.png" in said and "photo/cross/2.png" in said


def test_a_picture_that_stops_the_training_is_named_with_the_option():
    blank = encoded(PILImage.new("RGB", (20, 20), "white"))
    items = pairs(split(("sketch", 0, blank), ("sketch", 0, encoded(sketch())), ("photo", 0, b"no")))
    for row, name in ((0, "sketch/0.png"), (1, "photo/2.png")):
        with pytest.raises(ValueError, match=f"{name}: .*--skip_corrupt leaves such pictures out"):
            items[TrainingItem(row, 0, 0)]
