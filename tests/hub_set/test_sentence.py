"""A saved CAAN as SentenceTransformer(folder): the vectors of get_image_features and get_sketch_features.

python -m pytest tests/hub_set/test_sentence.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import (
    HIDDEN_SIZE,
    HUB_SET,
    assert_same_tensors,
    caan_model,
    complaints,
    image_processor,
    photo,
    pixels,
    processor,
    sketch,
)
from transformers import AutoModel, AutoProcessor

import sentence_caan
from configuration_caan import SENTENCE_FILES
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor, CAANProcessor
from sentence_caan import CAANSentenceModule

sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6.2")

STRANGER = str(Path(__file__).parents[1] / "helpers" / "sentence_stranger.py")
REPO = "org/caan-sketchy"
SHADE = 0.3  # a sketch that missed the processor's way for sketches would differ
PHOTOS = [photo(seed=seed) for seed in range(3)]
SKETCHES = [sketch(), sketch(box=(5, 5, 60, 20)), sketch(box=(30, 8, 50, 60))]


def models() -> dict[str, CAANModel]:
    return {
        "full": caan_model(whitening=0.5),
        "inference": caan_model(seed=1).for_inference(),
        "shared": caan_model(share_vision_encoder=True, whitening=1.0, use_text=False),
    }


def save(model: CAANModel, folder: Path) -> Path:
    both = processor()
    both.image_processor.sketch_shade = SHADE
    model.save_pretrained(folder)
    (both if model.config.use_text else both.image_processor).save_pretrained(folder)
    return folder


def vectors(model: CAANModel, pictures: list, modality: str) -> torch.Tensor:
    """What transformers gives, in one batch."""
    features_of = model.get_sketch_features if modality == "sketch" else model.get_image_features
    with torch.no_grad():
        return features_of(pixels(image_processor(sketch_shade=SHADE), pictures, modality=modality))


def equal(got, expected: torch.Tensor) -> bool:
    return torch.equal(torch.as_tensor(got), expected)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {name: save(model, tmp_path_factory.mktemp(name) / "model") for name, model in models().items()}


def load(folder: Path, **options):
    return sentence_transformers.SentenceTransformer(str(folder), trust_remote_code=True, device="cpu", **options)


@pytest.fixture(scope="module")
def loaded(folders):
    return load(folders["full"])


# ------------------------------------------------------------------------------------------------------------ vectors


@pytest.mark.parametrize("name", ["full", "inference", "shared"])
def test_photos_and_sketches_get_the_vectors_of_transformers(folders, name):
    model, plain = load(folders[name]), models()[name]
    expected = vectors(plain, PHOTOS, "photo")
    assert equal(model.encode(PHOTOS), expected) and equal(model.encode_document(PHOTOS), expected)
    assert equal(model.encode_query(SKETCHES), vectors(plain, SKETCHES, "sketch"))
    assert equal(model.encode(SKETCHES, prompt_name="query"), vectors(plain, SKETCHES, "sketch"))
    assert not torch.allclose(vectors(plain, SKETCHES, "photo"), vectors(plain, SKETCHES, "sketch"), atol=0.01)
    assert model.get_embedding_dimension() == HIDDEN_SIZE and model.modalities == ["image"]


def test_one_picture_a_list_and_batches(loaded):
    plain = models()["full"]
    one = loaded.encode(PHOTOS[0])
    assert one.shape == (HIDDEN_SIZE,) and equal(one[None], vectors(plain, PHOTOS[:1], "photo"))
    assert equal(loaded.encode_query(SKETCHES[1])[None], vectors(plain, SKETCHES[1:2], "sketch"))
    pictures = [photo(seed=seed) for seed in range(7)]
    batches = [vectors(plain, pictures[i : i + 3], "photo") for i in (0, 3, 6)]
    assert equal(loaded.encode(pictures, batch_size=3), torch.cat(batches))
    as_tensor = loaded.encode(pictures, batch_size=3, convert_to_tensor=True)
    assert torch.equal(as_tensor, torch.cat(batches)) and torch.allclose(as_tensor.norm(dim=1), torch.ones(7))


def test_every_form_of_a_picture(loaded, tmp_path):
    expected = vectors(models()["full"], PHOTOS[:1], "photo")
    PHOTOS[0].save(tmp_path / "a.png")
    for form in (str(tmp_path / "a.png"), tmp_path / "a.png", {"image": PHOTOS[0]}, np.asarray(PHOTOS[0])):
        assert equal(loaded.encode([form]), expected), form


def test_a_transparent_sketch_is_drawn_on_white(loaded):
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste(SKETCHES[0].convert("RGBA"), mask=SKETCHES[0].convert("L").point(lambda value: 255 - value))
    assert equal(loaded.encode_query([clear]), vectors(models()["full"], [clear], "sketch"))
    assert torch.allclose(
        torch.as_tensor(loaded.encode_query([clear])), vectors(models()["full"], SKETCHES[:1], "sketch"), atol=1e-2
    )


def test_options_of_the_image_processor(loaded):
    got = loaded.encode_query(SKETCHES, processing_kwargs={"image": {"sketch_shade": 0.0}})
    plain = pixels(image_processor(), SKETCHES, modality="sketch")
    with torch.no_grad():
        assert equal(got, models()["full"].get_sketch_features(plain))
    assert not equal(got, vectors(models()["full"], SKETCHES, "sketch"))


def test_cosine_is_the_similarity(loaded):
    found = loaded.similarity(loaded.encode_query(SKETCHES), loaded.encode_document(PHOTOS))
    expected = vectors(models()["full"], SKETCHES, "sketch") @ vectors(models()["full"], PHOTOS, "photo").T
    assert loaded.similarity_fn_name == "cosine" and torch.allclose(found, expected, atol=1e-6)


# -------------------------------------------------------------------------------------------------- folders and code


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """What a fresh interpreter without the project gets from folders and from a simulated Hub cache."""
    work = tmp_path_factory.mktemp("stranger")
    for name, model in models().items():
        save(model, work / name)
    repository = work / "home" / "hub" / f"models--{REPO.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(work / "inference", repository / "snapshots" / ("0" * 40))
    for name, picture in {"a": PHOTOS[0], "b": PHOTOS[1], "sketch": SKETCHES[0]}.items():
        picture.save(work / f"{name}.png")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HOME": str(work / "home")}
    command = [sys.executable, "-I", STRANGER, str(work), "full", "inference", "shared", REPO]
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return load_file(work / "arrays.safetensors"), json.loads((work / "modules.json").read_text())


@pytest.mark.parametrize("name", ["full", "inference", "shared", REPO])
def test_a_stranger_gets_them_too(stranger, name):
    model = "inference" if name == REPO else name
    arrays, modules = stranger
    assert torch.equal(arrays[f"{name} photos"], vectors(models()[model], PHOTOS[:2], "photo"))
    assert torch.equal(arrays[f"{name} sketch"], vectors(models()[model], SKETCHES[:1], "sketch"))
    assert modules[name].startswith("transformers_modules.") and modules[name].endswith(".sentence_caan")


def test_transformers_finds_the_folder_as_it_was(folders):
    with complaints() as said:
        model, report = AutoModel.from_pretrained(folders["full"], output_loading_info=True)
        both, alone = (AutoProcessor.from_pretrained(folders[name]) for name in ("full", "inference"))
    assert said == [] and not any(report.values())
    assert (type(model), type(both), type(alone)) == (CAANModel, CAANProcessor, CAANImageProcessor)
    assert_same_tensors(model, models()["full"])
    for folder in folders.values():
        names = {path.name for path in folder.iterdir()}
        assert names >= HUB_SET | SENTENCE_FILES.keys()
        assert {name: json.loads((folder / name).read_text()) for name in SENTENCE_FILES} == SENTENCE_FILES


def test_a_model_that_was_saved_from_there_is_whole(loaded, tmp_path):
    loaded.prompts["query"] = "photo"  # whoever changes a prompt keeps it
    try:
        loaded.save(str(tmp_path), create_model_card=False)
    finally:
        loaded.prompts["query"] = "sketch"
    assert {path.name for path in tmp_path.iterdir()} >= HUB_SET | SENTENCE_FILES.keys() | {"processor_config.json"}
    again = load(tmp_path)
    assert equal(again.encode(PHOTOS), vectors(models()["full"], PHOTOS, "photo"))
    assert equal(again.encode_query(PHOTOS), vectors(models()["full"], PHOTOS, "photo")) and again.prompts["query"] == "photo"
    assert_same_tensors(CAANModel.from_pretrained(tmp_path), models()["full"])


def test_modules_of_another_model_are_replaced(tmp_path):
    (tmp_path / "modules.json").write_text("[]")
    models()["inference"].save_pretrained(tmp_path)
    assert json.loads((tmp_path / "modules.json").read_text()) == SENTENCE_FILES["modules.json"]


def test_a_module_can_be_made_in_python_without_the_flag():
    module = CAANSentenceModule(models()["full"], image_processor(sketch_shade=SHADE))
    model = sentence_transformers.SentenceTransformer(modules=[module], device="cpu")
    assert equal(model.encode_query(SKETCHES), vectors(models()["full"], SKETCHES, "sketch"))


def test_nothing_of_it_is_imported_before_it_is_asked_for():
    code = "import sys, modeling_caan; assert 'sentence_caan' in sys.modules and 'sentence_transformers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_without_the_flag_the_cure_is_named(folders):
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        sentence_transformers.SentenceTransformer(str(folders["full"]), device="cpu")


def test_bad_input_is_named(loaded, tmp_path):
    with pytest.raises(ValueError, match="Supported modalities: image"):
        loaded.encode("a horse")
    with pytest.raises(ValueError, match='"sketch" or "photo"; got \'drawing: \''):
        loaded.encode(PHOTOS, prompt="drawing: ")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"Image 1 of the batch.*broken\.png"):
        loaded.encode([PHOTOS[0], tmp_path / "broken.png"])
    with pytest.raises(ValueError, match="Image 0 of the batch"):
        loaded.encode_query([Image.new("RGB", (64, 64), "white")])


def test_other_backends_are_refused(folders):
    with pytest.raises(ValueError, match="backend='onnx': CAAN runs here in torch alone; `caan export`"):
        load(folders["full"], backend="onnx")


def test_a_device_is_checked_once(monkeypatch):
    """The first batch on a device is compared with the CPU; after a fall-back the model is there, and asks no more."""
    asked = []

    def check(model, device, batch):
        asked.append((device, tuple(batch.shape)))
        return torch.device("cpu")

    monkeypatch.setattr(sentence_caan, "checked_device", check)
    model = sentence_transformers.SentenceTransformer(
        modules=[CAANSentenceModule(models()["full"], image_processor())], device="cpu"
    )
    for _ in range(2):
        model.encode(PHOTOS)
    assert asked == [(torch.device("cpu"), (3, 3, 32, 32))]
