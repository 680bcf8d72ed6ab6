"""What CAAN is compared with, written so that it trains in CAAN's place: same encoder, same batches, same optimizer.

Both have `vision_towers`, `get_sketch_features`, `get_image_features` and give their loss as `model(**batch).loss`.
"""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losses_caan import mine_triplets, relation_loss, triplet_loss
from modeling_caan import CAANModel, CrossAttention, join

ZSE_TRIPLET, ZSE_RELATION = 2.0, 4.0  # the weights of ZSE-SBIR's two losses


class Baseline(nn.Module):
    """One shared vision tower. Args: caan: a text-free `CAANModel` with `share_vision_encoder`, warm-started."""

    def __init__(self, caan: CAANModel):
        super().__init__()
        self.caan = caan
        self.config = caan.config

    @property
    def device(self) -> torch.device:
        return self.caan.device

    def vision_towers(self) -> list:
        return self.caan.vision_towers()

    def get_sketch_features(self, pixel_values: Tensor) -> Tensor:
        return self.caan.get_sketch_features(pixel_values)

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        return self.caan.get_image_features(pixel_values)


class CosineClassifier(Baseline):
    """Plain classification of sketches and photos among the seen classes, by cosine to one learned vector a class.

    Losses of the CAAN are added where it has weights for them; `plain` leaves even their computation out.
    """

    def __init__(self, caan: CAANModel, num_classes: int, plain: bool = True):
        super().__init__(caan)
        self.plain = plain
        self.classes = nn.Parameter(torch.randn(num_classes, caan.config.hidden_size) * 0.02)

    def encode_descriptions(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.caan.encode_descriptions(input_ids, attention_mask)

    def forward(self, pixel_values: Tensor, sketch_pixel_values: Tensor, labels: Tensor, **inputs: Tensor) -> SimpleNamespace:
        sketches, photos = (self.caan.encode(x, "photo") for x in (sketch_pixel_values, pixel_values))
        images = torch.cat([sketches.global_token, photos.global_token]).float()
        logits = F.normalize(images, dim=-1) @ F.normalize(self.classes, dim=-1).T / self.config.temperature
        loss = F.cross_entropy(logits, torch.cat([labels, labels]))
        return SimpleNamespace(loss=loss if self.plain else loss + self._loss_of_caan(sketches, photos, labels, **inputs))

    def _loss_of_caan(self, sketches, photos, labels: Tensor, text_features=None, text_mask=None, **teacher: Tensor) -> Tensor:
        """CAAN's weighted losses of tokens that are there already."""
        text = self.caan._read_text(None, None, text_features, text_mask) if self.config.use_text else None
        known = (teacher.get(name) for name in ("teacher_photos", "sketch_targets", "photo_targets"))
        return self.caan._losses(sketches, photos, labels, text, tuple(known))["loss"]


class PairScorer(Baseline):
    """ZSE-SBIR's idea in our own writing: sketch and photo tokens attend to each other, a relation network scores the pair.

    Kept from it: one tower, one cross-attention a direction, 2 x triplet + 4 x relation loss on the attended tokens, and two
    ways to retrieve: global tokens before attention, or the score of each pair. Not kept: the key from the other side with
    query and value from one's own, its tokenizer, its sampling and its reshaping of tokens without a transpose.
    """

    def __init__(self, caan: CAANModel):
        super().__init__(caan)
        size, heads = caan.config.hidden_size, caan.config.num_attention_heads
        self.norm = nn.LayerNorm(size)
        self.to_photo, self.to_sketch = CrossAttention(size, heads), CrossAttention(size, heads)

    def attend(self, sketch: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (batch, 1 + n, d) of sketches and photos, row by row -> the same, each having seen the other."""
        s, p = self.norm(sketch), self.norm(photo)
        return sketch + self.to_photo(s, p)[0], photo + self.to_sketch(p, s)[0]

    def relation(self, sketch: Tensor, photo: Tensor, grid: tuple[int, int]) -> Tensor:
        """Scores (batch,) of attended tokens, in (0, 1)."""
        return self.caan.score_pairs(*(self.caan.relation_network.reduce(x[:, 1:], grid) for x in (sketch, photo)))

    def forward(self, pixel_values: Tensor, sketch_pixel_values: Tensor, labels: Tensor) -> SimpleNamespace:
        sketches, photos = self.caan.encode(sketch_pixel_values, "sketch"), self.caan.encode(pixel_values, "photo")
        rows = mine_triplets(sketches.global_token, photos.global_token, labels, self.config.mining)
        pairs = [self.attend(join(sketches), join(photos)[chosen]) for chosen in rows]
        (anchor, positive), (_, negative) = pairs
        triplet = triplet_loss(anchor[:, 0], positive[:, 0], negative[:, 0], self.config.margin)
        scores = [self.relation(*pair, photos.grid) for pair in pairs]
        return SimpleNamespace(loss=ZSE_TRIPLET * triplet + ZSE_RELATION * relation_loss(*scores))

    @torch.inference_mode()
    def score_candidates(self, sketches: Tensor, photos: Tensor, grid: tuple[int, int], candidates: Tensor) -> Tensor:
        """Scores (queries, k) of each query with its candidates.

        Args:
            sketches, photos: tokens (queries, 1 + n, d) and (gallery, 1 + n, d). candidates: (queries, k) rows of the gallery.
        """
        pairs = ((sketch.expand(len(rows), -1, -1), photos[rows]) for sketch, rows in zip(sketches, candidates))
        return torch.stack([self.relation(*self.attend(*pair), grid) for pair in pairs])
