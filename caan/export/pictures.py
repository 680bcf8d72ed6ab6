"""The pictures of a data set that an export is calibrated on and compared with."""

import numpy as np
import torch

from caan.data.pictures import Pictures
from caan.export.graphs import MODALITIES
from pipeline_caan import ProcessedImages

CALIBRATION_BATCH = 16


def calibration_pictures(split, processor, most: int) -> dict[str, list[np.ndarray]]:
    """Modality -> batches of pixel values (batch, 3, height, width) of at most `most` pictures, evenly spaced."""
    batches = {}
    for modality in MODALITIES:
        pictures = Pictures(split, modality)
        processed = ProcessedImages(pictures, processor, modality)
        pixels = torch.stack([processed[row][0] for row in evenly_spaced(len(pictures), most)])
        batches[modality] = [batch.numpy() for batch in pixels.split(CALIBRATION_BATCH)]
    return batches


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of `count` rows, the first and the last among them; 0 = all."""
    return torch.linspace(0, count - 1, min(most or count, count)).long().tolist()


def smaller(split, most: int):
    """A split with at most `most` sketches and as many photos, evenly spaced so that all classes stay; 0 = the whole."""
    modalities = torch.tensor(split["modality"][:])
    rows = [(modalities == modality).nonzero().flatten() for modality in modalities.unique()]
    kept = torch.cat([of_one[evenly_spaced(len(of_one), most)] for of_one in rows])
    return split.select(sorted(kept.tolist()))
