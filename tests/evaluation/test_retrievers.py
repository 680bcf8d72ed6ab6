"""What eval.py compares.  python -m pytest tests/evaluation/test_retrievers.py"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from tiny import (
    add_noise,
    assert_same_tensors,
    caan_model,
    image_processor,
    photo,
    processor,
    sketch,
    text_config,
    timm_config,
    vision_config,
)

from caan.evaluation.record import EvaluatedModel
from caan.evaluation.retrievers import PIXELS, PixelCorrelation, load_retriever, trained_size
from caan.evaluation.weights import weights_fingerprint
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor


def test_pixels_are_compared_by_their_correlation():
    retriever = load_retriever(PIXELS)
    assert (retriever.name, retriever.processor.size) == (PIXELS, {"height": 32, "width": 32})
    sketches = [sketch(), sketch(box=(5, 5, 60, 20))]
    photos = [photo(seed=seed) for seed in range(3)]
    drawn = retriever.processor(sketches, modality="sketch", return_tensors="pt").pixel_values
    taken = retriever.processor(photos, modality="photo", return_tensors="pt").pixel_values
    scores = retriever.model.get_sketch_features(drawn) @ retriever.model.get_image_features(taken).T
    rows = [pixels.mean(dim=0).flatten().double().numpy() for pixels in (*drawn, *taken)]
    assert np.allclose(scores.numpy(), np.corrcoef(rows)[:2, 2:], atol=1e-5)


def test_a_picture_correlates_with_itself_in_other_light_and_a_plain_one_with_nothing():
    model = PixelCorrelation()
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features = model.get_image_features(torch.cat([pixels, 0.3 * pixels + 0.5, 1 - pixels, torch.full_like(pixels, 0.7)]))
    assert torch.allclose(features[0] @ features.T, torch.tensor([1.0, 1.0, -1.0, 0.0]), atol=1e-4)


@pytest.mark.parametrize("use_text", [True, False])
def test_a_caan_is_itself(tmp_path, use_text):
    model = caan_model(use_text=use_text)
    model.save_pretrained(tmp_path)
    (processor() if use_text else image_processor(image_mean=[0.1, 0.2, 0.3])).save_pretrained(tmp_path)
    retriever = load_retriever(str(tmp_path), image_size=99)
    assert isinstance(retriever.model, CAANModel) and not retriever.model.training
    assert_same_tensors(retriever.model, model)
    assert retriever.processor.size == {"height": 32, "width": 32}
    assert use_text or list(retriever.processor.image_mean) == [0.1, 0.2, 0.3]


def saved(folder, name: str, statistics=None) -> torch.nn.Module:
    """A vision model with random weights in a folder, with or without a preprocessor_config.json."""
    model = add_noise(transformers.AutoModel.from_config(vision_config(name))).eval()
    model.save_pretrained(folder)
    if statistics:
        mean, std = statistics
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=mean, image_std=std).save_pretrained(folder)
    return model


@pytest.mark.parametrize("statistics", [None, ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])])
def test_a_plain_vision_model_is_used_as_it_is(tmp_path, statistics):
    model = saved(tmp_path, "vit", statistics)
    retriever = load_retriever(str(tmp_path))
    mean, std = statistics or ([0.5] * 3, [0.5] * 3)
    resized = np.asarray(photo().resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    expected = torch.from_numpy((resized - np.float32(mean)) / np.float32(std)).permute(2, 0, 1)[None]
    pixels = retriever.processor(photo(), modality="photo", return_tensors="pt").pixel_values
    assert torch.allclose(pixels, expected, atol=1e-5)
    with torch.no_grad():
        token = model(expected).last_hidden_state[:, 0]
        features = retriever.model.get_image_features(pixels)
        assert torch.allclose(features, F.normalize(token, dim=-1), atol=1e-5)
        assert torch.equal(retriever.model.get_sketch_features(pixels), features)  # one tower for both


@pytest.mark.parametrize("name", ["timm_vit", "timm_vit_no_class_token", "resnet"])
def test_other_backbones(tmp_path, name):
    model = saved(tmp_path, name)
    retriever = load_retriever(str(tmp_path), image_size=32)
    pixels = retriever.processor(photo(), modality="photo", return_tensors="pt").pixel_values
    with torch.no_grad():
        tokens = model(pixels).last_hidden_state
        token = tokens[:, 0] if name == "timm_vit" else tokens.mean(dim=1) if tokens.ndim == 3 else tokens.mean(dim=(2, 3))
        assert torch.allclose(retriever.model.get_image_features(pixels), F.normalize(token, dim=-1), atol=1e-5)


def test_the_size_is_the_trained_one_unless_it_is_given(tmp_path):
    saved(tmp_path, "vit")
    assert load_retriever(str(tmp_path)).processor.size == {"height": 32, "width": 32}
    assert load_retriever(str(tmp_path), 48).processor.size == {"height": 48, "width": 48}
    assert trained_size(transformers.ViTConfig(image_size=(96, 160))) == 160
    assert trained_size(transformers.ResNetConfig()) == 224
    assert trained_size(transformers.TimmWrapperConfig(pretrained_cfg={"input_size": [3, 288, 288]})) == 288


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"size": {"height": 40, "width": 40}}, 40),
        ({"size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 48}, "do_center_crop": True}, 48),
        ({"size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 48}, "do_center_crop": False}, 64),
        ({"size": {"shortest_edge": 56}}, 56),
        ({"size": 24}, 24),
        ({}, 16),  # it says nothing: the size of the config
    ],
)
def test_a_plain_model_sees_the_size_that_its_preprocessor_makes(tmp_path, settings, expected):
    """As DINOv2, which was trained at 518 pixels and whose preprocessor says 224."""
    config = transformers.Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    if settings:
        content = {"image_processor_type": "BitImageProcessor", "do_center_crop": False, **settings}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    assert load_retriever(str(tmp_path)).processor.size == {"height": expected, "width": expected}
    assert load_retriever(str(tmp_path), 32).processor.size == {"height": 32, "width": 32}


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_of_a_model_of_pictures_and_text_the_vision_part_is_taken(tmp_path, kind, caplog):
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    vision |= {"intermediate_size": 32, "projection_dim": 8}
    text = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    text |= {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config_class = {"clip": transformers.CLIPConfig, "siglip": transformers.SiglipConfig}[kind]
    model = add_noise(transformers.AutoModel.from_config(config_class(vision_config=vision, text_config=text))).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor", "crop_size": 32, "image_mean": [0.4] * 3})
    )
    retriever = load_retriever(str(tmp_path))
    assert retriever.processor.size == {"height": 32, "width": 32} and list(retriever.processor.image_mean) == [0.4] * 3
    pixels = retriever.processor(photo(), modality="photo", return_tensors="pt").pixel_values
    with torch.no_grad():
        tokens = model.vision_model(pixels).last_hidden_state
        expected = F.normalize(tokens[:, 0] if kind == "clip" else tokens.mean(dim=1), dim=-1)
        assert torch.allclose(retriever.model.get_image_features(pixels), expected, atol=1e-5)
    assert "text" not in caplog.text  # the weights of the other part are not listed as unexpected


def test_which_model_it_is(tmp_path):
    assert load_retriever(PIXELS).identity == EvaluatedModel(seen_classes=[])
    caan_model().save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    expected = EvaluatedModel(weights=weights_fingerprint(tmp_path))
    assert load_retriever(str(tmp_path)).identity == expected  # of an unknown run: which classes it saw is not known
    facts = {"dataset": "x", "options": {"keep": "best"}, "seen_classes": ["cat"], "seen_before": ["dog"]}
    (tmp_path / "training.json").write_text(json.dumps(facts))
    assert load_retriever(str(tmp_path)).identity == replace(expected, seen_classes=["cat", "dog"])


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", bytes(100)], ids=["empty", "cut", "list", "zeros"])
def test_damaged_files_are_told_in_one_line_with_the_models_name(tmp_path, file, content):
    saved(tmp_path, "vit", ([0.4] * 3, [0.2] * 3))
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_retriever(str(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"model {str(tmp_path)!r} cannot be loaded: ") and "\n" not in message and message[-2:] != ": "


def test_a_size_that_a_model_does_not_take_is_told(tmp_path):
    saved(tmp_path, "vit")
    with pytest.raises(ValueError, match=r"takes no pictures of 5 x 5 pixels: .* Give another --image_size"):
        load_retriever(str(tmp_path), 5)
    fixed = timm_config("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    transformers.AutoModel.from_config(fixed).save_pretrained(tmp_path / "fixed")
    with pytest.raises(ValueError, match="takes no pictures of 40 x 40 pixels: "):
        load_retriever(str(tmp_path / "fixed"), 40)
    assert load_retriever(str(tmp_path / "fixed"), 32).processor.size["height"] == 32


def test_a_name_that_leads_nowhere_is_told(tmp_path):
    with pytest.raises(ValueError, match="^model 'no/such' cannot be loaded: "):
        load_retriever("no/such")
    with pytest.raises(ValueError, match=f"^model '{tmp_path}' cannot be loaded: "):
        load_retriever(str(tmp_path))  # a folder without a config


def test_a_text_encoder_is_no_retriever(tmp_path):
    transformers.AutoModel.from_config(text_config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be loaded: A BertConfig \(bert\) is no vision encoder"):
        load_retriever(str(tmp_path))


def test_the_processor_is_ours(tmp_path):
    saved(tmp_path, "vit", ([0.4] * 3, [0.2] * 3))
    assert type(load_retriever(str(tmp_path)).processor) is CAANImageProcessor  # so a sketch is cropped to its ink
