"""Several models as one: layout, features, errors, identity.  python -m pytest tests/hub_set/test_ensemble.py

What `caan combine` makes of folders is in tests/combine.
"""

import json

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from PIL import Image
from tiny import (
    HIDDEN_SIZE,
    assert_same_tensors,
    caan_model,
    complaints,
    encoded,
    image_processor,
    photo,
    pixels,
    sketch,
)
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, pipeline

from configuration_caan import SENTENCE_FILES, CAANConfig, CAANEnsembleConfig
from modeling_caan import CAANEnsembleModel, CAANModel
from pipeline_caan import PHOTO_SETTINGS, difference, embed_images, model_identity
from processing_caan import CAANImageProcessor

SIZE = {"height": 48, "width": 64}
WEIGHTS = [1, 0.5]
PHOTOS = [photo(seed=seed) for seed in range(3)]


def settings(processor) -> dict:
    return {name: value for name, value in json.loads(processor.to_json_string()).items() if name != "image_processor_type"}


def members() -> tuple[list[CAANModel], list[CAANImageProcessor]]:
    models = [
        caan_model(0, whitening=0.5, use_text=False),
        caan_model(1, vision_config="timm_resnet", hidden_size=12, share_vision_encoder=True, use_text=False),
    ]
    return models, [image_processor(sketch_shade=0.3), image_processor(size=SIZE, image_mean=[0.1, 0.2, 0.3], ink_padding=0.2)]


def ensemble(weights=WEIGHTS, models=None) -> CAANEnsembleModel:
    models = models or members()[0]
    parts = [[0, 32, 32], [32, SIZE["height"], SIZE["width"]]]
    config = CAANEnsembleConfig(members=[m.config for m in models], member_weights=weights, member_parts=parts)
    model = CAANEnsembleModel(config).eval()
    for own, member in zip(model.members, models):
        own.load_state_dict(member.state_dict())
    return model


def ensemble_processor() -> CAANImageProcessor:
    own = [settings(processor) for processor in members()[1]]
    return CAANImageProcessor(**{**own[0], "size": {"height": 48, "width": 96}}, parts=own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ensemble")
    ensemble().save_pretrained(path)
    ensemble_processor().save_pretrained(path)
    return path


# -------------------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("modality, pictures", [("photo", PHOTOS), ("sketch", [sketch(), sketch(box=(5, 5, 60, 20))])])
def test_parts_lie_side_by_side_at_the_top_as_each_processor_makes_them(modality, pictures):
    sheet = pixels(ensemble_processor(), pictures, modality=modality)
    first, second = (pixels(processor, pictures, modality=modality) for processor in members()[1])
    assert sheet.shape == (len(pictures), 3, 48, 96) and sheet.dtype == torch.float32
    assert torch.equal(sheet[..., :32, :32], first) and torch.equal(sheet[..., 32:], second)
    assert not sheet[..., 32:, :32].any()


def test_every_form_of_a_picture_also_an_open_file_that_is_read_once(tmp_path):
    process, picture = ensemble_processor(), PHOTOS[0]
    picture.save(tmp_path / "a.png")
    expected = pixels(process, picture)

    class Stream:  # that cannot be read twice
        def __init__(self, data):
            self.data = data

        def read(self):
            data, self.data = self.data, b""
            return data

    for form in (tmp_path / "a.png", encoded(picture), np.asarray(picture), {"bytes": encoded(picture)}, iter([picture])):
        assert torch.equal(pixels(process, form), expected)
    for modality in ("sketch", "photo"):
        image = sketch() if modality == "sketch" else picture
        read = pixels(process, Stream(encoded(image)), modality=modality)
        assert torch.equal(read, pixels(process, image, modality=modality))


def odd_pictures(folder) -> list:
    """16 bits of which 12 are used, a camera's rotation, transparency, a large JPEG that sketches are read smaller from."""
    ramp = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    sketch(size=(90, 60), box=(5, 10, 40, 30)).save(folder / "turned.jpg", exif=exif)
    clear = sketch().convert("RGBA")
    clear.putalpha(Image.fromarray(np.uint8(255 * (np.asarray(sketch().convert("L")) < 128))))
    clear.save(folder / "clear.png")
    sketch(size=(2000, 1600), box=(300, 200, 1500, 1200), width=9).save(folder / "large.jpg")
    return [folder / name for name in ("deep.png", "turned.jpg", "clear.png", "large.jpg")]


@pytest.mark.parametrize("modality", ["photo", "sketch"])
def test_odd_pictures_are_read_as_by_each_processor_alone(tmp_path, modality):
    files = odd_pictures(tmp_path)[0 if modality == "photo" else 1 :]
    for process, part in zip(members()[1], (np.s_[..., :32, :32], np.s_[..., 32:])):
        expected = pixels(process, files, modality=modality)
        assert torch.equal(pixels(ensemble_processor(), files, modality=modality)[part], expected)
        made = pixels(ensemble_processor(), [Image.open(file) for file in files], modality=modality)
        assert torch.equal(made[part], pixels(process, [Image.open(file) for file in files], modality=modality))


def test_options_of_a_call_reach_every_part():
    made = pixels(ensemble_processor(), sketch(), modality="sketch", ink_padding=0.4)
    parts = [pixels(processor, sketch(), modality="sketch", ink_padding=0.4) for processor in members()[1]]
    assert torch.equal(made[..., :32, :32], parts[0]) and torch.equal(made[..., 32:], parts[1])
    assert not torch.equal(made, pixels(ensemble_processor(), sketch(), modality="sketch"))


def test_a_size_of_a_call_is_refused():
    with pytest.raises(ValueError, match="have sizes of their own, together 48 x 96, and not 40 x 80: leave size"):
        pixels(ensemble_processor(), PHOTOS, size={"height": 40, "width": 40})


def test_errors_name_the_picture_once(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    PHOTOS[0].save(tmp_path / "good.png")
    with pytest.raises(ValueError, match=r"^Image 1 of the batch \(\S*bad.png\): Cannot read the image"):
        pixels(ensemble_processor(), [tmp_path / "good.png", tmp_path / "bad.png"])
    with pytest.raises(ValueError, match="^Image 0 of the batch: .*ink"):
        pixels(ensemble_processor(), photo().resize((64, 64)).point(lambda value: 255), modality="sketch")
    with pytest.raises(ValueError, match='modality must be "sketch" or "photo"'):
        pixels(ensemble_processor(), PHOTOS, modality="drawing")
    with pytest.raises(ValueError, match="There is no image in the batch"):
        pixels(ensemble_processor(), [])


def test_without_return_tensors_a_list_of_arrays_as_of_a_single_processor():
    made, single = ensemble_processor()(PHOTOS)["pixel_values"], image_processor()(PHOTOS)["pixel_values"]
    assert type(made) is type(single) and type(made[0]) is type(single[0]) and made[0].shape == (3, 48, 96)


def test_a_single_processor_says_nothing_of_parts(tmp_path):
    image_processor().save_pretrained(tmp_path)
    assert "parts" not in json.loads((tmp_path / "preprocessor_config.json").read_text())


# ------------------------------------------------------------------------------------------------------------ features


@torch.no_grad()
def test_features_are_the_members_by_the_roots_of_their_shares():
    (first, second), processors = members()
    model, sheet = ensemble(), pixels(ensemble_processor(), PHOTOS)
    alone = [m.get_image_features(pixels(p, PHOTOS)) for m, p in zip((first, second), processors)]
    made = model.get_image_features(sheet)
    expected = np.concatenate([np.sqrt(1 / 1.5) * alone[0].double(), np.sqrt(0.5 / 1.5) * alone[1].double()], axis=1)
    np.testing.assert_allclose(made.double(), expected, atol=1e-7)
    assert model.config.hidden_size == made.shape[1] == HIDDEN_SIZE + 12
    assert torch.allclose(made.norm(dim=1), torch.ones(3), atol=1e-6)
    output = model(pixel_values=sheet, sketch_pixel_values=sheet)
    assert torch.equal(output.image_embeds, made) and torch.equal(output.pooler_output, made)
    assert torch.equal(output.sketch_embeds, model.get_sketch_features(sheet))


@torch.no_grad()
@pytest.mark.parametrize("weights, heaviest", [([1, 0.5], 0), ([0.2, 7], 1), ([2, 2], 0)])
def test_tokens_and_prepared_pictures_are_the_heaviest_members(weights, heaviest):
    models, processors = members()
    model, sheet = ensemble(weights), pixels(ensemble_processor(), PHOTOS)
    tokens = models[heaviest].get_relation_tokens(pixels(processors[heaviest], PHOTOS), "photo")
    assert torch.equal(model.get_relation_tokens(sheet, "photo"), tokens)
    assert torch.equal(model.score_pairs(tokens, tokens), models[heaviest].score_pairs(tokens, tokens))
    prepared = ensemble_processor().prepare(sketch(), "sketch")
    assert np.array_equal(prepared, processors[0].prepare(sketch(), "sketch"))


@torch.no_grad()
def test_half_precision_and_batches(folder):
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
    sheet = pixels(ensemble_processor(), PHOTOS)
    made = model.get_image_features(sheet)
    assert made.dtype == torch.bfloat16
    assert torch.cosine_similarity(made.float(), ensemble().get_image_features(sheet)).min() > 0.99


def test_the_form_for_inference_shares_its_weights():
    model = ensemble()
    copy = model.for_inference()
    assert type(copy) is CAANEnsembleModel and not copy.training
    for own, other in zip(model.parameters(), copy.parameters()):
        assert own.data_ptr() == other.data_ptr()
    copy.to(torch.float64)
    assert model.dtype == torch.float32


def test_what_it_refuses():
    model = ensemble()
    for shape in ((1, 3, 32, 32), (1, 3, 48, 95), (3, 48, 96)):
        with pytest.raises(ValueError, match=r"this combined model takes \(batch, 3, 48, 96\)"):
            model.get_sketch_features(torch.zeros(shape))
    with pytest.raises(ValueError, match="no loss: train its members apart"):
        model(pixel_values=torch.zeros(1, 3, 48, 96), labels=torch.zeros(1))
    with pytest.raises(ValueError, match="Give pixel_values"):
        model()


# -------------------------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(StrictDataclassClassValidationError, match=f"member_weights must be numbers above 0, got {weight}"):
        ensemble([1, weight])


def test_members_weights_and_parts_are_as_many():
    config = members()[0][0].config
    for count, weights, parts in ((0, 0, 0), (1, 1, 1), (2, 3, 2), (2, 2, 1)):
        with pytest.raises(
            StrictDataclassClassValidationError, match=f"got {count} members, {weights} weights and {parts} parts"
        ):
            CAANEnsembleConfig(members=[config] * count, member_weights=[1] * weights, member_parts=[[0, 32, 32]] * parts)


def test_the_config_is_saved_whole_and_names_no_machine(folder):
    saved = json.loads((folder / "config.json").read_text())
    assert saved["auto_map"] == {
        "AutoConfig": "configuration_caan.CAANEnsembleConfig",
        "AutoModel": "modeling_caan.CAANEnsembleModel",
    }
    assert saved["hidden_size"] == 20 and saved["member_parts"] == [[0, 32, 32], [32, 48, 64]]
    assert "sketch-retrieval" in saved["custom_pipelines"] and {path.name for path in folder.iterdir()} >= SENTENCE_FILES.keys()
    loaded = AutoConfig.from_pretrained(folder)
    for config, member in zip(loaded.member_configs(), members()[0]):
        assert type(config) is CAANConfig
        own, expected = config.to_diff_dict(), member.config.to_diff_dict()
        assert all(own[name] == value for name, value in expected.items() if name not in ("dtype", "architectures"))
        assert "_name_or_path" not in str(own["vision_config"])


# ----------------------------------------------------------------------------------------------------------- as others


def test_auto_classes_load_it_without_a_complaint(folder):
    with complaints() as said:
        model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
        process = AutoImageProcessor.from_pretrained(folder)
        both = AutoProcessor.from_pretrained(folder)
    assert said == [] and not any(report.values())
    assert (type(model), type(process), type(both)) == (CAANEnsembleModel, CAANImageProcessor, CAANImageProcessor)
    assert_same_tensors(model, ensemble())
    assert torch.equal(pixels(process, PHOTOS), pixels(ensemble_processor(), PHOTOS))


def test_an_attention_that_is_asked_for_is_every_members(folder):
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    assert [member.image_encoder.encoder.config._attn_implementation for member in model.members] == ["eager", "eager"]
    sheet = pixels(ensemble_processor(), PHOTOS)
    with torch.no_grad():
        assert torch.allclose(model.get_image_features(sheet), ensemble().get_image_features(sheet), atol=1e-6)


def test_saved_again_it_is_the_same(folder, tmp_path):
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_the_pipeline_ranks_by_the_mean_cosine(folder):
    search = pipeline("sketch-retrieval", model=str(folder))
    found = search(sketch(), gallery=search.encode_gallery(PHOTOS, progress=False), top_k=3)
    cosines = torch.zeros(3, dtype=torch.float64)
    for weight, model, process in zip(WEIGHTS, *members()):
        with torch.no_grad():
            query = model.get_sketch_features(pixels(process, sketch(), modality="sketch")).double()
            cosines += weight * (query @ model.get_image_features(pixels(process, PHOTOS)).double().T)[0] / sum(WEIGHTS)
    order = cosines.argsort(descending=True)
    assert [PHOTOS.index(result["image"]) for result in found] == order.tolist()
    np.testing.assert_allclose([result["score"] for result in found], cosines[order], atol=1e-6)


def test_the_stock_pipeline_gives_the_vectors(folder):
    made = torch.tensor(pipeline("image-feature-extraction", model=str(folder))(PHOTOS[0]))
    with torch.no_grad():
        assert torch.allclose(made, ensemble().get_image_features(pixels(ensemble_processor(), PHOTOS[:1])), atol=1e-6)


def test_embed_images_skips_what_it_cannot_read(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="skipped 1 of 2 photos"):
        made = embed_images(
            ensemble(), ensemble_processor(), [PHOTOS[0], tmp_path / "bad.png"], "photo", progress=False, on_error="skip"
        )
    assert made.shape == (2, 20) and made[0].isfinite().all() and made[1].isnan().all()


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda model, process: model.members[1].image_encoder.projection.bias.data.add_(0.1), "another model"),
        (lambda model, process: setattr(model.config, "member_weights", [1, 0.6]), "other settings of the model"),
        (lambda model, process: model.config.members[1].update(pooling="mean"), "other settings of the model"),
        (lambda model, process: process.parts[1].update(image_mean=[0.1, 0.2, 0.4]), "other settings of the image processor"),
        (lambda model, process: process.parts[1].update(sketch_shade=0.9), None),  # of sketches alone
        (lambda model, process: None, None),
    ],
)
def test_a_gallery_knows_what_made_it(folder, change, what):
    made = json.loads(json.dumps(model_identity(ensemble(), ensemble_processor())))
    model, process = AutoModel.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    change(model, process)
    assert difference(made, model_identity(model, process)) == what


def test_the_identity_of_a_single_model_is_what_it_was():
    identity = model_identity(caan_model(whitening=0.5), image_processor())
    assert identity["config"] == {"pooling": "token", "whitening": 0.5}
    assert identity["photos"].keys() == set(PHOTO_SETTINGS)


def test_sentence_transformers_load_it(folder):
    sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6.2")
    model = sentence_transformers.SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
    with torch.no_grad():
        expected = ensemble().get_image_features(pixels(ensemble_processor(), PHOTOS))
        query = ensemble().get_sketch_features(pixels(ensemble_processor(), [sketch()], modality="sketch"))
    assert torch.equal(torch.from_numpy(model.encode(PHOTOS)), expected)
    assert torch.equal(torch.from_numpy(model.encode_query([sketch()])), query)
    assert model.get_embedding_dimension() == 20
