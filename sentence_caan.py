"""CAAN as a module of sentence-transformers, for whatever loads models by it: vector stores, LangChain, mteb.

model = SentenceTransformer("org/caan-sketchy", trust_remote_code=True)
model.encode(["a.jpg", "b.jpg"])     # photos: the vectors of get_image_features; encode_document gives the same
model.encode_query("sketch.png")     # a sketch: that of get_sketch_features; so does encode(..., prompt_name="query")

A query is a sketch and a document a photo. Tools that know sentence-transformers tell the two apart already, so that they get
sketches right without knowing of CAAN. A second folder for sketches would hold the weights twice, and sentence-transformers
loads no folder within a repository. Its own module Transformer does not tell the processor what is a query: a sketch would
be neither cropped nor shaded.

sentence-transformers is not imported here: it asks a module for the methods below and for no base class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoProcessor

try:  # as a module of the Hub repository
    from .configuration_caan import CAANConfig  # not used here, nor is the next: transformers 5.4 fetches what this file
    from .ink_caan import crop_to_ink  # imports, and not what those files do
    from .pipeline_caan import checked_device
    from .processing_caan import MODALITIES
except ImportError:
    if __package__:
        raise
    from configuration_caan import CAANConfig  # as an installed module
    from ink_caan import crop_to_ink
    from pipeline_caan import checked_device
    from processing_caan import MODALITIES


class CAANSentenceModule(nn.Module):
    """The one module of a `SentenceTransformer`: pictures in, unit vectors (batch, hidden_size) out.

    Pictures are what `SentenceTransformer.encode` takes for such: paths, URLs, PIL images, arrays (h, w, c), {"image": ...}.

    Args:
        model: a `CAANModel`. processor: its image processor, alone or with a tokenizer.
    """

    save_in_root = True  # where transformers finds the weights

    def __init__(self, model, processor):
        super().__init__()
        self.model, self.processor = model, processor
        self.checked: torch.device | None = None  # where the last batch was computed

    @property
    def modalities(self) -> list[str]:
        """What sentence-transformers lets through."""
        return ["image"]

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        *,
        cache_folder: str | None = None,
        model_kwargs: dict | None = None,
        processor_kwargs: dict | None = None,
        config_kwargs: dict | None = None,
        backend: str = "torch",
        **options,
    ) -> "CAANSentenceModule":
        """The module of a folder or Hub id, loaded by the Auto classes with what `SentenceTransformer(...)` was given.

        Raises ValueError for another backend than torch.
        """
        if backend != "torch":
            raise ValueError(f"backend={backend!r}: CAAN runs here in torch alone; `caan export` writes ONNX files.")
        names = ("revision", "token", "local_files_only", "trust_remote_code")
        hub = {"cache_dir": cache_folder, **{name: options[name] for name in names if name in options}}
        model = AutoModel.from_pretrained(model_name_or_path, **{**hub, **(config_kwargs or {}), **(model_kwargs or {})})
        processor = AutoProcessor.from_pretrained(model_name_or_path, **{**hub, **(processor_kwargs or {})})
        return cls(model.eval(), processor)

    def preprocess(
        self,
        inputs: Sequence,
        prompt: str | None = None,
        task: str | None = None,
        processing_kwargs: Mapping | None = None,
        **options,
    ) -> dict[str, Any]:
        """`pixel_values` (batch, 3, height, width) of pictures, and their `kind`, "sketch" or "photo".

        Args:
            prompt: "sketch" or "photo", as the prompts "query" and "document" of the folder are; None or "": `task` decides.
            task: "query" for sketches, as `encode_query` says; else they are photos.
            processing_kwargs: `{"image": {"ink_mode": "border"}}` and the like: options of the image processor for this call.

        Raises ValueError for another prompt, an unreadable picture (named), a sketch without ink.
        """
        kind = prompt or ("sketch" if task == "query" else "photo")
        if kind not in MODALITIES:
            raise ValueError(f'a prompt says what the pictures are, "sketch" or "photo"; got {prompt!r}.')
        images = [one["image"] if isinstance(one, Mapping) and one.keys() == {"image"} else one for one in inputs]
        process = getattr(self.processor, "image_processor", self.processor)
        image_options = dict((processing_kwargs or {}).get("image", {}))
        pixels = process(images, modality=kind, return_tensors="pt", **image_options)["pixel_values"]
        return {"pixel_values": pixels, "kind": kind}

    def forward(self, features: dict[str, Any], **options) -> dict[str, Any]:
        """Adds `sentence_embedding`, unit vectors (batch, hidden_size), to what `preprocess` made."""
        pixels = features["pixel_values"]
        if pixels.device != self.checked:
            self.checked = checked_device(self.model, pixels.device, pixels)
            if self.checked != pixels.device:
                self.model.to(self.checked)
        encode = self.model.get_sketch_features if features["kind"] == "sketch" else self.model.get_image_features
        return {**features, "sentence_embedding": encode(pixels.to(self.checked))}

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.model.config.hidden_size

    def save(self, output_path: str, *args, **options) -> None:
        """Writes model and processor, as their own `save_pretrained` do, with all that loads them again."""
        self.model.save_pretrained(output_path)
        self.processor.save_pretrained(output_path)


__all__ = ["CAANConfig", "CAANSentenceModule", "crop_to_ink"]
