"""A gallery knows the model that made it.  python -m pytest tests/hub_set/test_gallery_identity.py"""

import copy
import json
import warnings
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from tiny import caan_model, image_processor, photo, processor, sketch
from transformers import pipeline

import pipeline_caan
from pipeline_caan import Gallery, fingerprint, model_identity, weights_state


def search_with(model, tmp_path, name="model", **settings):
    """A pipeline of a saved copy of the model."""
    model.save_pretrained(tmp_path / name)
    saved = processor()
    for key, value in settings.items():
        setattr(saved.image_processor, key, value)
    saved.save_pretrained(tmp_path / name)
    return pipeline("sketch-retrieval", model=str(tmp_path / name))


PHOTOS = [photo(seed=seed) for seed in range(4)]


@pytest.fixture
def pipe(tmp_path):
    return search_with(caan_model(), tmp_path)


def test_another_model_of_the_same_width_is_refused(pipe, tmp_path):
    other = search_with(caan_model(seed=1), tmp_path, "other")
    gallery = pipe.encode_gallery(PHOTOS, progress=False)
    assert len(pipe(sketch(), gallery=gallery)) == 4
    with pytest.raises(ValueError, match=r"made by another model \(model\).*Encode the pictures with this model"):
        other(sketch(), gallery=gallery)


def test_a_saved_gallery_keeps_it(pipe, tmp_path):
    other = search_with(caan_model(seed=1), tmp_path, "other")
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file, picture in zip(files, PHOTOS):
        picture.save(file)
    pipe.encode_gallery(files, progress=False).save(tmp_path / "g.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = Gallery.load(tmp_path / "g.safetensors")
        assert len(pipe(sketch(), gallery=tmp_path / "g.safetensors")) == 4
    assert loaded.model == pipe.identity() and str(tmp_path) not in str(loaded.model)
    with pytest.raises(ValueError, match="another model"):
        other(sketch(), gallery=tmp_path / "g.safetensors")


def test_other_settings_for_photos_are_refused_and_those_for_sketches_are_not(pipe, tmp_path):
    gallery = pipe.encode_gallery(PHOTOS, progress=False)
    shading = search_with(caan_model(), tmp_path, "shading", sketch_shade=0.5)
    assert len(shading(sketch(), gallery=gallery)) == 4
    larger = search_with(caan_model(), tmp_path, "larger", size={"height": 48, "width": 48})
    with pytest.raises(ValueError, match="made by other settings of the image processor"):
        larger(sketch(), gallery=gallery)


def test_a_file_that_does_not_say_gives_one_warning_and_is_searched(pipe, tmp_path):
    features = pipe.encode_gallery(PHOTOS, progress=False).features
    save_file({"features": features.contiguous()}, tmp_path / "old.safetensors")
    with pytest.warns(UserWarning, match="old.safetensors does not say which model made its features") as said:
        assert len(pipe(sketch(), gallery=tmp_path / "old.safetensors")) == 4
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(pipe(sketch(), gallery=features)) == 4


def test_the_full_and_the_inference_form_and_bf16_are_one_model(tmp_path):
    model = caan_model()
    identity = model_identity(model, image_processor())
    assert model_identity(model.for_inference(), image_processor())["weights"] == identity["weights"]
    assert model_identity(copy.deepcopy(model).bfloat16(), image_processor())["weights"] == identity["weights"]
    changed = copy.deepcopy(model)
    changed.text_projection.weight.data += 1  # no part of retrieval
    assert model_identity(changed, image_processor())["weights"] == identity["weights"]
    changed.image_encoder.projection.weight.data[0, 0] += 0.1
    assert model_identity(changed, image_processor())["weights"] != identity["weights"]


def test_a_changed_weight_is_noticed_and_an_unchanged_one_is_not_read_again(pipe, monkeypatch):
    first = pipe.identity()
    monkeypatch.setattr("pipeline_caan.fingerprint", lambda tensors: pytest.fail("read again"))
    assert pipe.identity() is first
    monkeypatch.undo()
    gallery = pipe.encode_gallery(PHOTOS, progress=False)
    with torch.no_grad():
        pipe.model.image_encoder.projection.weight += 0.5  # as a step of training
    with pytest.raises(ValueError, match="another model"):
        pipe(sketch(), gallery=gallery)


def train(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.get_image_features(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()


CHANGES = {
    "a training step": train,
    "weights loaded": lambda model: model.load_state_dict(caan_model(seed=1).state_dict()),
    "a change that torch does not count": lambda model: model.image_encoder.projection.weight.data.mul_(2),
    "a new tensor": lambda model: setattr(model.image_encoder.projection.weight, "data", torch.ones(8, 16)),
    "a new parameter": lambda model: setattr(model.image_encoder, "projection", torch.nn.Linear(16, 8)),
}


@pytest.mark.parametrize("given", ["to the call", "to the pipeline"])
@pytest.mark.parametrize("name", CHANGES)
def test_every_way_to_change_a_model_is_noticed_at_the_next_search(tmp_path, name, given):
    pipe = search_with(caan_model(), tmp_path)
    gallery = pipe.encode_gallery(PHOTOS, progress=False)
    if given == "to the pipeline":
        pipe = pipeline("sketch-retrieval", model=str(tmp_path / "model"), gallery=gallery)
    options = {} if given == "to the pipeline" else {"gallery": gallery}
    forms = (lambda: sketch(), lambda: [sketch()], lambda: (picture for picture in [sketch()]))
    assert len(pipe(sketch(), **options)) == 4
    CHANGES[name](pipe.model)
    for form in forms:
        with pytest.raises(ValueError, match="made by another model"):
            pipe(form(), **options)


def test_weights_made_in_inference_mode_have_a_state():
    with torch.inference_mode():
        model = caan_model()
        first = weights_state(model)
        model.image_encoder.projection.weight.mul_(2)
        assert weights_state(model) != first


def test_settings_changed_after_the_first_search_are_noticed(pipe):
    gallery = pipe.encode_gallery(PHOTOS, progress=False)
    pipe.image_processor.image_mean = [0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="other settings of the image processor"):
        pipe(sketch(), gallery=gallery)


CONFIGS = {"pooling": ({}, {"pooling": "mean"}), "whitening": ({"whitening": 0.5}, {"whitening": 0.0})}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_weights_with_other_settings_are_refused_and_an_older_file_without_them_is_searched(tmp_path, name):
    built, changed = CONFIGS[name]
    gallery = search_with(caan_model(**built), tmp_path, "built").encode_gallery(PHOTOS, progress=False)
    other = search_with(caan_model(**built), tmp_path, "changed")
    folder = tmp_path / "changed"
    if name == "pooling":  # decided when a model is built
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changed))
        other = pipeline("sketch-retrieval", model=str(folder))
    else:
        other.model.config.update(changed)
    assert other.identity()["weights"] == gallery.model["weights"]
    with pytest.raises(ValueError, match="made by other settings of the model"):
        other(sketch(), gallery=gallery)
    older = {key: value for key, value in gallery.model.items() if key != "config"}
    assert len(other(sketch(), gallery=Gallery(gallery.features, gallery.images, model=older))) == 4


def test_a_file_that_was_cut_off_is_named(pipe, tmp_path):
    pipe.encode_gallery(PHOTOS, progress=False).save(tmp_path / "g.safetensors")
    data = (tmp_path / "g.safetensors").read_bytes()
    for length in (0, 7, 100, len(data) - 5):
        (tmp_path / "cut.safetensors").write_bytes(data[:length])
        with pytest.raises(ValueError, match="cut.safetensors is no gallery, or cut off .* encode the pictures again"):
            Gallery.load(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    "metadata, said",
    [
        ({"images": "no json"}, "Expecting value"),
        ({"model": "caan"}, "Expecting value"),
        ({"images": "{}"}, "not the list and the mapping that `save` writes"),
        ({"model": "[]"}, "not the list and the mapping that `save` writes"),
        ({"images": '["a"]'}, "There are 1 gallery images for 3 rows"),
    ],
)
def test_a_file_whose_metadata_are_another_program_s_is_named(tmp_path, metadata, said):
    save_file({"features": torch.eye(3)}, tmp_path / "g.safetensors", metadata={"model": "{}", **metadata})
    with pytest.raises(ValueError, match=f"g.safetensors cannot be searched: .*{said}"):
        Gallery.load(tmp_path / "g.safetensors")


def test_weights_that_are_not_in_memory_have_no_identity():
    assert model_identity(caan_model().to("meta"), image_processor()) is None


def test_the_fingerprint_depends_on_names_shapes_and_values():
    values = {"a": torch.arange(6.0), "b": torch.arange(4)}
    others = (
        {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(4)},
        {"c": torch.arange(6.0), "b": torch.arange(4)},
        {"a": torch.arange(6.0) + 1, "b": torch.arange(4)},
        {"a": torch.arange(6.0), "b": torch.arange(4).flip(0)},
    )
    assert fingerprint(values) == fingerprint(dict(reversed(values.items())))
    assert len({fingerprint(values), *map(fingerprint, others)}) == 5


def test_the_commit_of_a_hub_id_is_told_by_the_cache(tmp_path, monkeypatch):
    sha, repo = "a" * 40, tmp_path / "models--org--caan"
    (repo / "snapshots" / sha).mkdir(parents=True)
    (repo / "snapshots" / sha / "config.json").write_text("{}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(sha)
    cached = partial(pipeline_caan.try_to_load_from_cache, cache_dir=tmp_path)
    monkeypatch.setattr(pipeline_caan, "try_to_load_from_cache", cached)
    assert pipeline_caan.commit_of("org/caan", None) == sha
    assert [pipeline_caan.commit_of(name, None) for name in ("org/other", "", str(tmp_path), "a/b/c", "no such/..")] == [
        None
    ] * 5
    assert pipeline_caan.commit_of("org/caan", SimpleNamespace(_commit_hash="b" * 40)) == "b" * 40
