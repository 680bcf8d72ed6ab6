"""Model, processor and optimizer that the options ask for.  python -m pytest tests/training/test_building.py"""

import copy
import json
import math
import re

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny import (
    IMAGE_SIZE,
    SENTENCES,
    add_noise,
    assert_same_tensors,
    caan_model,
    photo,
    processor,
    text_config,
    tokenizer,
    vision_config,
)
from trees import CONFIG

from caan.data.processors import build_image_processor, inference_processor
from caan.options import ModelOptions, TrainOptions
from caan.parsing import RECIPES, parse_options
from caan.training.building import build_model, config_fields, uses_text
from caan.training.command import FAMILIES
from caan.training.effect import require_effect
from caan.training.optimizer import build_optimizer, build_schedule
from caan.training.tuning import tune_encoders
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor, CAANProcessor

SMALL = {name: value for name, value in CONFIG.items() if not name.endswith("_config")}


def options(fields=None, **others) -> ModelOptions:
    return ModelOptions(model_config=json.dumps({**SMALL, **(fields or {})}), image_size=32, **others)


def saved(folder, config) -> str:
    """A folder with an encoder of this config, as `save_pretrained` leaves it, and the encoder itself."""
    encoder = add_noise(transformers.AutoModel.from_config(config))
    encoder.save_pretrained(folder)
    return str(folder), encoder


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders of a vision and of a text encoder, and the encoders."""
    work = tmp_path_factory.mktemp("encoders")
    vision, text = saved(work / "vision", vision_config()), saved(work / "text", text_config())
    tokenizer().save_pretrained(work / "text")
    return {"vision": vision, "text": text}


# ---------------------------------------------------------------------------------------------------------- the model


def test_random_weights_with_a_tokenizer_of_the_descriptions():
    fields = {"vision_config": CONFIG["vision_config"], "text_config": CONFIG["text_config"]}
    chosen = ModelOptions(model_config=json.dumps({**SMALL, **fields}), image_size=40, tokenizer_vocab_size=70)
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(build_model(chosen, SENTENCES))
    (model, both), (again, _) = models
    assert_same_tensors(model, again)
    assert isinstance(both, CAANProcessor) and both.image_processor.size == {"height": 40, "width": 40}
    assert model.config.text_config.vocab_size == len(both.tokenizer) == 70
    assert model.text_encoder.get_input_embeddings().weight.shape == (70, 12)
    assert model.config.lambda_con == 1.0 and model.config.vision_config.hidden_sizes == [8, 16, 32]
    assert both.tokenizer("the dog has a tail")["input_ids"][0] == both.tokenizer.cls_token_id


@pytest.mark.parametrize(
    "vision, sizes, said",
    [
        ({"model_type": "vit", "num_channels": 1}, {}, "The vision encoder (ViTModel) takes no pictures of image_size 32: "),
        (
            {"model_type": "timm_wrapper", "architecture": "resnet10t", "model_args": {"channels": [8]}},
            {},
            "The vision encoder (TimmWrapperModel) takes no pictures of image_size 32: AttributeError: ",
        ),
        (
            {"model_type": "timm_wrapper", "architecture": "vit_tiny_patch16_224", "model_args": {"depth": 1, "img_size": 32}},
            {"inference_image_size": 48},
            "takes no pictures of inference_image_size 48: AssertionError: Input height (48) doesn't match model (32)",
        ),
        ({"model_type": "vit", "patch_size": 40}, {}, "image_size is 32, less than one patch of the vision encoder, 40"),
        ({"model_type": "vit"}, {"inference_image_size": 8}, "inference_image_size is 8, less than one patch of the vision"),
    ],
)
def test_an_encoder_that_takes_no_such_pictures_is_refused_before_training(vision, sizes, said):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2} if vision["model_type"] == "vit" else {}
    with pytest.raises(ValueError) as caught:
        build_model(options({"use_text": False, "vision_config": {**small, **vision}}, **sizes), [])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_text_encoder_that_reads_fewer_tokens_is_refused_before_training():
    roberta = {**CONFIG["text_config"], "model_type": "roberta", "max_position_embeddings": 12}
    fields = {"vision_config": CONFIG["vision_config"], "text_config": roberta, "max_description_tokens": 12}
    with pytest.raises(ValueError, match=r"The text encoder .RobertaModel. reads no sentences of 12 tokens: "):
        build_model(options(fields), SENTENCES)
    build_model(options({**fields, "max_description_tokens": 10}), SENTENCES)


@pytest.mark.parametrize("use_text", [False, True])
def test_the_trials_leave_no_trace(use_text):
    fields = {"use_text": use_text, "vision_config": CONFIG["vision_config"]}
    fields |= {"text_config": CONFIG["text_config"]} if use_text else {}
    torch.manual_seed(3)
    model, _ = build_model(options(fields), SENTENCES)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    bare = CAANModel(model.config)
    assert model.training is bare.training
    assert_same_tensors(model, bare)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize(
    "text", ['{"temperature": Infinity}', '{"margin": NaN}', '{"margin": 1e999}', '{"margin": 0, "margin": 1}']
)
def test_a_model_config_is_strict_json(text):
    with pytest.raises(ValueError, match="model_config is no JSON: "):
        config_fields(text)


@pytest.mark.parametrize("fields", [{"use_text": False}, {"use_text": False, "lambda_text": 1.0}, {"use_text": True}])
def test_losses_that_are_all_weighted_by_nothing_are_refused(fields):
    off = {"lambda_tri": 0, "lambda_rn": 0, "lambda_con": 0, "vision_config": CONFIG["vision_config"]}
    text = {"text_config": CONFIG["text_config"]} if fields["use_text"] else {}
    with pytest.raises(ValueError, match="are all 0, so that nothing would be learnt: raise one"):
        build_model(options({**off, **text, **fields}), SENTENCES)


@pytest.mark.parametrize("fields,expected", [({}, False), ({"text_config": {}}, True), ({"use_text": True}, True)])
def test_text_is_used_where_it_is_named(fields, expected):
    assert uses_text(options(fields)) is expected
    assert uses_text(options({**fields, "use_text": False})) is False
    assert uses_text(options(text_model="some/encoder")) is True


def test_without_text_there_is_an_image_processor_alone():
    model, process = build_model(options({"vision_config": CONFIG["vision_config"]}), [])
    assert isinstance(process, CAANImageProcessor) and not model.config.use_text and not hasattr(model, "text_encoder")


@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_each_encoder_starts_from_the_model_that_is_named(encoders, vision, text, share):
    fields = {"share_vision_encoder": share, "use_text": True, "max_description_tokens": 48}
    fields |= {} if vision else {"vision_config": CONFIG["vision_config"]}
    fields |= {} if text else {"text_config": CONFIG["text_config"]}
    names = {f"{kind}_model": encoders[kind][0] for kind, wanted in (("vision", vision), ("text", text)) if wanted}
    model, both = build_model(options(fields, **names, **({} if text else {"tokenizer_vocab_size": 70})), SENTENCES)
    towers = [model.image_encoder] if share else [model.image_encoder, model.sketch_encoder]
    assert len(model.vision_towers()) == len(towers)
    for tower in towers:
        assert tower.encoder.config.model_type == ("vit" if vision else "resnet")
        if vision:
            assert_contains(encoders["vision"][1], tower.encoder)
    if text:
        assert_contains(encoders["text"][1], model.text_encoder)
        assert both.tokenizer.get_vocab() == tokenizer().get_vocab()
    else:
        assert len(both.tokenizer) == model.config.text_config.vocab_size == 70


def assert_contains(source, target):
    """All weights of the target are the source's, which may have a pooling head more."""
    weights = source.state_dict()
    for name, weight in target.state_dict().items():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("use_text", [True, False])
def test_a_caan_goes_on_from_its_own_weights(tmp_path, use_text):
    model = caan_model(use_text=use_text)
    model.save_pretrained(tmp_path)
    (processor() if use_text else processor().image_processor).save_pretrained(tmp_path)
    chosen = ModelOptions(model=str(tmp_path))
    assert uses_text(chosen) is use_text
    again, process = build_model(chosen, [])
    assert_same_tensors(model, again)
    assert type(process) is (CAANProcessor if use_text else CAANImageProcessor)
    assert getattr(process, "image_processor", process).size["height"] == IMAGE_SIZE


@pytest.mark.parametrize("lost", ["image_encoder.projection.weight", "text_encoder.embeddings.word_embeddings.weight"])
def test_a_caan_without_all_its_weights_is_refused(tmp_path, lost):
    """It would be trained on from random ones in their place."""
    caan_model().save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"^model '{tmp_path}' cannot be loaded: 1 of its weights are missing: {lost}. Write"):
        build_model(ModelOptions(model=str(tmp_path)), [])


def test_a_model_of_another_type_is_no_caan(encoders):
    with pytest.raises(
        ValueError, match=f"^model '{encoders['vision'][0]}' cannot be loaded: it is no CAAN but a model of type vit"
    ):
        build_model(ModelOptions(model=encoders["vision"][0]), [])


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"hidden_sise": 8}, "model_config has no field 'hidden_sise', did you mean 'hidden_size'?"),
        ({"zzzz": 8}, "model_config has no field 'zzzz'."),
        (
            {"vision_config": {"model_type": "dinov22"}},
            "vision_config: transformers knows no model_type 'dinov22', did you mean 'd",
        ),
        (
            {"vision_config": {"hiden_size": 16}},
            r"vision_config \(vit\) has no field 'hiden_size', did you mean 'hidden_size'\?",
        ),
        ({"vision_config": {"hidden_size": -16}}, r"vision_config \(vit\): hidden_size must be at least 1, got -16\."),
        ({"text_config": {"model_type": "nope"}}, "text_config: transformers knows no model_type 'nope'"),
        ({"hidden_size": "wide"}, "model_config: .*'hidden_size'(.|\n)*expected int, got str"),
        ({"hidden_size": 7}, r"hidden_size \(7\) must be a multiple of num_attention_heads \(2\)"),
        ({"vision_config": 3}, "'vision_config'"),
        ({"vision_config": {"model_type": "vit", "hidden_size": "x"}}, "Field 'hidden_size' expected int, got str"),
        (
            {"vision_config": {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 1, "vocab_size": 9}},
            r"GPT2Config \(gpt2\) is no vision encoder",
        ),
        ({"mining": "hardest"}, "'mining' expected one of"),
        ({"vision_config": {"hidden_act": "no"}}, "^model_config: no model can be made of it, KeyError: 'no'$"),
        ({"vision_config": {"hidden_size": 10**13}}, "^model_config: no model can be made of it, RuntimeError: .*memory"),
        (
            {"vision_config": {"model_type": "resnet", "depths": [], "hidden_sizes": []}},
            "^model_config: no model can be made of it, IndexError: list index out of range$",
        ),
    ],
)
def test_a_wrong_config_is_told_by_its_field_in_one_line(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        build_model(options(fields), SENTENCES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{hidden_size: 3", "[1]", "3"])
def test_a_config_that_is_no_mapping(text):
    with pytest.raises(ValueError, match="model_config (is no JSON|must be a mapping)"):
        config_fields(text)


@pytest.mark.parametrize("option", ["model", "vision_model", "text_model"])
def test_a_model_that_is_not_there_is_named_with_its_option(option):
    with pytest.raises(ValueError, match=f"^{option} 'no/such' cannot be loaded: "):
        build_model(options({"vision_config": CONFIG["vision_config"]}, **{option: "no/such"}), SENTENCES)


# ------------------------------------------------------------------------------------------------- the image processor


def test_statistics_are_those_of_the_vision_model(tmp_path):
    folder, _ = saved(tmp_path / "vit", vision_config())
    assert list(build_image_processor(folder, 64).image_mean) == [0.5, 0.5, 0.5]  # it does not say
    transformers.ViTImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(folder)
    process = build_image_processor(folder, 64)
    assert isinstance(process, CAANImageProcessor) and process.size == {"height": 64, "width": 64}
    assert (list(process.image_mean), list(process.image_std)) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def test_statistics_of_a_timm_model(tmp_path):
    config = vision_config("timm_vit")
    config.pretrained_cfg = {"mean": [0.7, 0.6, 0.5], "std": [0.3, 0.2, 0.1], "input_size": [3, 32, 32]}
    folder, _ = saved(tmp_path / "timm", config)
    process = build_image_processor(folder, 32)
    assert (list(process.image_mean), list(process.image_std)) == ([0.7, 0.6, 0.5], [0.3, 0.2, 0.1])


# ------------------------------------------------------------------------------------------------------------- recipes


def test_layer_decay_without_blocks_is_refused():
    model = caan_model(vision_config="timm_resnet")
    with pytest.raises(
        ValueError, match="^layer_decay is 0.1, but TimmWrapperModel has 0 blocks that it could tell apart: leave"
    ):
        build_optimizer(model, TrainOptions(layer_decay=0.1))
    assert build_optimizer(model, TrainOptions(layer_decay=1.0)).param_groups


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_shipped_recipes_ask_for_nothing_that_takes_no_part(recipe, encoders, tmp_path):
    """Small encoders of random weights stand in for those that two of the recipes start from."""
    chosen, data, train, _ = parse_options(*FAMILIES, argv=[recipe])
    if chosen.vision_model:
        chosen.vision_model, chosen.text_model = saved(tmp_path, vision_config("dinov2"))[0], encoders["text"][0]
    require_effect(chosen, uses_text(chosen), data.descriptions)
    model, _ = build_model(chosen, SENTENCES)
    assert build_optimizer(model, train).param_groups


# -------------------------------------------------------------------------------------------------- optimizer, schedule


def test_groups_have_their_rates_and_norms_and_biases_do_not_decay():
    model = caan_model()
    tune_encoders(model, ModelOptions(tune="last_1"))
    chosen = TrainOptions(learning_rate=0.3, vision_learning_rate=0.1, weight_decay=0.05)
    optimizer = build_optimizer(model, chosen)
    settings = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(settings)  # none twice
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert len(norms) > 10
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert id(parameter) not in settings, name
            continue
        rate = 0.1 if name.startswith(("image_encoder.encoder.", "sketch_encoder.encoder.")) else 0.3
        decay = 0.0 if name.endswith("bias") or name in norms else 0.05
        assert settings[id(parameter)] == (rate, decay), name


def test_one_rate_for_all_unless_the_encoders_have_their_own():
    optimizer = build_optimizer(caan_model(), TrainOptions(learning_rate=0.3))
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}


def test_weight_decay_acts_on_matrices_alone():
    model = caan_model()
    before = copy.deepcopy(model)
    optimizer = build_optimizer(model, TrainOptions(learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    for (name, new), old in zip(model.named_parameters(), before.parameters()):
        decays = new.requires_grad and new.ndim > 1
        assert torch.allclose(new, old * 0.95 if decays else old), name


@pytest.mark.parametrize("total,warmup", [(10, 0.3), (7, 0.0), (40, 0.05)])
def test_the_rate_rises_and_falls_to_zero(total, warmup):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = build_schedule(optimizer, TrainOptions(warmup_ratio=warmup), total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    rise = round(warmup * total)
    expected = [
        2 * step / rise if step < rise else 1 + math.cos(math.pi * (step - rise) / (total - rise)) for step in range(total)
    ]
    assert rates == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_model_is_a_caan():
    model, _ = build_model(options({"vision_config": CONFIG["vision_config"]}), [])
    assert isinstance(model, CAANModel) and model.dtype == torch.float32


# ------------------------------------------------------------------------------------------------------------ warm start


def test_a_projection_of_equal_widths_starts_as_the_identity(encoders):
    folder, encoder = encoders["vision"]
    pixels = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    kept = encoder.eval()(pixels).last_hidden_state[:, 0]
    for width, neutral in ((encoder.config.hidden_size, True), (encoder.config.hidden_size * 2, False)):
        model, _ = build_model(options({"hidden_size": width, "use_text": False}, vision_model=folder), [])
        found = model.eval().encode(pixels, "photo").global_token
        assert (found.shape == kept.shape and torch.allclose(found, kept, atol=1e-6)) is neutral


@pytest.mark.parametrize("name", ["vit", "dinov2", "timm_vit"])
def test_each_block_learns_at_a_share_of_the_next_ones_rate(name):
    model = caan_model(vision_config=name)
    optimizer = build_optimizer(
        model, TrainOptions(learning_rate=0.3, vision_learning_rate=0.1, layer_decay=0.5, weight_decay=0)
    )
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    depths = set()
    for key, parameter in model.image_encoder.encoder.named_parameters():
        block = re.search(r"(?:layers?|blocks)\.(\d+)\.", key)  # transformers changed its names in between
        depth = int(block[1]) + 1 if block else 3 if "norm" in key else 0  # two blocks, then the last norm
        depths.add(depth)
        assert rates[id(parameter)] == pytest.approx(0.1 * 0.5 ** (3 - depth)), key
    assert depths == {0, 1, 2, 3}
    assert rates[id(model.image_encoder.projection.weight)] == 0.3


def test_the_shade_of_the_options_is_the_processor_s():
    _, shading = build_model(options({"use_text": False}, sketch_shade=0.4), [])
    assert shading.sketch_shade == 0.4 and inference_processor(shading, 0).sketch_shade == 0.4


def test_the_processor_for_inference_is_a_copy_of_another_size():
    trained = processor()
    larger = inference_processor(trained, 48)
    shape = larger(images=[photo()], modality="photo", return_tensors="pt")["pixel_values"].shape
    assert shape == (1, 3, 48, 48) and trained.image_processor.size["height"] == IMAGE_SIZE
    alone = inference_processor(trained.image_processor, 0)
    assert alone is not trained.image_processor and alone.size["height"] == IMAGE_SIZE
