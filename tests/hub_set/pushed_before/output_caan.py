"""What CAAN returns."""

from dataclasses import dataclass

import torch
from transformers.utils.generic import ModelOutput


@dataclass
class CAANOutput(ModelOutput):
    """
    Args:
        loss (`torch.Tensor`): Weighted sum of the parts below, given when `labels` were.
        loss_tri, loss_rn, loss_con, loss_text (`torch.Tensor`): The parts, unweighted; the last two only where their lambda is
            above 0.
        last_hidden_state (`torch.Tensor` of shape `(batch, 1 + tokens, hidden_size)`): Global and local tokens of the photos.
        pooler_output (`torch.Tensor` of shape `(batch, hidden_size)`): The same as `image_embeds`.
        image_embeds, sketch_embeds (`torch.Tensor` of shape `(batch, hidden_size)`): Unit vectors before alignment, the ones
            that retrieval compares.
        sketch_text_attentions, image_text_attentions (tuple of `torch.Tensor`): One `(batch, heads, 1 + tokens, text tokens)`
            a block; photos read their own class's description here. With `output_attentions=True`.
    """

    loss: torch.Tensor | None = None
    loss_tri: torch.Tensor | None = None
    loss_rn: torch.Tensor | None = None
    loss_con: torch.Tensor | None = None
    loss_text: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    sketch_embeds: torch.Tensor | None = None
    sketch_text_attentions: tuple[torch.Tensor, ...] | None = None
    image_text_attentions: tuple[torch.Tensor, ...] | None = None
