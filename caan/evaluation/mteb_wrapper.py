"""A retriever as mteb, the Massive Text Embedding Benchmark, asks for models: for its task SketchyI2IRetrieval.

    mteb.evaluate(MtebEncoder("outputs/demo"), mteb.get_task("SketchyI2IRetrieval"))

docs/mteb.md says what that task measures, and what it does not. Needs the extra `mteb`, which is imported where it is used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Image

from caan.data.provenance import is_hub_id
from caan.evaluation.retrievers import Retriever, load_retriever
from caan.evaluation.run import find_device
from pipeline_caan import embed_images


class MtebEncoder:
    """mteb's `EncoderProtocol`: queries are taken for sketches, documents for photos.

    Args:
        model: what `caan eval --model` takes: a CAAN's folder or Hub id, "pixels", a plain vision model; or a `Retriever`.
        device: such as "cuda"; by default the fastest there is. num_workers: processes that read pictures.

    Raises:
        ImportError: mteb is not installed. ValueError: the model cannot be loaded, or there is no such device.
    """

    def __init__(self, model: str | Retriever, *, device: str | None = None, num_workers: int = 0):
        require_mteb()
        self.retriever = load_retriever(model) if isinstance(model, str) else model
        self.retriever.to(find_device(device))
        self.num_workers = num_workers

    @property
    def mteb_model_meta(self) -> Any:
        """What results are filed under: the Hub id and commit, or `local/`, the folder's name and the weights' fingerprint."""
        require_mteb()
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        name, identity = self.retriever.name, self.retriever.identity
        known = (identity.revision or identity.weights) if identity else None
        fields = {
            "name": name if is_hub_id(name) else f"local/{Path(name).resolve().name or 'model'}",
            "revision": known or "no_revision_available",
            "modalities": ["image"],
            "framework": ["PyTorch"],
            "similarity_fn_name": ScoringFunction.COSINE,
        }
        return ModelMeta.create_empty(overwrites=fields)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        batch_size: int = 64,
        show_progress_bar: bool = True,
        **options: Any,
    ) -> torch.Tensor:
        """Unit vectors (len(inputs.dataset), hidden_size), float32 on the CPU, of mteb's loader of pictures.

        Args:
            inputs: a DataLoader, of whose `dataset` each row has a PIL image in "image". prompt_type: "query", "document", or
                None, which is taken for photos.

        A sketch without ink and an unreadable picture get a vector of zeros, so that a query finds by chance alone; one warning
        counts them. Raises ValueError for a task without pictures.
        """
        if "image" not in inputs.dataset.features:
            raise ValueError(f"{task_metadata.name} has no pictures, and a CAAN sees nothing else.")
        modality = "sketch" if getattr(prompt_type, "value", prompt_type) == "query" else "photo"
        vectors = embed_images(
            self.retriever.model,
            self.retriever.processor,
            ColumnOfPictures(inputs.dataset),
            modality,
            batch_size=batch_size,
            num_workers=self.num_workers,
            progress=show_progress_bar,
            on_error="skip",
        )
        return vectors.nan_to_num(0.0)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (n, m) of vectors (n, d) and (m, d)."""
        return unit(embeddings1) @ unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (n,) of the rows of two matrices (n, d)."""
        return (unit(embeddings1) * unit(embeddings2)).sum(dim=-1)


class ColumnOfPictures(Sequence):
    """The column "image" of a data set, each picture read where it is asked for, by the image processor: as bytes and path."""

    def __init__(self, rows: Any):
        decodes = isinstance(rows.features["image"], Image)
        self.rows = rows.cast_column("image", Image(decode=False)) if decodes else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row):
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self.rows[row]["image"]


def unit(vectors: Any) -> torch.Tensor:
    return F.normalize(torch.atleast_2d(torch.as_tensor(vectors)).float(), dim=-1)


def require_mteb() -> None:
    """Raises ImportError with the cure where mteb is not installed."""
    try:
        import mteb  # noqa: F401
    except ImportError as error:
        raise ImportError(f'mteb cannot be imported ({error}): pip install -e ".[mteb]", with Python 3.11 or later.') from error
