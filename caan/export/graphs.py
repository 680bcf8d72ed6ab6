"""The inference towers as graphs in files.

A model becomes two graphs, `sketch` and `photo`, or one, `sketch_photo`, where they share the tower: pixel values (batch, 3,
height, width) of any batch size to unit vectors (batch, hidden_size). The output is `features`; where a shared tower is
followed by a whitening of each modality, the one graph has the outputs `sketch_features` and `photo_features`. Text encoder and
alignment are training's alone and are left out.
"""

import importlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from caan.export import OPSET
from modeling_caan import CAANEnsembleModel, concatenate_features, cut_part

MODALITIES = ("sketch", "photo")
SUFFIXES = {"onnx": ".onnx", "onnx_int8": ".int8.onnx", "torch": ".pt2"}
BATCH = Dim("batch", max=2**20)  # torch 2.6 cannot export one without a bound
PROTOBUF_LIMIT = 2**31 - 2**20  # bytes in one ONNX file; larger weights go to a file beside it


class TowerGraph(nn.Module):
    """One vision tower, and what makes retrieval vectors of its global token for the modalities that it serves.

    Args:
        modalities: ("sketch",), ("photo",) or, for a shared tower, both.
    """

    def __init__(self, model, modalities: tuple[str, ...]):
        super().__init__()
        self.modalities = modalities
        own = "photo" not in modalities and not model.config.share_vision_encoder  # one that is shared may serve sketches alone
        self.tower = model.sketch_encoder if own else model.image_encoder
        heads = {"sketch": "sketch_whitening", "photo": "image_whitening"}
        self.whitening = nn.ModuleDict(
            {m: getattr(model, heads[m]) for m in modalities if hasattr(model, heads[m])},
        )

    @property
    def outputs(self) -> dict[str, str]:
        """Modality -> name of its output."""
        alone = len(self.modalities) == 1 or not self.whitening
        return {m: "features" if alone else f"{m}_features" for m in self.modalities}

    def forward(self, pixel_values: Tensor) -> Tensor | dict[str, Tensor]:
        features = self.tower(pixel_values).global_token
        if not self.whitening:
            return F.normalize(features, dim=-1)
        made = {self.outputs[m]: self.whitening[m](features) for m in self.modalities}
        return made if len(made) > 1 else made["features"]


class EnsembleGraph(nn.Module):
    """The towers of all members of a combined model, each on its part of the pixels, and the concatenation of what they give.

    Args: as of `TowerGraph`; both modalities where every member's tower is shared.
    """

    def __init__(self, model, modalities: tuple[str, ...]):
        super().__init__()
        self.modalities = modalities
        self.members = nn.ModuleList(TowerGraph(member, modalities) for member in model.members)
        self.parts, self.weights = model.config.member_parts, model.config.member_weights

    @property
    def outputs(self) -> dict[str, str]:
        """Modality -> name of its output."""
        alone = len(self.modalities) == 1 or not any(member.whitening for member in self.members)
        return {m: "features" if alone else f"{m}_features" for m in self.modalities}

    def forward(self, pixel_values: Tensor) -> Tensor | dict[str, Tensor]:
        given = [member(cut_part(pixel_values, part)) for member, part in zip(self.members, self.parts)]
        made = {
            name: concatenate_features([one[name] if isinstance(one, dict) else one for one in given], self.weights)
            for name in dict.fromkeys(self.outputs.values())
        }
        return made if len(made) > 1 else made["features"]


def tower_graphs(model) -> dict[str, TowerGraph | EnsembleGraph]:
    """Name -> graph: `sketch` and `photo`, or `sketch_photo` where they share the tower, of a combined model in all members."""
    combined = isinstance(model, CAANEnsembleModel)
    shared = all(member.config.share_vision_encoder for member in (model.members if combined else [model]))
    served, kind = [MODALITIES] if shared else [(m,) for m in MODALITIES], EnsembleGraph if combined else TowerGraph
    return {"_".join(modalities): kind(model, modalities).eval() for modalities in served}


def export_graphs(
    model, size: tuple[int, int], folder: Path, kind: Literal["onnx", "torch"] = "onnx", opset: int = OPSET
) -> tuple[dict[str, str], dict[str, str]]:
    """Writes the graphs of a model.

    Args:
        model: a CAAN, single or combined, in float32 on the CPU, in eval mode.
        size: height and width of its input, in pixels; they are fixed, the batch is not.
        kind: "onnx" or "torch". opset: of ONNX.

    Returns:
        modality -> file name in `folder`, and modality -> name of the graph's output.

    Raises ImportError naming the extra that the ONNX exporter needs, where it is not installed.
    """
    files: dict[str, str] = {}
    outputs: dict[str, str] = {}
    example = torch.zeros(2, 3, *size)  # not 1: a batch of one would be taken for a constant
    for name, graph in tower_graphs(model).items():
        path = folder / (name + SUFFIXES[kind])
        if kind == "onnx":
            write_onnx(graph, example, path, opset)
        else:
            with torch.no_grad():
                program = torch.export.export(graph, (example,), dynamic_shapes={"pixel_values": {0: BATCH}}, strict=False)
            content = io.BytesIO()  # torch's own writer of files ends the process where a disk is full (torch 2.14)
            torch.export.save(program, content)
            path.write_bytes(content.getbuffer())
        files |= dict.fromkeys(graph.modalities, path.name)
        outputs |= graph.outputs
    return files, outputs


def write_onnx(graph: TowerGraph | EnsembleGraph, example: Tensor, path: Path, opset: int) -> None:
    """One graph as an ONNX file with the input `pixel_values`, the graph's outputs by name and a dynamic first axis."""
    need("onnx", "onnxscript")
    bytes_of_weights = sum(p.numel() * p.element_size() for p in graph.parameters())
    with torch.no_grad(), quiet("torch.onnx", "onnxscript", "onnx_ir"):
        torch.onnx.export(
            graph,
            (example,),
            str(path),
            dynamo=True,
            opset_version=opset,
            input_names=["pixel_values"],
            output_names=list(dict.fromkeys(graph.outputs.values())),
            dynamic_shapes={"pixel_values": {0: BATCH}},
            external_data=bytes_of_weights > PROTOBUF_LIMIT,
            verbose=False,
        )


def need(*modules: str) -> None:
    """Raises ImportError with the cure where a module of the extra `export` is missing."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f'ONNX needs the package {module}: pip install -e ".[export]" in the repository.') from error


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Loggers say nothing below an error inside: the exporters explain their choices at length."""
    loggers = [logging.getLogger(None if name == "root" else name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
