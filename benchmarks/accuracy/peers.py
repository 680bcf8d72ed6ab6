"""CAAN beside frozen backbones, plain classification, class names as prototypes, and a sketch-photo pair scorer.

    python -m benchmarks.accuracy.peers --fold 0              # all rows of a fold, with table and figure
    python -m benchmarks.accuracy.peers --fold 0 1 2          # mean and spread over three folds
    python -m benchmarks.accuracy.peers --rows CAAN --again   # only the rows whose name begins so, anew
    python -m benchmarks.accuracy.peers --table_only          # table and figure of what there is

All trained rows start from the same encoder and see the same images in the same batches. They share one tower, the recipe's
rates and its augmentation. CAAN's recipe shades what a sketch's outline encloses; its peers read line drawings, and rows of
their own show them on shaded sketches. Needs a part of Sketchy and the encoders; looked for in the folder `shared` beside the
repository.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TimmWrapperConfig

from benchmarks.accuracy.baselines import CosineClassifier, PairScorer
from benchmarks.accuracy.rows import CAAN, on_lines, trained
from benchmarks.accuracy.study import Row, Run, build_caan, cosine_scores, parse_study, run_study
from benchmarks.accuracy.summary import draw_bars, write_table
from caan.data.processors import build_image_processor
from caan.descriptions.names import readable_name
from caan.evaluation.retrievers import frozen_backbone
from configuration_caan import CAANConfig
from modeling_caan import CAANModel, join
from pipeline_caan import ProcessedImages
from processing_caan import CAANImageProcessor

WITHOUT_TEXT = {"use_text": False, "share_vision_encoder": True}
CANDIDATES = 100  # photos that the pair scorer compares a sketch with


def frozen_vit(run: Run) -> tuple:
    """The encoder that everything starts from, as it is."""
    model = frozen_backbone(run.model_options.vision_model)
    options = run.model_options
    return model, build_image_processor(options.vision_model, options.image_size, options.sketch_shade), None


def frozen_efficientnet(run: Run) -> tuple:
    """EfficientNet-Lite0 as ImageNet left it, at its own 224 px: the strongest frozen backbone at hand."""
    config = CAANConfig(
        vision_config=TimmWrapperConfig(architecture="efficientnet_lite0", num_classes=0),
        use_text=False,
        share_vision_encoder=True,
        hidden_size=1280,
    )
    model = CAANModel(config)
    model.image_encoder.projection = nn.Identity()
    weights = load_file(Path(run.model_options.vision_model).parent / "efficientnet-lite0" / "model.safetensors")
    weights = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    model.image_encoder.encoder.timm_model.load_state_dict(weights)  # float16 to float32 on the way
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    shade = run.model_options.sketch_shade
    return model.eval(), CAANImageProcessor(size={"height": 224, "width": 224}, sketch_shade=shade, **imagenet), None


def classification(run: Run) -> tuple:
    """Cosine classification of the seen classes."""
    caan, processor, _ = build_caan(run.with_config(**WITHOUT_TEXT))
    return CosineClassifier(caan, len(run.splits["train"].unique("label"))), processor, None


def name_prototypes(run: Run) -> tuple:
    """Classification whose class vectors are a linear map of the text encoder's embeddings of the bare class names."""
    only_text = {"lambda_tri": 0.0, "lambda_rn": 0.0, "lambda_con": 0.0, "lambda_text": 1.0, "loss_on": "before"}
    names = {name: [readable_name(name)] for name in run.names}
    return build_caan(run.with_config(share_vision_encoder=True, **only_text), names)


def pair_scorer(run: Run) -> tuple:
    """Sketch and photo tokens attend to each other, after ZSE-SBIR. Negatives are random, as there: the hardest collapse it."""
    caan, processor, _ = build_caan(run.with_config(**WITHOUT_TEXT, mining="random"))
    return PairScorer(caan), processor, None


@torch.inference_mode()
def tokens(model: PairScorer, processor, images, modality: str) -> tuple[torch.Tensor, tuple[int, int]]:
    """Tokens (images, 1 + n, d) before cross-attention, and their grid."""
    pixels = torch.utils.data.DataLoader(ProcessedImages(images, processor, modality), batch_size=100)
    parts = [model.caan.encode(batch, modality) for batch, _ in pixels]
    return torch.cat([join(part) for part in parts]), parts[0].grid


def pair_scores(model, processor, run: Run) -> dict[str, torch.Tensor]:
    """Both ways to retrieve with the pair scorer; pairs are scored for the photos that the global tokens rank first."""
    sketches, grid = tokens(model, processor, run.benchmark.queries, "sketch")
    photos, _ = tokens(model, processor, run.benchmark.galleries[0], "photo")
    scores = cosine_scores(model, processor, run)
    candidates = scores.topk(CANDIDATES).indices
    above = 2 + model.score_candidates(sketches, photos, grid, candidates)  # over all cosines
    name = f"pair scorer, top {CANDIDATES} re-ranked by pair scores"
    return {"pair scorer, global tokens": scores, name: scores.scatter(1, candidates, above)}


ROWS = [
    Row("frozen ViT-S/14 (the start)", on_lines(frozen_vit), trains=False),
    Row("frozen ViT-S/14, shaded sketches", frozen_vit, trains=False),
    Row("frozen EfficientNet-Lite0", on_lines(frozen_efficientnet), trains=False),
    Row("frozen EfficientNet-Lite0, shaded sketches", frozen_efficientnet, trains=False),
    trained("plain classification", on_lines(classification)),
    trained("classification, shaded sketches", classification),
    trained("class-name prototypes", on_lines(name_prototypes)),
    trained("class names, shaded sketches", name_prototypes),
    Row("pair scorer (after ZSE-SBIR)", on_lines(pair_scorer), pair_scores),
    CAAN,
]


def show(results: list[dict], path: Path) -> None:
    order = [row.name for row in ROWS]
    write_table(results, order, path, "plain classification")
    draw_bars(results, order, path)


if __name__ == "__main__":
    run_study("peers", ROWS, parse_study(__doc__), show)
