"""How many weights of a vision encoder each value of the option `tune` trains: the table of docs/training.md.

    python -m benchmarks.tuning

The encoders have the shapes of facebook/dinov2-small and openai/clip-vit-base-patch32, and random weights: only counted.
"""

import torch
from transformers import CLIPVisionConfig, Dinov2Config

from caan.options import ModelOptions
from caan.training.tuning import tune_encoders
from configuration_caan import CAANConfig
from modeling_caan import CAANModel

ENCODERS = {
    "DINOv2-small": Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14),
    "CLIP ViT-B/32": CLIPVisionConfig(),
}
MODES = ("all", "layer_norm_attention", "last_4", "lora", "layer_norm", "none")


def learning(config, tune: str) -> tuple[int, int]:
    """How many weights of an encoder learn, and how many it has, without what adapters add."""
    with torch.device("meta"):
        model = CAANModel(CAANConfig(vision_config=config, use_text=False, share_vision_encoder=True))
    encoder = model.image_encoder.encoder
    whole = sum(weight.numel() for weight in encoder.parameters())
    tune_encoders(model, ModelOptions(tune=tune))
    return sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad), whole


if __name__ == "__main__":
    print("| tune |", " | ".join(ENCODERS), "|\n| --- |", " | ".join("---:" for _ in ENCODERS), "|")
    for mode in MODES:
        counts = [learning(config, mode) for config in ENCODERS.values()]
        print(f"| `{mode}` |", " | ".join(f"{some:,} ({some / whole:.2%})" for some, whole in counts), "|")
