"""CAAN: zero-shot sketch-based image retrieval. Importing this package registers the model with the Auto classes and
the task `sketch-retrieval` with the pipelines."""

from configuration_caan import CAANConfig
from modeling_caan import CAANModel, CAANOutput
from pipeline_caan import SketchRetrievalPipeline
from processing_caan import CAANImageProcessor, CAANProcessor

__version__ = "0.1.0"
__all__ = ["CAANConfig", "CAANImageProcessor", "CAANModel", "CAANOutput", "CAANProcessor", "SketchRetrievalPipeline"]
