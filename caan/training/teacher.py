"""A frozen teacher, whose knowledge of photos a model retains while it learns sketches.

The teacher is any vision model of the Hub, such as the one that the encoders started from. It sees the training photos once;
their features are kept in the cache of `datasets`, by content, so that another run or process reads them.
"""

import hashlib
import json
from pathlib import Path

import datasets
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from caan.data.pairs import SketchPhotoPairs
from caan.data.pictures import Pictures
from caan.evaluation.retrievers import load_retriever
from caan.training.files import temporary_name
from pipeline_caan import embed_images, model_identity

MOST = 8192  # photos that a picture is compared with in a step: all of a small data set, an even part of a large one


class TeacherSource:
    """Gives each training step what the teacher knows of its pictures.

    A photo's target is the teacher's feature of it, before augmentation; a sketch's is the mean of its class's photos.

    Args:
        features: (photos, width) of all training photos, centred here. rows: (photos,) their classes as the batches count them,
            0, 1, ..., of which each has a photo; -1 = of none.
    """

    def __init__(self, features: torch.Tensor, rows: torch.Tensor):
        self.rows = rows
        self.photos = F.normalize(features - features.mean(dim=0), dim=-1)
        self.classes = torch.stack([self.photos[rows == row].mean(dim=0) for row in range(int(rows.max()) + 1)])
        chosen = torch.linspace(0, len(features) - 1, min(MOST, len(features))).round().long()
        self.known = self.photos[rows.argsort(stable=True)[chosen]]

    @property
    def width(self) -> int:
        """Numbers of a feature."""
        return self.photos.shape[1]

    def step_inputs(self, photo_rows: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Keyword arguments of `CAANModel.forward`. Args: photo_rows: (batch,) rows of `features`; labels: (batch,)."""
        self.photos, self.classes, self.known = (x.to(labels.device) for x in (self.photos, self.classes, self.known))
        targets = {"photo_targets": self.photos[photo_rows], "sketch_targets": self.classes[labels]}
        return {"teacher_photos": self.known, **targets}


def build_teacher(name: str, image_size: int, pairs: SketchPhotoPairs, device: torch.device | str) -> TeacherSource:
    """The teacher of a training set; the arguments are those of `teacher_features`."""
    same = pairs.photos.labels[:, None] == pairs.sketches.labels.unique()
    rows = torch.where(same.any(dim=1), same.int().argmax(dim=1), -1)
    return TeacherSource(teacher_features(name, image_size, pairs.photos, device), rows)


def teacher_features(name: str, image_size: int, photos: Pictures, device: torch.device | str = "cpu") -> torch.Tensor:
    """Unit vectors (photos, width) of a teacher, float32 on the CPU; computed where the cache has none of these pictures.

    Args:
        name: whatever `caan eval` takes as a model. image_size: side in pixels; 0 = what the teacher was trained with.

    Raises:
        ValueError: there is no such model, or a photo cannot be read.
    """
    teacher = load_retriever(name, image_size or None)
    made_by = {
        k: v for k, v in (model_identity(teacher.model, teacher.processor) or {}).items() if k not in ("name", "revision")
    }
    key = hashlib.sha256(json.dumps([made_by, photo_hashes(photos)], sort_keys=True).encode()).hexdigest()
    path = Path(datasets.config.HF_DATASETS_CACHE) / "caan_teacher" / f"{key[:40]}.safetensors"
    try:
        return load_file(path)["features"]
    except (OSError, SafetensorError, KeyError):
        pass  # not there, or damaged: it is written anew
    teacher.to(device)
    with torch.random.fork_rng():  # a run goes on alike whether or not the features were in the cache
        features = embed_images(teacher.model, teacher.processor, photos, "photo")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    save_file({"features": features.contiguous()}, temporary)
    temporary.replace(path)
    return features


def photo_hashes(photos: Pictures) -> list[str]:
    """Hashes of the bytes of photos, in order."""
    cells = (row["image"] for row in photos.rows)
    contents = (cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes() for cell in cells)
    return [hashlib.sha256(content).hexdigest() for content in contents]
