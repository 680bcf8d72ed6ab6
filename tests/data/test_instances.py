"""Own photos: the column `instance`, its codes, batches of pairs.  python -m pytest tests/data/test_instances.py"""

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Sequence, Value
from running import shapes
from tiny import encoded, image_processor, photo, sketch
from torch.utils.data import DataLoader

from caan.data.benchmark import make_benchmark
from caan.data.instances import NO_INSTANCE, instance_codes, own_photos, paired_codes
from caan.data.paired_sampling import PairedSampler
from caan.data.pairs import SketchPhotoPairs
from caan.data.pictures import Pictures, load_splits, require_columns
from caan.data.sampling import TrainingItem
from caan.options import DataOptions

FEATURES = {
    "image": Image(),
    "modality": ClassLabel(names=["sketch", "photo"]),
    "label": ClassLabel(names=["ant", "bee"]),
    "descriptions": Sequence(Value("string")),
    "file": Value("string"),
}
ROWS = [  # modality, label, instance; "a" of the ant and "a" of the bee are two things
    *[(0, 0, "a"), (0, 0, "a"), (0, 0, "b"), (0, 0, None), (0, 1, "a"), (0, 1, "gone"), (0, 1, "")],
    *[(1, 0, "b"), (1, 0, "a"), (1, 0, None), (1, 0, "b"), (1, 1, "a"), (1, 1, None), (1, 1, "c")],
]


def split(rows=ROWS, kind: str | None = "string") -> Dataset:
    """Rows whose pictures lean to one side; kind = type of the column `instance`, None = without it."""
    content = [encoded(sketch(box=(2, 10, 30, 40)) if m == 0 else photo(seed=i), "PNG") for i, (m, _, _) in enumerate(rows)]
    columns = {
        "image": [{"bytes": data, "path": None} for data in content],
        "modality": [row[0] for row in rows],
        "label": [row[1] for row in rows],
        "descriptions": [[] for _ in rows],
        "file": [f"{i}.png" for i in range(len(rows))],
    }
    if kind is None:
        return Dataset.from_dict(columns, Features(FEATURES))
    columns["instance"] = [row[2] for row in rows] if kind.endswith("string") else list(range(len(rows)))
    return Dataset.from_dict(columns, Features({**FEATURES, "instance": Value(kind)}))


def both(rows: Dataset) -> tuple[Pictures, Pictures]:
    return Pictures(rows, "sketch"), Pictures(rows, "photo")


# ------------------------------------------------------------------------------------------------------------- the column


@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_pictures_know_their_instances(kind):
    sketches, photos = both(split(kind=kind))
    assert sketches.instances == ["a", "a", "b", None, "a", "gone", None]  # an empty name is none
    assert photos.instances == ["b", "a", None, "b", "a", None, "c"]


def test_data_sets_without_the_column_load():
    sketches, photos = both(split(kind=None))
    assert sketches.instances == [None] * 7 and photos.instances == [None] * 7
    assert own_photos(sketches, photos) == [[]] * 7
    require_columns(DatasetDict({"train": split(kind=None)}), "org/before")


def test_a_column_of_none_alone_is_no_pairs():
    rows = split(kind=None).add_column("instance", [None] * 14)
    assert rows.features["instance"].dtype == "null"
    require_columns(DatasetDict({"train": rows}), "org/none")
    assert both(rows)[0].instances == [None] * 7


def test_a_column_of_another_type_is_refused_by_name():
    with pytest.raises(ValueError, match="org/other: column instance is of type int64, and must hold strings: the name that a"):
        require_columns(DatasetDict({"train": split(kind="int64")}), "org/other")


def test_a_benchmark_joins_the_instances_of_its_galleries():
    splits = DatasetDict({"train": split(), "test": split(ROWS[4:])})
    assert make_benchmark(splits, "test", generalized=True).gallery_instances == [
        *["b", "a", None, "b", "a", None, "c"],
        *["b", "a", None, "b", "a", None, "c"],
    ]


# -------------------------------------------------------------------------------------------------------------- the codes


def test_codes_are_equal_for_one_name_in_one_class():
    sketches, photos = paired_codes(*both(split()))
    assert sketches.tolist() == [0, 0, 1, NO_INSTANCE, 2, 3, NO_INSTANCE]
    assert photos.tolist() == [1, 0, NO_INSTANCE, 1, 2, NO_INSTANCE, 4]
    assert instance_codes(["ant", "bee"], ["a", "a"]).tolist() == [0, 1]
    assert instance_codes(torch.tensor([3, 3]), ["a", "a"]).tolist() == [0, 0]
    with pytest.raises(ValueError, match="there are 1 instances for 2 labels"):
        instance_codes([0, 1], ["a"])


def test_own_photos_with_their_copies():
    assert own_photos(*both(split())) == [[1], [1], [0, 3], [], [4], [], []]


# -------------------------------------------------------------------------------------------------------------- batches

# Two classes of three photos with two sketches each, a fourth photo that nobody drew, and a sketch whose photo is not there.
SKETCH_LABELS = [0] * 7 + [1] * 7
PHOTO_LABELS = [0] * 4 + [1] * 4
OWN = [[0], [0], [1], [1], [2], [2], [], [4], [4], [5], [5], [6, 7], [6, 7], []]  # the last drawn photo is there twice


def sampler(k: int = 3, own=OWN, **options) -> PairedSampler:
    named = {"seed": 1, "batches_per_epoch": 60, **options}
    return PairedSampler(SKETCH_LABELS, PHOTO_LABELS, 2, k, own=own, **named)


def runs(items, k: int) -> list[list[TrainingItem]]:
    items = list(items)
    return [items[i : i + k] for i in range(0, len(items), k)]


def test_each_sketch_comes_with_its_own_photo():
    seen = list(sampler())
    assert len(seen) == len(sampler()) == 60 * 2 * 3
    for item in seen:
        assert item.photo in OWN[item.sketch] if OWN[item.sketch] else PHOTO_LABELS[item.photo] == SKETCH_LABELS[item.sketch]
    assert {item.photo for item in seen if item.sketch == 11} == {6, 7}  # either copy
    assert {item.photo for item in seen if item.sketch == 6} == {0, 1, 2, 3}  # any of the class


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_run_shows_different_photos(k):
    for run in runs(sampler(k), k):
        things = [tuple(OWN[item.sketch]) or item.sketch for item in run]
        assert len(set(things)) == k and len({SKETCH_LABELS[item.sketch] for item in run}) == 1


def test_a_longer_run_shows_every_photo_of_the_class_before_one_again():
    for run in runs(sampler(6), 6):  # a class has three photos with sketches, and a sketch without its photo
        things = [tuple(OWN[item.sketch]) or item.sketch for item in run]
        assert len(set(things[:4])) == 4 and len(set(things[4:])) == 2


def test_photos_take_turns_and_so_do_their_sketches():
    drawn = [item.sketch for item in sampler() if SKETCH_LABELS[item.sketch] == 0]
    things = [tuple(OWN[sketch]) or sketch for sketch in drawn]
    for turn in range(len(things)):
        counts = [things[: turn + 1].count(thing) for thing in set(things)]
        assert max(counts) - min(counts + [0] * (len(set(things)) - len(counts))) <= 1
    for first, second in ((0, 1), (2, 3), (4, 5)):
        assert abs(drawn.count(first) - drawn.count(second)) <= 1


def test_a_share_comes_with_any_photo():
    items = list(sampler(share=0.5, batches_per_epoch=400))
    paired = [item.photo in OWN[item.sketch] for item in items if OWN[item.sketch]]
    assert 0.55 < sum(paired) / len(paired) < 0.72  # half, and by chance a quarter to a half of the rest
    assert {item.photo for item in items} == set(range(8))


def test_the_order_depends_on_seed_and_epoch_alone():
    first, second, other = sampler(), sampler(), sampler(seed=2)
    assert list(first) == list(second) != list(other)
    second.set_epoch(1)
    assert list(first) != list(second)


@pytest.mark.parametrize("own", [[[]] * 14, [[0, 1, 2, 3]] * 7 + [[]] * 7])
def test_data_without_pairs_to_tell_apart_are_refused(own):
    with pytest.raises(ValueError, match="No class has a sketch with its own photo and another photo beside it"):
        sampler(own=own)


def test_items_say_which_are_pairs():
    pairs = SketchPhotoPairs(*both(split()), image_processor(), augment=False, paired=True)
    loader = DataLoader(pairs, batch_size=3, sampler=[TrainingItem(0, 1, 0), TrainingItem(2, 1, 0), TrainingItem(3, 2, 0)])
    batch = next(iter(loader))
    assert batch["sketch_instances"].tolist() == [0, 1, NO_INSTANCE]
    assert batch["photo_instances"].tolist() == [0, 0, NO_INSTANCE]
    assert "photo_instances" not in SketchPhotoPairs(*both(split()), image_processor())[TrainingItem(0, 0, 0)]


def test_a_pair_is_mirrored_together():
    """What each picture shows more of, left or right, changes sides in both or in neither."""
    rows = split()
    left = Pictures(rows, "photo")
    half = photo(size=(64, 64)).copy()
    half.paste("black", (0, 0, 24, 64))
    half.paste("white", (24, 0, 64, 64))
    left.rows = [{"image": {"bytes": encoded(half, "PNG"), "path": None}}] * len(left)
    drawn = Pictures(rows, "sketch")
    lines = sketch(box=(2, 2, 61, 61), size=(64, 64))
    lines.paste("black", (4, 4, 20, 60))
    drawn.rows = [{"image": {"bytes": encoded(lines, "PNG"), "path": None}}] * len(drawn)
    sides = {False: set(), True: set()}
    for paired, found in sides.items():
        pairs = SketchPhotoPairs(drawn, left, image_processor(), paired=paired)
        for seed in range(24):
            item = pairs[TrainingItem(0, 1, seed)]
            means = (item[name].mean(dim=(0, 1)) for name in ("sketch_pixel_values", "pixel_values"))
            found.add(tuple(bool(mean[:16].mean() < mean[16:].mean()) for mean in means))
    assert sides[True] == {(True, True), (False, False)}
    assert len(sides[False]) == 4


def test_the_pairs_of_a_folder():
    train = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]
    sketches, photos = both(train)
    own = own_photos(sketches, photos)
    assert len(own) == 40 and 20 < sum(map(len, own)) < 35  # photos 8 and 9 are not there, some others are held out
    for row, rows in enumerate(own):
        assert [photos.files[i].replace("photo/", "sketch/") for i in rows] == [sketches.files[row]] * len(rows)
