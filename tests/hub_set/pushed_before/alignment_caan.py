"""Cross-modal Alignment Module and relation network of CAAN: how visual and description tokens meet, and how a sketch and a
photo are compared token by token.

The paper names the parts (cross-attention text-sketch and text-image, a relation network for the local loss) and not their
equations, so the forms below are ours: standard pre-norm blocks with query from one modality and key and value from the
other. Query and value from one side with the key from the other, as in ZSE-SBIR, needs equal token counts, which text and
image do not have.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


class CrossAttention(nn.Module):
    """Multi-head attention of one modality's tokens over the other's."""

    def __init__(self, hidden_size: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, tokens, context, context_mask=None, output_attentions=False):
        """tokens (batch, n, d), context (batch, m, d), context_mask (batch, m), True = real -> (batch, n, d), weights."""
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (batch, heads, n or m, d / heads)
            for layer, x in ((self.query, tokens), (self.key, context), (self.value, context))
        )
        mask = None if context_mask is None else context_mask[:, None, None, :]
        weights = None
        if output_attentions:  # sdpa does not give its weights away
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            weights = scores.softmax(dim=-1)  # (batch, heads, n, m)
            attended = weights @ value
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(attended.transpose(1, 2).flatten(2)), weights


class FeedForward(nn.Sequential):
    """Pre-norm two-layer perceptron."""

    def __init__(self, hidden_size: int, intermediate_size: int):
        super().__init__(
            nn.LayerNorm(hidden_size),
            nn.Linear(hidden_size, intermediate_size),
            nn.GELU(),
            nn.Linear(intermediate_size, hidden_size),
        )


class AlignmentBlock(GradientCheckpointingLayer):
    """One bidirectional exchange: visual tokens attend to the description and the description to the visual tokens.

    Both directions read the same old tokens, so that neither side is privileged.
    """

    def __init__(self, config):
        super().__init__()
        size = config.hidden_size
        self.visual_norm, self.text_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.visual_attention = CrossAttention(size, config.num_attention_heads)
        self.text_attention = CrossAttention(size, config.num_attention_heads)
        self.visual_feed_forward = FeedForward(size, config.intermediate_size)
        self.text_feed_forward = FeedForward(size, config.intermediate_size)
        self.dropout = nn.Dropout(config.alignment_dropout)

    def forward(self, visual, text, text_mask, output_attentions=False):
        """visual (batch, 1 + n, d), text (batch, m, d), text_mask (batch, m) -> both updated, visual's attention weights."""
        visual_in, text_in = self.visual_norm(visual), self.text_norm(text)
        update, weights = self.visual_attention(visual_in, text_in, text_mask, output_attentions)
        visual = visual + self.dropout(update)
        text = text + self.dropout(self.text_attention(text_in, visual_in)[0])
        visual = visual + self.dropout(self.visual_feed_forward(visual))
        text = text + self.dropout(self.text_feed_forward(text))
        return visual, text, weights


class CrossModalAlignment(nn.Module):
    """`num_alignment_layers` exchanges between the tokens of one visual modality and those of a description.

    The aligned global token is the visual one plus the mean of what the words found in the picture: the change of the text
    tokens, not the text itself, which would be the same for every picture read with that text.
    """

    def __init__(self, config):
        super().__init__()
        self.blocks = nn.ModuleList(AlignmentBlock(config) for _ in range(config.num_alignment_layers))

    def forward(self, visual, text, text_mask, output_attentions=False):
        """visual (batch, 1 + n, d), text (batch, m, d), text_mask (batch, m), True = real token.

        Returns the aligned tokens (batch, 1 + n, d) and, on request, a tuple with each block's attention of the visual tokens
        over the description, (batch, heads, 1 + n, m). A row whose mask is all False (text dropped) comes back unchanged.
        """
        has_text = text_mask.any(dim=1)
        # A softmax over nothing is NaN, and NaN survives torch.where in the backward pass: such rows see one dummy token.
        mask = text_mask | ~has_text[:, None]
        aligned, words, attentions = visual, text, []
        for block in self.blocks:
            aligned, words, weights = block(aligned, words, mask, output_attentions)
            attentions.append(weights)
        share = mask.to(text.dtype)[..., None] / mask.sum(dim=1)[:, None, None]
        found = ((words - text) * share).sum(dim=1, keepdim=True)  # (batch, 1, d)
        aligned = torch.cat([aligned[:, :1] + found, aligned[:, 1:]], dim=1)
        aligned = torch.where(has_text[:, None, None], aligned, visual)
        return aligned, tuple(attentions) if output_attentions else None


class RelationNetwork(nn.Module):
    """Scores a sketch and a photo from the cosine similarities of all pairs of their local tokens (L_rn's network).

    As in ZSE-SBIR the tokens are reduced to a small grid and the flattened similarity matrix goes through a perceptron; here
    the reduction is average pooling over the true grid and a linear layer, which any encoder and resolution can feed.
    """

    def __init__(self, config):
        super().__init__()
        self.side = round(config.num_relation_tokens**0.5)
        hidden = config.relation_hidden_size
        self.reduction = nn.Linear(config.hidden_size, config.hidden_size)
        self.scorer = nn.Sequential(
            nn.Linear(config.num_relation_tokens**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, max(hidden // 4, 1)),
            nn.ReLU(),
            nn.Linear(max(hidden // 4, 1), 1),
        )

    def reduce(self, local_tokens, grid):
        """local tokens (batch, h * w, d) on grid (h, w) -> unit vectors (batch, num_relation_tokens, d)."""
        tokens = local_tokens.transpose(1, 2).unflatten(2, grid)
        if grid != (self.side, self.side):
            tokens = F.adaptive_avg_pool2d(tokens, self.side)
        return F.normalize(self.reduction(tokens.flatten(2).transpose(1, 2)), dim=-1)

    def forward(self, sketch_tokens, image_tokens):
        """Reduced tokens (..., r, d) of sketches and photos, broadcast over the leading axes -> scores (...) in (0, 1)."""
        similarity = sketch_tokens @ image_tokens.transpose(-1, -2)  # (..., r, r)
        return self.scorer(similarity.flatten(-2)).squeeze(-1).float().sigmoid()
