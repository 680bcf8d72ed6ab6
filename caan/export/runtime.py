"""Exported graphs, run: with the methods of a model, so that encoding and evaluation take them in its place.

retriever = load_exported("outputs/onnx", "onnx_int8")
embed_images(retriever.model, retriever.processor, "photos/", "photo")  # (count, hidden_size)
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from caan.evaluation.retrievers import Retriever
from caan.export.graphs import MODALITIES, SUFFIXES, need
from processing_caan import CAANImageProcessor

REPORT = "export.json"
SINGLE = dict.fromkeys(MODALITIES, "features")  # modality -> output, where a graph has one


def load_exported(folder: str | Path, kind: str = "onnx") -> Retriever:
    """The graphs of an export as a retriever, for `pipeline_caan.embed_images` and `caan.evaluation.evaluate.evaluate`.

    Args:
        folder: what `caan export` wrote. kind: "onnx", "onnx_int8" or "torch".

    Raises ValueError where the folder holds no export, or none of that kind.
    """
    path = Path(folder) / REPORT
    if not path.is_file():
        raise ValueError(f"{folder} holds no {REPORT}: run caan export --output_dir {folder} first.")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        files, outputs = report["files"], report.get("outputs", SINGLE)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no report of caan export: export again. ({error})") from error
    if kind not in files:
        raise ValueError(f"{folder} holds graphs of {', '.join(files)}, not of {kind}.")
    model = ExportedModel(files[kind], Path(folder), outputs)
    return Retriever(f"{kind} of {folder}", model, CAANImageProcessor.from_pretrained(folder))


class ExportedModel(nn.Module):
    """Exported graphs with the methods of a model.

    Args:
        files: modality -> file, as `export_graphs` and `quantize_graphs` return them.
        folder: where they lie.
        outputs: modality -> name of its graph's output, as `export_graphs` returns it.
    """

    def __init__(self, files: Mapping[str, str], folder: Path, outputs: Mapping[str, str] = SINGLE):
        super().__init__()
        self.register_parameter("device_marker", nn.Parameter(torch.zeros(()), requires_grad=False))
        graphs = {file: load_graph(Path(folder) / file) for file in set(files.values())}
        self.graphs = {modality: graphs[file] for modality, file in files.items()}
        self.outputs = dict(outputs)

    def get_sketch_features(self, pixel_values: Tensor) -> Tensor:
        """Unit vectors (batch, hidden_size) of sketches (batch, 3, height, width)."""
        return self.graphs["sketch"](pixel_values, self.outputs["sketch"])

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Unit vectors (batch, hidden_size) of photos (batch, 3, height, width)."""
        return self.graphs["photo"](pixel_values, self.outputs["photo"])


def load_graph(path: Path) -> Callable[..., Tensor]:
    """A function from pixel values (batch, 3, height, width) and the name of an output, by default `features`, to that output.

    It runs the graph of a file on the CPU. Raises ValueError for a file that is absent, broken or of an unknown kind.
    """
    if not path.is_file():
        raise ValueError(f"No such graph: {path}. Export it again.")
    if path.suffix not in (SUFFIXES["torch"], SUFFIXES["onnx"]):
        raise ValueError(f"{path} is neither {SUFFIXES['onnx']} nor {SUFFIXES['torch']}.")
    if path.suffix == SUFFIXES["onnx"]:
        need("onnxruntime")
    try:
        return torch_runner(path) if path.suffix == SUFFIXES["torch"] else onnx_runner(path)
    except Exception as error:  # protobuf, zip and runtime errors have no common class
        raise ValueError(f"{path} cannot be read: export it again. ({str(error).strip().splitlines()[0]})") from error


def torch_runner(path: Path) -> Callable[..., Tensor]:
    program = torch.export.load(path).module()

    def run(pixel_values: Tensor, output: str = "features") -> Tensor:
        made = program(pixel_values)
        return made[output] if isinstance(made, dict) else made

    return run


def onnx_runner(path: Path) -> Callable[..., Tensor]:
    """A function from pictures (batch, 3, height, width) to an output of an ONNX graph, run on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(pixel_values: Tensor, output: str = "features") -> Tensor:
        return torch.from_numpy(session.run([output], {"pixel_values": pixel_values.numpy()})[0])

    return run
