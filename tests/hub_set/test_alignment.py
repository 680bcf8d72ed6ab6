"""python -m pytest tests/hub_set/test_alignment.py"""

import itertools

import pytest
import torch
from tiny import add_noise, caan_config
from torch import nn

from modeling_caan import CrossAttention, CrossModalAlignment, RelationNetwork

SIZE = 8


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def alignment(num_layers=2, **fields):
    return add_noise(CrossModalAlignment(caan_config(num_alignment_layers=num_layers, **fields)), scale=0.3).eval()


# ------------------------------------------------------------------------------------------------------ attention


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_attention_equals_torchs_own(num_heads, masked):
    attention = add_noise(CrossAttention(SIZE, num_heads), scale=0.5)
    reference = nn.MultiheadAttention(SIZE, num_heads, batch_first=True)
    parts = (attention.query, attention.key, attention.value)
    reference.load_state_dict(
        {
            "in_proj_weight": torch.cat([part.weight for part in parts]),
            "in_proj_bias": torch.cat([part.bias for part in parts]),
            "out_proj.weight": attention.output.weight,
            "out_proj.bias": attention.output.bias,
        }
    )
    tokens, context = random(3, 5, SIZE), random(3, 7, SIZE, seed=1)
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]]) if masked else None
    expected, weights = reference(
        tokens, context, context, key_padding_mask=None if mask is None else ~mask, average_attn_weights=False
    )
    for output_attentions in (False, True):
        output, got = attention(tokens, context, mask, output_attentions)
        assert torch.allclose(output, expected, atol=1e-6)
        assert (got is None) != output_attentions
    assert torch.allclose(got, weights, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_attention_rows_sum_to_one_and_leave_masked_tokens_out(dtype):
    attention = add_noise(CrossAttention(SIZE, 2), scale=0.5).to(dtype)
    mask = torch.tensor([[True, True, False, False], [True, False, True, True]])
    weights = attention(random(2, 3, SIZE).to(dtype), random(2, 4, SIZE, seed=1).to(dtype), mask, True)[1]
    assert weights.shape == (2, 2, 3, 4) and weights.dtype == dtype
    assert torch.allclose(weights.double().sum(-1), torch.ones(2, 2, 3).double(), atol=1e-2 if dtype.itemsize == 2 else 1e-6)
    assert (weights.transpose(1, 3)[~mask] == 0).all()


# ------------------------------------------------------------------------------------------------------ alignment


def reference_alignment(module, visual, text):
    """One picture, no masked tokens, written anew from the docstrings: loops over blocks, heads and tokens."""

    def attend(attention, tokens, context):
        query, key, value = attention.query(tokens), attention.key(context), attention.value(context)
        width = SIZE // attention.num_heads
        rows = []
        for i in range(len(tokens)):
            heads = []
            for h in range(attention.num_heads):
                part = slice(h * width, (h + 1) * width)
                scores = torch.stack([query[i, part] @ key[j, part] / width**0.5 for j in range(len(context))])
                heads.append(sum(w * value[j, part] for j, w in enumerate(scores.softmax(0))))
            rows.append(torch.cat(heads))
        return attention.output(torch.stack(rows))

    old_visual, old_text = visual, text
    for block in module.blocks:
        visual_in, text_in = block.visual_norm(visual), block.text_norm(text)
        visual = visual + attend(block.visual_attention, visual_in, text_in)
        text = text + attend(block.text_attention, text_in, visual_in)
        visual = visual + block.visual_feed_forward(visual)
        text = text + block.text_feed_forward(text)
    found = (text - old_text).mean(dim=0)
    assert not torch.allclose(visual, old_visual)
    return torch.cat([visual[:1] + found, visual[1:]])


@torch.no_grad()
def test_alignment_equals_a_slow_reference():
    module, visual, text = alignment(), random(2, 4, SIZE), random(2, 5, SIZE, seed=1)
    aligned, attentions = module(visual, text, torch.ones(2, 5, dtype=torch.bool))
    assert attentions is None
    for row in range(2):
        assert torch.allclose(aligned[row], reference_alignment(module, visual[row], text[row]), atol=1e-5)


@torch.no_grad()
def test_alignment_reads_only_the_real_tokens():
    """The aligned tokens of a masked description equal those of the same description cut to its real tokens."""
    module, visual, text = alignment(), random(1, 4, SIZE), random(1, 6, SIZE, seed=1)
    mask = torch.tensor([[True, False, True, True, False, False]])
    aligned = module(visual, text, mask)[0]
    assert torch.allclose(aligned[0], reference_alignment(module, visual[0], text[0, mask[0]]), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("extra", [1, 9])
def test_more_padding_changes_nothing(extra):
    module, visual, text = alignment(), random(3, 4, SIZE), random(3, 5, SIZE, seed=1)
    mask = torch.arange(5) < torch.tensor([[5], [2], [0]])
    padding = 100 * random(3, extra, SIZE, seed=2)
    padded = torch.cat([text, padding], dim=1), torch.cat([mask, torch.zeros(3, extra, dtype=torch.bool)], dim=1)
    assert torch.allclose(module(visual, text, mask)[0], module(visual, *padded)[0], atol=1e-5)
    weights = module(visual, *padded, True)[1]
    assert all((layer[..., 5:] == 0)[:2].all() for layer in weights)


@torch.no_grad()
def test_sdpa_and_eager_alignment_agree():
    module, visual, text = alignment(), random(3, 4, SIZE), random(3, 5, SIZE, seed=1)
    mask = torch.arange(5) < torch.tensor([[5], [2], [0]])
    quick, slow = module(visual, text, mask), module(visual, text, mask, True)
    assert torch.allclose(quick[0], slow[0], atol=1e-6)
    assert quick[1] is None and [tuple(layer.shape) for layer in slow[1]] == [(3, 2, 4, 5)] * 2
    assert all(torch.allclose(layer.sum(-1), torch.ones(3, 2, 4), atol=1e-6) for layer in slow[1])


@pytest.mark.parametrize("output_attentions", [False, True])
def test_rows_without_text_come_back_unchanged_with_clean_gradients(output_attentions):
    module, visual, text = alignment(), random(3, 4, SIZE).requires_grad_(), random(3, 5, SIZE, seed=1).requires_grad_()
    mask = torch.tensor([[False] * 5, [True] * 5, [True, True, False, False, False]])
    aligned = module(visual, text, mask, output_attentions)[0]
    assert torch.equal(aligned[0], visual[0]) and not torch.allclose(aligned[1], visual[1])
    aligned.square().sum().backward()
    assert torch.allclose(visual.grad[0], 2 * visual[0])
    assert (text.grad[0] == 0).all() and text.grad[1].abs().sum() > 0
    assert all(weight.grad.isfinite().all() for weight in module.parameters())


def test_a_batch_wholly_without_text_has_no_nan():
    module, visual = alignment(), random(2, 4, SIZE).requires_grad_()
    aligned = module(visual, random(2, 5, SIZE, seed=1), torch.zeros(2, 5, dtype=torch.bool))[0]
    aligned.sum().backward()
    assert torch.equal(aligned, visual) and torch.equal(visual.grad, torch.ones(2, 4, SIZE))
    assert all((weight.grad == 0).all() for weight in module.parameters())


@torch.no_grad()
def test_the_aligned_global_token_depends_on_picture_and_on_text():
    """What a fixed text adds must differ from picture to picture, or the losses could be won without looking."""
    module, mask = alignment(), torch.ones(2, 5, dtype=torch.bool)
    visual, text = random(2, 4, SIZE), random(1, 5, SIZE, seed=1).expand(2, -1, -1)
    aligned = module(visual, text, mask)[0]
    added = aligned[:, 0] - visual[:, 0]
    assert not torch.allclose(added[0], added[1], atol=1e-2)
    other = module(visual, random(1, 5, SIZE, seed=2).expand(2, -1, -1), mask)[0]
    assert not torch.allclose(aligned[:, 0], other[:, 0], atol=1e-2)


def test_no_layers_mean_no_alignment():
    module, visual = alignment(num_layers=0), random(2, 4, SIZE)
    aligned, attentions = module(visual, random(2, 5, SIZE), torch.ones(2, 5, dtype=torch.bool), True)
    assert torch.equal(aligned, visual) and attentions == ()


def test_dropout_acts_in_training_alone():
    module, visual, text = alignment(alignment_dropout=0.5), random(1, 4, SIZE), random(1, 5, SIZE, seed=1)
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert torch.equal(module(visual, text, mask)[0], module(visual, text, mask)[0])
    module.train()
    assert not torch.equal(module(visual, text, mask)[0], module(visual, text, mask)[0])


# ------------------------------------------------------------------------------------------------ relation network


def relation_network(**fields):
    return add_noise(RelationNetwork(caan_config(**fields)), scale=0.3)


@torch.no_grad()
@pytest.mark.parametrize("grid", [(2, 2), (4, 4), (4, 6), (8, 2)])
def test_reduce_is_the_average_over_blocks_of_the_grid(grid):
    """With 4 relation tokens, each is the mean of a quarter of the grid; token k lies at row k // columns."""
    network, (rows, columns) = relation_network(), grid
    tokens = random(2, rows * columns, SIZE)
    expected = []
    for top, left in itertools.product((0, rows // 2), (0, columns // 2)):
        block = [r * columns + c for r in range(top, top + rows // 2) for c in range(left, left + columns // 2)]
        vector = network.reduction(sum(tokens[:, k] for k in block) / len(block))
        expected.append(vector / vector.norm(dim=-1, keepdim=True))
    assert torch.allclose(network.reduce(tokens, grid), torch.stack(expected, dim=1), atol=1e-6)


@torch.no_grad()
def test_reduce_of_an_uneven_grid_averages_overlapping_blocks():
    """3 rows to 2: rows 0 and 1, then 1 and 2, as adaptive pooling does."""
    network, tokens = relation_network(), random(1, 3, SIZE)
    wide = tokens.repeat_interleave(2, dim=1)  # grid (3, 2) of equal columns
    averages = torch.stack([tokens[:, :2].mean(1), tokens[:, 1:].mean(1)], dim=1).repeat_interleave(2, dim=1)
    expected = torch.nn.functional.normalize(network.reduction(averages), dim=-1)
    assert torch.allclose(network.reduce(wide, (3, 2)), expected, atol=1e-6)


@torch.no_grad()
def test_a_grid_smaller_than_the_relation_tokens_is_repeated():
    network, tokens = relation_network(), random(1, 1, SIZE)
    assert torch.allclose(network.reduce(tokens, (1, 1)), network.reduce(tokens.expand(1, 4, SIZE), (2, 2)))


@torch.no_grad()
def test_the_score_is_the_perceptron_of_the_cosine_matrix():
    network, sketch, photo = relation_network(), random(4, SIZE), random(4, SIZE, seed=1)
    cosines = torch.tensor([[torch.cosine_similarity(s, p, dim=0) for p in photo] for s in sketch])
    expected = network.scorer(cosines.reshape(1, 16)).sigmoid().item()
    unit = [x / x.norm(dim=-1, keepdim=True) for x in (sketch, photo)]
    assert network(*unit).item() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_all_pairs_at_once_equal_row_by_row():
    network = relation_network()
    sketches = torch.nn.functional.normalize(random(3, 4, SIZE), dim=-1)
    photos = torch.nn.functional.normalize(random(5, 4, SIZE, seed=1), dim=-1)
    scores = network(sketches[:, None], photos[None])
    assert scores.shape == (3, 5) and ((scores > 0) & (scores < 1)).all() and scores.unique().numel() == 15
    for i, j in itertools.product(range(3), range(5)):
        assert scores[i, j] == pytest.approx(network(sketches[i], photos[j]).item(), abs=1e-6)
    assert torch.allclose(network(sketches, photos[:3]), scores.diagonal(), atol=1e-6)


@torch.no_grad()
def test_swapping_sketch_and_photo_transposes_the_similarities():
    """A scorer that weighs the matrix symmetrically scores both orders alike; an ordinary one need not."""
    network = relation_network()
    sketch, photo = (torch.nn.functional.normalize(random(4, SIZE, seed=s), dim=-1) for s in (0, 1))
    assert network(sketch, photo) != network(photo, sketch)
    weight = network.scorer[0].weight.view(-1, 4, 4)
    weight.copy_((weight + weight.transpose(1, 2)) / 2)
    assert torch.allclose(network(sketch, photo), network(photo, sketch), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_float32_and_near_the_exact_ones(dtype):
    """Scores in half precision would tie, and ties make a ranking arbitrary."""
    network, tokens = relation_network(), random(2, 24, SIZE)
    exact = network(network.reduce(tokens, (4, 6)), network.reduce(tokens.flip(0), (4, 6)))
    half = network.to(dtype)
    scores = half(half.reduce(tokens.to(dtype), (4, 6)), half.reduce(tokens.flip(0).to(dtype), (4, 6)))
    assert scores.dtype == torch.float32 and torch.allclose(scores, exact, atol=2e-2)
