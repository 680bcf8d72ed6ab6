"""CAAN: zero-shot sketch-based image retrieval.

    import caan
    from transformers import AutoModel, pipeline

    model = AutoModel.from_pretrained("org/caan-sketchy")
    search = pipeline("sketch-retrieval", model="org/caan-sketchy")

Importing this package registers CAAN with the Auto classes and the task `sketch-retrieval` with the pipelines of transformers,
whichever of the two is imported first. Nothing heavy is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING

from caan.registration import register_with_transformers

if TYPE_CHECKING:
    from configuration_caan import CAANConfig, CAANEnsembleConfig
    from modeling_caan import CAANEnsembleModel, CAANModel, CAANOutput
    from pipeline_caan import Gallery, SketchRetrievalPipeline
    from processing_caan import CAANImageProcessor, CAANProcessor

__version__ = "0.1.0"
__all__ = [
    "CAANConfig",
    "CAANEnsembleConfig",
    "CAANEnsembleModel",
    "CAANImageProcessor",
    "CAANModel",
    "CAANOutput",
    "CAANProcessor",
    "Gallery",
    "SketchRetrievalPipeline",
]
HOMES = {
    "CAANConfig": "configuration_caan",
    "CAANEnsembleConfig": "configuration_caan",
    "CAANEnsembleModel": "modeling_caan",
    "CAANImageProcessor": "processing_caan",
    "CAANModel": "modeling_caan",
    "CAANOutput": "modeling_caan",
    "CAANProcessor": "processing_caan",
    "Gallery": "pipeline_caan",
    "SketchRetrievalPipeline": "pipeline_caan",
}


def __getattr__(name: str):
    """A public class, imported when it is asked for (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_with_transformers()
