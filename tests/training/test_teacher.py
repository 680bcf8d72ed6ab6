"""A frozen teacher in training.  python -m pytest tests/training/test_teacher.py"""

import json
import shutil

import pytest
import torch
from running import run_training, shapes, train
from tiny import add_noise, image_processor, vision_config
from torch.nn.functional import normalize
from transformers import AutoModel, ViTImageProcessor
from trees import CONFIG, make_shapes, shape_options

from caan.data.pairs import SketchPhotoPairs
from caan.data.pictures import Pictures, load_splits
from caan.data.sampling import TrainingItem
from caan.evaluation.facts import read_facts
from caan.evaluation.retrievers import load_retriever
from caan.options import DataOptions
from caan.training import teacher as module
from caan.training.teacher import TeacherSource, build_teacher, teacher_features
from modeling_caan import CAANModel
from pipeline_caan import embed_images


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """The folder of a small ViT, and a cache of the test's own."""
    monkeypatch.setattr(module.datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "teacher"
    add_noise(AutoModel.from_config(vision_config())).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def training_photos(root=None) -> Pictures:
    return Pictures(load_splits(DataOptions(dataset="folder", data_dir=str(root or shapes())))["train"], "photo")


def test_features_are_those_of_the_teacher(teacher):
    photos = training_photos()
    alone = load_retriever(teacher)
    expected = embed_images(alone.model, alone.processor, photos, "photo")
    assert torch.equal(teacher_features(teacher, 0, photos), expected) and expected.shape == (len(photos), 16)


def test_features_are_computed_once(teacher, monkeypatch):
    photos, calls, embed = training_photos(), [], module.embed_images
    monkeypatch.setattr(module, "embed_images", lambda *args: (calls.append(1), embed(*args))[1])
    first = teacher_features(teacher, 0, photos)
    assert torch.equal(teacher_features(teacher, 0, photos), first) and len(calls) == 1
    teacher_features(teacher, 24, photos)  # another size
    assert len(calls) == 2


def test_features_are_made_anew_for_other_photos_and_for_another_teacher(teacher, tmp_path):
    root = make_shapes(tmp_path / "shapes")
    before = teacher_features(teacher, 0, training_photos(root))
    first = sorted((root / "photo" / "arch").iterdir())[0]
    first.write_bytes(sorted((root / "photo" / "bar").iterdir())[0].read_bytes())  # same name, other bytes
    photos = training_photos(root)
    changed = (teacher_features(teacher, 0, photos) != before).any(dim=1)
    assert changed.sum() == 1 and photos.files[int(changed.int().argmax())].endswith(f"arch/{first.name}")
    add_noise(AutoModel.from_pretrained(teacher), seed=5).save_pretrained(teacher)
    assert (teacher_features(teacher, 0, photos) != before).any(dim=1).all()


def test_a_damaged_cache_is_written_anew(teacher, tmp_path):
    before = teacher_features(teacher, 0, training_photos())
    (file,) = (tmp_path / "cache" / "caan_teacher").iterdir()
    file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(teacher_features(teacher, 0, training_photos()), before)
    assert torch.equal(module.load_file(file)["features"], before)


def test_targets_by_hand():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 3.0]])  # mean (0, 1)
    source = TeacherSource(features, torch.tensor([1, 0, 1, -1]))
    centred = normalize(torch.tensor([[1.0, -1.0], [0.0, 0.0], [-1.0, -1.0], [0.0, 2.0]]), dim=-1)
    given = source.step_inputs(torch.tensor([2, 0]), torch.tensor([1, 0]))
    assert torch.equal(given["photo_targets"], centred[[2, 0]])
    assert torch.allclose(given["sketch_targets"], torch.stack([(centred[0] + centred[2]) / 2, centred[1]]))
    assert sorted(given["teacher_photos"].tolist()) == sorted(centred.tolist()) and source.width == 2


def test_of_many_photos_an_even_part_is_compared(monkeypatch):
    monkeypatch.setattr(module, "MOST", 6)
    features, rows = torch.randn(300, 4), torch.arange(300) % 3
    source = TeacherSource(features, rows)
    known = [next(i for i in range(300) if torch.equal(source.photos[i], row)) for row in source.known]
    assert len(set(known)) == 6 and sorted(rows[known].tolist()) == [0, 0, 1, 1, 2, 2]


def test_a_batch_names_its_photos():
    split = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]
    pairs = SketchPhotoPairs(Pictures(split, "sketch"), Pictures(split, "photo"), image_processor(), augment=False)
    assert pairs[TrainingItem(3, 7, 0)]["photo_rows"] == 7


def test_a_run_with_a_teacher(teacher, tmp_path):
    run = train(tmp_path / "run", teacher_model=teacher, model_config={**CONFIG, "lambda_teacher": 4.0}, num_epochs=1)
    head = run.model.teacher_head
    assert head.weight.shape == (16, 16) and run.loop.teacher.classes.shape == (5, 16)
    facts = read_facts(tmp_path / "run")
    assert facts["options"]["teacher_model"] == "teacher" and facts["base_models"] == {}
    assert "| photos known as by" in (tmp_path / "run" / "README.md").read_text()
    assert torch.equal(CAANModel.from_pretrained(tmp_path / "run").teacher_head.weight, head.weight)
    on = train(tmp_path / "on", model=tmp_path / "run", num_epochs=1, batches_per_epoch=1)  # without a teacher from now on
    assert on.model.teacher_head is None and CAANModel.from_pretrained(tmp_path / "on").config.teacher_width == 0


def test_a_run_with_a_teacher_resumes_to_the_same_bytes(teacher, tmp_path):
    options = {"teacher_model": teacher, "num_epochs": 2, "save_total_limit": 9}
    train(tmp_path / "whole", **options)
    train(tmp_path / "part", **options)
    for name in ("model.safetensors", "config.json", "training.json"):
        (tmp_path / "part" / name).unlink()
    shutil.rmtree(tmp_path / "part" / "checkpoints" / "step_00000010")
    arguments = shape_options(shapes(), tmp_path / "part", **options, resume_from_checkpoint="latest")
    assert "resuming at step 5" in run_training(arguments).stdout
    one, other = (tmp_path / name / "model.safetensors" for name in ("whole", "part"))
    assert one.read_bytes() == other.read_bytes()


def test_the_teacher_s_own_photo_is_told_with_classes_missing(teacher):
    """Photos of a class without sketches are of no class of the batches."""
    split = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]
    photos, sketches = Pictures(split, "photo"), Pictures(split.filter(lambda row: row["label"] != 1), "sketch")
    pairs = SketchPhotoPairs(sketches, photos, image_processor())
    source = build_teacher(teacher, 0, pairs, "cpu")
    third = photos.labels == 2
    assert source.classes.shape == (4, 16)
    assert torch.allclose(source.classes[1], source.photos[third].mean(dim=0))
    assert json.dumps(pairs.class_rows) == json.dumps([label - (label > 1) for label in sketches.labels.tolist()])
