"""The inference towers as graphs in files, and a model that runs them.

A model becomes two graphs, `sketch` and `photo`, or one where both are the same: pixel values (batch, 3, height, width) of
any batch size to unit vectors (batch, hidden_size). Three kinds: `onnx` for ONNX Runtime, `onnx_int8` with its weights
quantised for the CPU, and `torch`, a torch.export program. Text encoder and alignment are training's alone and are left out.
"""

import importlib
import logging
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

SUFFIXES = {"onnx": ".onnx", "onnx_int8": ".int8.onnx", "torch": ".pt2"}
OPSET = 18  # read by ONNX Runtime 1.14 and later
BATCH = Dim("batch", max=2**20)  # torch 2.6 cannot export one without a bound
PROTOBUF_LIMIT = 2**31 - 2**20  # bytes in one ONNX file; larger weights go to a file beside it


class TowerGraph(nn.Module):
    """One vision tower and what makes retrieval vectors of its global token: what is exported."""

    def __init__(self, model, modality: str):
        super().__init__()
        own = modality == "sketch" and not model.config.share_vision_encoder
        self.tower = model.sketch_encoder if own else model.image_encoder
        self.whitening = getattr(model, "sketch_whitening" if modality == "sketch" else "image_whitening", None)

    def forward(self, pixel_values):
        features = self.tower(pixel_values).global_token
        return F.normalize(features, dim=-1) if self.whitening is None else self.whitening(features)


def graph_stems(model) -> dict[str, str]:
    """Modality -> name of its graph; both name one graph where they share the tower and have no whitening of their own."""
    same = model.config.share_vision_encoder and not model.config.whitening
    return {m: "sketch_photo" if same else m for m in ("sketch", "photo")}


def export_graphs(model, size: tuple[int, int], folder: Path, kind: str = "onnx", opset: int = OPSET) -> dict[str, str]:
    """Writes the graphs of a model, and returns modality -> file name in `folder`.

    Args:
        model: a CAAN in float32 on the CPU, in eval mode.
        size: height and width of its input, in pixels; they are fixed, the batch is not.
        kind: "onnx" or "torch". opset: of ONNX.

    Raises ImportError naming the extra that the ONNX exporter needs, where it is not installed.
    """
    stems = graph_stems(model)
    files = {modality: stem + SUFFIXES[kind] for modality, stem in stems.items()}
    example = torch.zeros(2, 3, *size)  # not 1: a batch of one would be taken for a constant
    for modality in {stem: modality for modality, stem in stems.items()}.values():
        graph = TowerGraph(model, modality).eval()
        if kind == "onnx":
            write_onnx(graph, example, folder / files[modality], opset)
        else:
            with torch.no_grad():
                program = torch.export.export(graph, (example,), dynamic_shapes={"pixel_values": {0: BATCH}}, strict=False)
            torch.export.save(program, folder / files[modality])
    return files


def write_onnx(graph: nn.Module, example: torch.Tensor, path: Path, opset: int) -> None:
    """One graph as an ONNX file with the input `pixel_values`, the output `features` and a dynamic first axis."""
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
            output_names=["features"],
            dynamic_shapes={"pixel_values": {0: BATCH}},
            external_data=bytes_of_weights > PROTOBUF_LIMIT,
            verbose=False,
        )


def quantize_graphs(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Writes int8 forms of ONNX graphs: weights of the matrix products in 8 bits, activations quantised as they come.

    Convolutions stay as they are: ONNX Runtime has no CPU kernel for dynamically quantised ones with signed weights.
    """
    need("onnx", "onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = {file: file.removesuffix(SUFFIXES["onnx"]) + SUFFIXES["onnx_int8"] for file in dict.fromkeys(files.values())}
    with quiet("root"):  # it advises a pre-processing for shapes, which the exporter has inferred already
        for file, target in quantized.items():
            large = (folder / f"{file}.data").exists()
            operators = {"op_types_to_quantize": ["MatMul", "Gemm"], "weight_type": QuantType.QInt8}
            quantize_dynamic(folder / file, folder / target, use_external_data_format=large, **operators)
    return {modality: quantized[file] for modality, file in files.items()}


class ExportedModel(nn.Module):
    """Exported graphs with the methods of a model, so that encoding and evaluation run them as they run the model.

    Args:
        files: modality -> file, as `export_graphs` and `quantize_graphs` return them.
        folder: where they lie.
    """

    def __init__(self, files: Mapping[str, str], folder: Path):
        super().__init__()
        self.register_parameter("device_marker", nn.Parameter(torch.zeros(()), requires_grad=False))
        runners = {file: load_graph(Path(folder) / file) for file in set(files.values())}
        self.runners = {modality: runners[file] for modality, file in files.items()}

    def get_sketch_features(self, pixel_values) -> torch.Tensor:
        """Unit vectors (batch, hidden_size) of sketches (batch, 3, height, width)."""
        return self.runners["sketch"](pixel_values)

    def get_image_features(self, pixel_values) -> torch.Tensor:
        """Unit vectors (batch, hidden_size) of photos (batch, 3, height, width)."""
        return self.runners["photo"](pixel_values)


def load_graph(path: Path):
    """A function from pixel values (batch, 3, height, width) to features, that runs the graph of a file on the CPU.

    Raises ValueError for a file that is not there or of an unknown kind.
    """
    if not path.is_file():
        raise ValueError(f"No such graph: {path}. Export it again.")
    if path.suffix == SUFFIXES["torch"]:
        return torch.export.load(path).module()
    if path.suffix != SUFFIXES["onnx"]:
        raise ValueError(f"{path} is neither {SUFFIXES['onnx']} nor {SUFFIXES['torch']}.")
    need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixel_values: torch.from_numpy(session.run(None, {"pixel_values": pixel_values.numpy()})[0])


def need(*modules: str) -> None:
    """Raises ImportError with the cure where a module of the extra `export` is missing."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f'ONNX needs the package {module}: pip install "caan[export]"') from error


@contextmanager
def quiet(*names: str):
    """Loggers say nothing below an error inside: the exporters explain their choices at length."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
