"""Searching with the package installed; test_hub_set.py searches without it.

python -m pytest tests/hub_set/test_pipeline.py"""

import json

import pytest
import torch
from accelerate import infer_auto_device_map
from PIL import Image
from safetensors.torch import save_file
from tiny import HIDDEN_SIZE, caan_model, complaints, image_processor, photo, pixels, processor, sketch
from transformers import pipeline

import caan
import pipeline_caan
from dataset_scripts.core import entries
from modeling_caan import TRAINING_MODULES
from pipeline_caan import list_images

SKETCHES = [sketch(), sketch((2, 2, 60, 30)), sketch((20, 5, 30, 60), width=5)]


@pytest.fixture(scope="module")
def model():
    return caan_model()


@pytest.fixture(scope="module")
def work(tmp_path_factory, model):
    """A saved model, and twelve photos in two folders, the last a copy of the first."""
    work = tmp_path_factory.mktemp("pipeline")
    model.save_pretrained(work / "model")
    processor().save_pretrained(work / "model")
    (work / "photos" / "z").mkdir(parents=True)
    for seed in range(11):
        photo(seed=seed).save(work / "photos" / f"{'z/' if seed > 6 else ''}{seed:02}.png")
    photo(seed=0).save(work / "photos" / "z" / "copy.png")
    sketch().save(work / "sketch.png")
    return work


@pytest.fixture(scope="module")
def pipe(work):
    return pipeline("sketch-retrieval", model=str(work / "model"))


@torch.no_grad()
def ranking(model, query, files):
    """(file, cosine) from the best on: the slow reference, one picture at a time."""
    vector = model.get_sketch_features(pixels(image_processor(), query, modality="sketch"))[0].tolist()
    scores = {}
    for file in files:
        other = model.get_image_features(pixels(image_processor(), file, modality="photo"))[0].tolist()
        scores[file] = sum(a * b for a, b in zip(vector, other))
    return sorted(scores.items(), key=lambda item: -item[1])


def assert_results(results, expected, names=None):
    """Results are the expected (file, cosine) in order; equals, up to rounding, may stand in either order."""
    assert [result["rank"] for result in results] == list(range(1, len(expected) + 1))
    scores = dict(expected)
    for result, (_, score) in zip(results, expected):
        assert result.keys() == {"image", "score", "rank"} and isinstance(result["score"], float)
        name = result["image"] if names is None else names[result["image"]]
        assert result["score"] == pytest.approx(score, abs=1e-5) and scores[name] == pytest.approx(score, abs=1e-5)


# ------------------------------------------------------------------------------------------------------------- ranking


def test_a_sketch_finds_photos_by_their_cosine(pipe, model, work):
    files = list_images(work / "photos")
    expected = ranking(model, SKETCHES[0], files)
    assert len(files) == 12
    for query in (SKETCHES[0], str(work / "sketch.png"), work / "sketch.png"):
        assert_results(pipe(query, work / "photos"), expected[:10])
    assert_results(pipe(SKETCHES[0], gallery=str(work / "photos"), top_k=3), expected[:3])
    assert_results(pipe(SKETCHES[0], gallery=files[:2], top_k=100), ranking(model, SKETCHES[0], files[:2]))


def test_all_forms_of_a_gallery_give_the_same(pipe, model, work):
    files = list_images(work / "photos")
    expected = ranking(model, SKETCHES[1], files)[:10]
    gallery = pipe.encode_gallery(work / "photos", progress=False)
    assert gallery.images == files and gallery.skipped == [] and gallery.features.shape == (12, HIDDEN_SIZE)
    assert torch.allclose(gallery.features.norm(dim=1), torch.ones(12))
    gallery.save(work / "photos.safetensors")
    named = dict(enumerate(files))
    for form, names in [
        (gallery, None),
        (str(work / "photos.safetensors"), None),
        (work / "photos.safetensors", None),
        (files, None),
        (3 * gallery.features, named),  # of any length: cosines are compared
        (gallery.features.double().numpy(), named),
    ]:
        assert_results(pipe(SKETCHES[1], gallery=form), expected, names)


def test_pictures_in_memory_come_back_as_they_were_given(pipe, model, work):
    pictures = [Image.open(file) for file in list_images(work / "photos")[:4]]
    results = pipe(SKETCHES[0], gallery=pictures)
    assert {id(result["image"]) for result in results} == {id(picture) for picture in pictures}
    expected = ranking(model, SKETCHES[0], [picture.filename for picture in pictures])
    assert_results([{**result, "image": result["image"].filename} for result in results], expected)
    gallery = pipe.encode_gallery(pictures, progress=False)
    gallery.save(work / "nameless.safetensors")
    again = pipe(SKETCHES[0], gallery=work / "nameless.safetensors")
    assert [pictures[result["image"]] for result in again] == [result["image"] for result in results]


def test_many_sketches_give_a_list_each(pipe, model, work):
    gallery = pipe.encode_gallery(work / "photos", progress=False)
    expected = [ranking(model, query, gallery.images)[:4] for query in SKETCHES]
    for batch_size in (None, 1, 2):
        for queries in (SKETCHES, tuple(SKETCHES), (query for query in SKETCHES)):
            found = list(pipe(queries, gallery=gallery, top_k=4, batch_size=batch_size))
            assert len(found) == 3
            for results, wanted in zip(found, expected):
                assert_results(results, wanted)
    assert pipe([], gallery=gallery) == []


def test_gallery_and_top_k_may_be_given_once(model, work):
    pipe = pipeline("sketch-retrieval", model=str(work / "model"), gallery=work / "photos", top_k=2, batch_size=5)
    expected = ranking(model, SKETCHES[2], list_images(work / "photos"))
    assert_results(pipe(SKETCHES[2]), expected[:2])
    assert_results(pipe([SKETCHES[2]], top_k=5)[0], expected[:5])
    assert_results(pipe(SKETCHES[2], gallery=[expected[7][0]]), expected[7:8])


def test_equal_scores_rank_in_gallery_order(pipe):
    features = torch.zeros(40, HIDDEN_SIZE)
    features[::2, 0], features[1::2, 1] = 1, 1
    results = pipe(SKETCHES[0], gallery=features, top_k=40)
    halves = [result["image"] for result in results[:20]], [result["image"] for result in results[20:]]
    assert sorted(halves) == [list(range(0, 40, 2)), list(range(1, 40, 2))]


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("gallery", "message"),
    [
        (None, "Say where to search: gallery="),
        ([], "The gallery is empty"),
        (torch.zeros(0, HIDDEN_SIZE), r"not empty, got \(0, 8\)"),
        (torch.zeros(HIDDEN_SIZE), r"must be \(count, hidden_size\)"),
        (torch.ones(3, HIDDEN_SIZE + 1), "9 wide, the sketch's 8: .* Encode the gallery"),
        (torch.tensor([[1.0] * HIDDEN_SIZE, [float("nan")] * HIDDEN_SIZE]), "NaN or infinity in 1 rows, first in row 1"),
        ("nowhere", "No such folder of pictures: nowhere"),
        ("nowhere.safetensors", "No such gallery file: nowhere.safetensors"),
        (["gone.jpg"], r"photo 0 \(gone.jpg\): No such image file"),
    ],
)
def test_a_gallery_that_cannot_be_searched_is_named(pipe, gallery, message):
    with pytest.raises(ValueError, match=message):
        pipe(SKETCHES[0], gallery=gallery)


def test_a_folder_without_pictures_and_files_of_others_are_named(pipe, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="There is no picture in"):
        pipe(SKETCHES[0], gallery=tmp_path)
    save_file({"weight": torch.ones(2, HIDDEN_SIZE)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no tensor `features`; it holds weight"):
        pipe(SKETCHES[0], gallery=tmp_path / "other.safetensors")
    names = {"images": json.dumps(["a.jpg"])}
    save_file({"features": torch.ones(2, HIDDEN_SIZE)}, tmp_path / "short.safetensors", metadata=names)
    with pytest.raises(ValueError, match="1 gallery images for 2 rows"):
        pipe(SKETCHES[0], gallery=tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        pipe.encode_gallery([photo()], progress=False).save(tmp_path / "photos.bin")


def test_blank_sketches_and_senseless_options_are_named(pipe, work):
    blank = Image.new("RGB", (20, 20), "white")
    blank.save(work / "blank.png")
    with pytest.raises(ValueError, match="blank.png.* the sketch has no ink"):
        pipe(str(work / "blank.png"), gallery=work / "photos")
    with pytest.raises(ValueError, match="sketch 1: the sketch has no ink"):
        pipe([SKETCHES[0], blank], gallery=work / "photos")
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        pipe(SKETCHES[0], gallery=work / "photos", top_k=0)
    with pytest.raises(TypeError, match="topk"):
        pipe(SKETCHES[0], gallery=work / "photos", topk=3)


def test_unreadable_pictures_are_left_out_on_request(pipe, work, tmp_path):
    files = list_images(work / "photos")[:3]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    images = [files[0], str(broken), *files[1:]]
    with pytest.raises(ValueError, match=r"photo 1 \(.*broken\.jpg\): Cannot read"):
        pipe.encode_gallery(images, progress=False)
    with pytest.warns(UserWarning, match="skipped 1 of 4 photos:\n.*broken.jpg"):
        gallery = pipe.encode_gallery(images, on_error="skip", progress=False)
    assert gallery.images == files and gallery.skipped == [str(broken)]
    assert torch.allclose(gallery.features, pipe.encode_gallery(files, progress=False).features, atol=1e-6)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="None of the 1 pictures"):
        pipe.encode_gallery([str(broken)], on_error="skip", progress=False)


# ------------------------------------------------------------------------------------- registration, devices, precision


def test_the_installed_task_needs_no_flag_and_says_nothing(work):
    with complaints() as said:
        pipe = pipeline("sketch-retrieval", model=str(work / "model"))
        pipe(SKETCHES[0], gallery=work / "photos")
    assert said == [] and type(pipe) is caan.SketchRetrievalPipeline and type(pipe.model) is caan.CAANModel


def test_every_saved_model_names_and_brings_the_pipeline(pipe, work, tmp_path):
    pipe.save_pretrained(tmp_path)
    entry = {"sketch-retrieval": {"impl": "pipeline_caan.SketchRetrievalPipeline", "pt": ["AutoModel"]}}
    for folder in (work / "model", tmp_path):
        assert json.loads((folder / "config.json").read_text())["custom_pipelines"] == entry
        assert (folder / "pipeline_caan.py").exists() and (folder / "losses_caan.py").exists()
    again = pipeline("sketch-retrieval", model=str(tmp_path))
    assert again(SKETCHES[0], work / "photos") == pipe(SKETCHES[0], work / "photos")


OFFLOADED = dict.fromkeys(["image_encoder", "relation_network", *TRAINING_MODULES[:4]], "cpu") | {"sketch_encoder": "disk"}


@pytest.mark.parametrize(
    "options",
    [{"dtype": torch.bfloat16}, {"device_map": "auto"}, {"device_map": OFFLOADED}],
    ids=["bf16", "device_map=auto", "offloaded"],
)
def test_reduced_precision_and_device_maps(model, work, tmp_path, options):
    reduced, offloaded = "dtype" in options, options.get("device_map") == OFFLOADED
    where = {"offload_folder": str(tmp_path)} if offloaded else {}
    pipe = pipeline("sketch-retrieval", model=str(work / "model"), model_kwargs=where, **options)
    assert pipe.model.dtype == (torch.bfloat16 if reduced else torch.float32)
    assert {weight.device.type for weight in pipe.model.sketch_encoder.parameters()} == {"meta" if offloaded else "cpu"}
    found = pipe(SKETCHES, gallery=work / "photos", top_k=12)
    for query, results in zip(SKETCHES, found):
        expected = dict(ranking(model, query, list_images(work / "photos")))
        assert len(results) == 12
        for result in results:
            assert result["score"] == pytest.approx(expected[result["image"]], abs=0.05 if reduced else 1e-5)


def test_the_stock_pipeline_in_bf16(model, work):
    pipe = pipeline("image-feature-extraction", model=str(work / "model"), dtype=torch.bfloat16, trust_remote_code=False)
    vector = torch.tensor(pipe(str(work / "photos" / "00.png"), pool=True))
    with torch.no_grad():
        expected = model.get_image_features(pixels(image_processor(), photo(seed=0), modality="photo"))
    assert pipe.model.dtype == torch.bfloat16 and torch.allclose(vector, expected, atol=0.05)


def test_a_device_map_never_splits_a_tower(model):
    """A residual connection over two devices fails."""
    sizes = [sum(4 * p.numel() for p in tower.parameters()) for tower in model.vision_towers()]
    memory = {0: int(1.2 * sizes[0]), 1: int(1.2 * sizes[0]), "cpu": 10**9}
    device_map = infer_auto_device_map(model, memory, no_split_module_classes=list(model._no_split_modules))
    assert {device_map["image_encoder"], device_map["sketch_encoder"]} <= {0, 1, "cpu"} and len(set(device_map.values())) > 1


@pytest.mark.slow
def test_compiled_towers_give_the_same_in_one_graph_for_any_batch(model, work):
    pipe = pipeline("sketch-retrieval", model=str(work / "model"))
    expected = pipe(SKETCHES, gallery=work / "photos")
    for tower in pipe.model.vision_towers():
        tower.compile(fullgraph=True, dynamic=True)
    found = pipe(SKETCHES, gallery=work / "photos")
    for results, wanted in zip(found, expected):
        assert_results(results, [(result["image"], result["score"]) for result in wanted])


def test_system_folders_are_those_of_the_builders():
    assert pipeline_caan.SYSTEM_MARKS == entries.SYSTEM_MARKS and pipeline_caan.SYSTEM_FOLDERS == entries.SYSTEM_FOLDERS


@pytest.mark.parametrize("name", ["#recycle", "~snapshot", "@tmp", "RECYCLER", "__pycache__", ".thumbnails", "$RECYCLE.BIN"])
def test_a_gallery_leaves_system_folders_out(tmp_path, name):
    for folder in (tmp_path, tmp_path / name, tmp_path / "holiday"):
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / "a.png")
    assert [str(path) for path in list_images(tmp_path)] == [str(tmp_path / "a.png"), str(tmp_path / "holiday" / "a.png")]


def test_options_of_sketches_reach_the_processor(work, pipe):
    """White on gray is all ink in the border mode, and a drawing in the other."""
    image = Image.new("RGB", (60, 60), (128, 128, 128))
    image.paste("white", (20, 20, 40, 24))
    photos = str(work / "photos")
    border = pipeline("sketch-retrieval", model=str(work / "model"), ink_mode="border")
    gallery = pipe.encode_gallery(photos)
    scores = [[result["score"] for result in found] for found in (pipe(image, gallery=gallery), border(image, gallery=gallery))]
    assert scores[0] != scores[1]
    assert [result["score"] for result in pipe(image, gallery=gallery, ink_mode="border")] == pytest.approx(scores[1])
    assert [result["score"] for result in border([image], gallery=gallery, ink_mode="auto")[0]] == pytest.approx(scores[0])
    with pytest.raises(TypeError, match="the pipeline has no option ink_mod: ink_threshold"):
        pipe(image, gallery=gallery, ink_mod="border")
