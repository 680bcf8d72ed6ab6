"""What the model gives, and its losses.  python -m pytest tests/hub_set/test_modeling.py"""

import pytest
import torch
import torch.nn.functional as F
from tiny import batch, caan_model, features

from losses_caan import (
    mine_triplets,
    relation_loss,
    retained_knowledge_loss,
    sketch_photo_contrastive_loss,
    text_contrastive_loss,
    triplet_loss,
)
from modeling_caan import CAANOutput, join


@pytest.fixture(scope="module")
def model():
    return caan_model()


@torch.no_grad()
def test_features_are_unit_vectors_of_each_modalitys_own_tower(model):
    pixels = batch()["pixel_values"]
    for name, tower in (("sketch", model.sketch_encoder), ("image", model.image_encoder)):
        vectors = getattr(model, f"get_{name}_features")(pixels)
        assert torch.allclose(vectors.norm(dim=1), torch.ones(6), atol=1e-6)
        assert torch.equal(vectors, F.normalize(tower(pixels).global_token, dim=-1))
    assert not torch.allclose(model.get_sketch_features(pixels), model.get_image_features(pixels), atol=1e-2)


@torch.no_grad()
def test_forward_gives_what_it_was_given_pixels_for(model):
    inputs = batch()
    photos = model(pixel_values=inputs["pixel_values"])
    assert list(photos) == ["last_hidden_state", "pooler_output", "image_embeds"]
    assert torch.equal(photos.last_hidden_state, join(model.encode(inputs["pixel_values"], "photo")))
    assert photos.last_hidden_state.shape == (6, 17, 8)
    assert torch.equal(photos.pooler_output, photos.image_embeds)
    sketches = model(sketch_pixel_values=inputs["sketch_pixel_values"])
    assert list(sketches) == ["sketch_embeds"]
    expected = features(model)
    assert torch.equal(sketches.sketch_embeds, expected[0]) and torch.equal(photos.image_embeds, expected[1])


@torch.no_grad()
def test_return_dict_false_gives_a_tuple_with_the_loss_first(model):
    inputs = batch()
    output = model(**inputs)
    as_tuple = model(**inputs, return_dict=False)
    assert isinstance(output, CAANOutput) and type(as_tuple) is tuple and len(as_tuple) == len(output) == 7
    assert torch.equal(as_tuple[0], output.loss) and as_tuple[0].ndim == 0
    assert all(torch.equal(a, b) for a, b in zip(as_tuple, output.to_tuple()))
    assert torch.equal(model(pixel_values=inputs["pixel_values"], return_dict=False)[0], output.last_hidden_state)


@torch.no_grad()
def test_pairs_are_scored_from_relation_tokens(model):
    inputs = batch()
    sketches = model.get_relation_tokens(inputs["sketch_pixel_values"], "sketch")
    photos = model.get_relation_tokens(inputs["pixel_values"], "photo")
    assert sketches.shape == photos.shape == (6, 4, 8)
    assert torch.allclose(sketches.norm(dim=-1), torch.ones(6, 4), atol=1e-6)
    scores = model.score_pairs(sketches[:, None], photos[None])
    assert scores.shape == (6, 6) and ((scores > 0) & (scores < 1)).all()
    assert torch.allclose(model.score_pairs(sketches, photos), scores.diagonal(), atol=1e-6)


@pytest.mark.parametrize("method", ["encode", "get_relation_tokens"])
def test_an_unknown_modality_is_named(model, method):
    with pytest.raises(ValueError, match='modality must be "sketch" or "photo", got \'image\''):
        getattr(model, method)(batch()["pixel_values"], "image")


@pytest.mark.parametrize(
    ("missing", "extra", "said"),
    [
        (("pixel_values", "sketch_pixel_values"), {}, "Give pixel_values .photos., sketch_pixel_values, or both"),
        (("pixel_values",), {}, "as many photos as sketches"),
        (("sketch_pixel_values",), {}, "as many photos as sketches"),
        ((), {"labels": torch.tensor([0, 1])}, "as many photos as sketches; row i of both is of class labels"),
        ((), {"labels": torch.zeros(6, dtype=torch.long)}, "at least two classes"),
        (("input_ids", "attention_mask"), {}, "learns with text: give input_ids and attention_mask.*use_text=False"),
        (("attention_mask",), {}, r"\(classes, sentences, length\).*attention_mask is missing"),
        (("input_ids", "attention_mask"), {"text_features": torch.zeros(3, 4, 12)}, "or text_features and text_mask"),
        ((), {"input_ids": torch.zeros(3, 5, dtype=torch.long)}, r"\(classes, sentences, length\); input_ids are \(3, 5\)"),
        (("labels",), {"output_attentions": True}, "output_attentions needs labels"),
    ],
)
def test_inputs_that_do_not_suffice_are_named(model, missing, extra, said):
    inputs = {name: value for name, value in {**batch(), **extra}.items() if name not in missing}
    with pytest.raises(ValueError, match=said):
        model(**inputs)


# ------------------------------------------------------------------------------------------------------------- losses


def expected_parts(model, inputs, keep_text=None):
    """The parts of the loss before and after alignment, from the model's public pieces, triplet by triplet."""
    sketches = model.encode(inputs["sketch_pixel_values"], "sketch")
    photos = model.encode(inputs["pixel_values"], "photo")
    positive, negative = mine_triplets(sketches.global_token, photos.global_token, inputs["labels"], "batch_hard")
    features, mask = model.encode_descriptions(inputs["input_ids"], inputs["attention_mask"])
    words = model.text_projection(features)
    parts = {"before": ([], []), "after": ([], [])}
    for row, label in enumerate(inputs["labels"].tolist()):
        triplet = [join(sketches)[row], join(photos)[positive[row]], join(photos)[negative[row]]]
        sentence = words[label, mask[label]][None]  # the anchor's own description, for all three
        everything = torch.ones(1, sentence.shape[1], dtype=torch.bool)
        modules = (model.sketch_alignment, model.image_alignment, model.image_alignment)
        read = [module(x[None], sentence, everything)[0][0] for module, x in zip(modules, triplet)]
        if keep_text is not None and not keep_text[row]:
            read = triplet
        for name, (anchor, pos, neg) in (("before", triplet), ("after", read)):
            parts[name][0].append(triplet_loss(anchor[None, 0], pos[None, 0], neg[None, 0], model.config.margin))
            reduced = [model.relation_network.reduce(x[None, 1:], sketches.grid) for x in (anchor, pos, neg)]
            scores = [model.score_pairs(reduced[0], other) for other in reduced[1:]]
            parts[name][1].append(relation_loss(*scores))
    return {name: tuple(torch.stack(x).mean().item() for x in pair) for name, pair in parts.items()}


@torch.no_grad()
@pytest.mark.parametrize("loss_on", ["before", "after", "both"])
def test_the_losses_see_the_features_that_loss_on_names(loss_on):
    model, inputs = caan_model(loss_on=loss_on), batch()
    parts = expected_parts(model, inputs)
    assert parts["before"] != pytest.approx(parts["after"], abs=1e-3)
    both = tuple((b + a) / 2 for b, a in zip(parts["before"], parts["after"]))
    output = model(**inputs)
    assert (output.loss_tri.item(), output.loss_rn.item()) == pytest.approx({**parts, "both": both}[loss_on], abs=1e-5)


@torch.no_grad()
def test_text_dropout_takes_the_text_from_some_anchors_in_training_alone():
    model, inputs = caan_model(loss_on="after", text_dropout=0.5), batch()
    torch.manual_seed(5)
    keep = torch.rand(6, 1).squeeze(1) >= 0.5  # the only random draw of a step
    assert 0 < keep.sum() < 6
    torch.manual_seed(5)
    output = model.train()(**inputs)
    expected = expected_parts(model, inputs, keep)["after"]
    assert (output.loss_tri.item(), output.loss_rn.item()) == pytest.approx(expected, abs=1e-5)
    output = model.eval()(**inputs)
    assert (output.loss_tri.item(), output.loss_rn.item()) == pytest.approx(expected_parts(model, inputs)["after"], abs=1e-5)


@torch.no_grad()
def test_with_all_text_dropped_after_alignment_equals_before():
    inputs = batch()
    after = caan_model(loss_on="after", text_dropout=1 - 1e-9).train()(**inputs)
    before = caan_model(loss_on="before").train()(**inputs)
    assert torch.allclose(after.loss, before.loss, atol=1e-6)


@torch.no_grad()
def test_the_loss_is_the_weighted_sum_of_its_named_parts():
    inputs = batch()
    weights = {"lambda_tri": 0.5, "lambda_rn": 3.0, "lambda_con": 2.0, "lambda_text": 0.25}
    output = caan_model(**weights)(**inputs)
    expected = sum(weight * output[name.replace("lambda", "loss")].item() for name, weight in weights.items())
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)
    plain = caan_model()(**inputs)
    assert plain.loss_con is None and plain.loss_text is None
    assert plain.loss.item() == pytest.approx((plain.loss_tri + plain.loss_rn).item(), rel=1e-6)
    assert torch.equal(plain.loss_tri, output.loss_tri) and torch.equal(plain.loss_rn, output.loss_rn)
    assert caan_model(lambda_tri=0, lambda_rn=0)(**inputs).loss.item() == 0


@torch.no_grad()
def test_the_contrast_of_sketches_and_photos_is_of_the_features_used_at_inference():
    model, inputs = caan_model(lambda_con=1.0, temperature=0.2), batch()
    expected = sketch_photo_contrastive_loss(*features(model), inputs["labels"], 0.2)
    assert model(**inputs).loss_con.item() == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_the_text_loss_compares_pictures_with_the_mean_word_of_each_class():
    model, inputs = caan_model(lambda_text=1.0), batch()
    words, mask = model.encode_descriptions(inputs["input_ids"], inputs["attention_mask"])
    prototypes = torch.stack([model.text_projection(w[m]).mean(dim=0) for w, m in zip(words, mask)])
    expected = [
        text_contrastive_loss(model.encode(inputs[name], kind).global_token, prototypes, inputs["labels"], 0.07)
        for name, kind in (("sketch_pixel_values", "sketch"), ("pixel_values", "photo"))
    ]
    assert model(**inputs).loss_text.item() == pytest.approx(sum(expected).item() / 2, rel=1e-5)


def test_a_class_without_any_text_leaves_loss_and_gradients_finite():
    model, inputs = caan_model(lambda_text=1.0).train(), batch()
    inputs["attention_mask"][1] = 0
    loss = model(**inputs).loss
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@torch.no_grad()
def test_random_mining_is_used_when_asked_for():
    model, inputs = caan_model(mining="random", loss_on="before"), batch(num_classes=3, per_class=3)
    losses = []
    for seed in range(4):
        torch.manual_seed(seed)
        losses.append(round(model(**inputs).loss_tri.item(), 6))
    assert len(set(losses)) > 1
    assert max(losses) <= caan_model(loss_on="before")(**inputs).loss_tri.item() + 1e-6  # nothing is harder than batch_hard


@torch.no_grad()
def test_a_model_without_text_ignores_text_and_has_the_losses_before_alignment():
    inputs = batch()
    with_text = caan_model(loss_on="before")
    without = with_text.for_inference()
    assert torch.allclose(without(**inputs).loss, with_text(**inputs).loss)
    del inputs["input_ids"], inputs["attention_mask"]
    assert torch.allclose(without(**inputs).loss_tri, with_text(**batch()).loss_tri)
    with pytest.raises(ValueError, match="use_text=True"):
        without(**inputs, output_attentions=True)


def taught_batch() -> dict:
    """A batch with what a teacher of five numbers knows of it."""
    generator = torch.Generator().manual_seed(7)
    names = {"teacher_photos": 9, "photo_targets": 6, "sketch_targets": 6}
    return batch() | {name: torch.randn(count, 5, generator=generator) for name, count in names.items()}


def test_what_a_teacher_knows_is_one_more_part_of_the_loss():
    model, inputs = caan_model(teacher_width=5, lambda_teacher=3.0, teacher_temperature=0.2), taught_batch()
    output = model(**inputs)
    heads = [
        model.teacher_head(tokens.global_token)
        for tokens in (model.encode(inputs["sketch_pixel_values"], "sketch"), model.encode(inputs["pixel_values"], "photo"))
    ]
    told = zip(heads, (inputs["sketch_targets"], inputs["photo_targets"]))
    expected = [retained_knowledge_loss(head, target, inputs["teacher_photos"], 0.2) for head, target in told]
    assert output.loss_teacher.item() == pytest.approx(sum(expected).item() / 2, abs=1e-6)
    model.config.lambda_teacher = 0.0
    without = model(**inputs)
    assert without.loss_teacher is None
    assert output.loss.item() == pytest.approx(without.loss.item() + 3 * output.loss_teacher.item(), abs=1e-5)


def test_a_model_with_a_teacher_needs_what_it_knows():
    inputs = taught_batch()
    with pytest.raises(ValueError, match="learns from a teacher: give teacher_photos, photo_targets and sketch_targets"):
        caan_model(teacher_width=5)(**{name: value for name, value in inputs.items() if name != "photo_targets"})
    model = caan_model()  # without one it ignores it
    assert model(**inputs).loss.item() == model(**batch()).loss.item()


def test_retrieval_needs_no_teacher(tmp_path):
    model = caan_model(teacher_width=5)
    model.for_inference().save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.teacher_head is None and again.config.teacher_width == 0 and model.config.teacher_width == 5
    for one, other in zip(features(again), features(model)):
        assert torch.equal(one, other)
    model.save_pretrained(tmp_path / "whole")
    assert torch.equal(type(model).from_pretrained(tmp_path / "whole").teacher_head.weight, model.teacher_head.weight)
