"""int8 forms of ONNX graphs, for the CPU: made static or dynamic, by where a graph keeps its weights.

- In convolutions (ResNets, EfficientNets): static. ONNX Runtime has no CPU kernel for convolutions whose activations are
  quantised as they come, so their ranges are measured beforehand, on pictures.
- In matrix products (ViTs): dynamic. Each batch's own ranges are used, which fits the wide activations of transformers better
  than fixed ones: lowest cosine 0.993 against 0.971 for a ViT-S/14 on openmoji.

Weights are rounded channel by channel to 7 of the 8 bits: CPUs without VNNI add two products of 8 bits in 16, which overflows.
The whitening stays in float32: it enlarges small differences, and it is one small product.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from caan.export.graphs import SUFFIXES, need, quiet

PRODUCTS = ("MatMul", "Gemm")
SCOPES = "pkg.torch.onnx.name_scopes"  # modules that a node comes from, as torch.onnx notes them
WHITENING = re.compile(r"['.]whitening")  # in them: the model's own, or a member's


def int8_name(file: str) -> str:
    """`photo.onnx` -> `photo.int8.onnx`."""
    return file.removesuffix(SUFFIXES["onnx"]) + SUFFIXES["onnx_int8"]


def convolutional(path: Path) -> bool:
    """Whether most of a graph's weights are those of convolutions: it is calibrated with pictures then."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in graph.initializer}
    weights = {"Conv": 0, **dict.fromkeys(PRODUCTS, 0)}
    for node in graph.node:
        if node.op_type in weights:
            weights[node.op_type] += sum(sizes.get(name, 0) for name in node.input)
    return weights["Conv"] > sum(weights[name] for name in PRODUCTS)


def quantize_graphs(
    files: Mapping[str, str], folder: Path, pictures: Mapping[str, Sequence[np.ndarray]] | None = None
) -> dict[str, str]:
    """Writes the int8 form of each ONNX graph beside it, and returns modality -> file name.

    Args:
        files: modality -> ONNX file in `folder`, as `export_graphs` returns them.
        pictures: modality -> batches of pixel values (batch, 3, height, width), float32, that a convolutional graph is
            calibrated on: some tens of what it will see.

    Raises ValueError for a convolutional graph without `pictures`.
    """
    need("onnx", "onnxruntime")
    for file in dict.fromkeys(files.values()):
        batches = [batch for m, name in files.items() if name == file for batch in (pictures or {}).get(m, ())]
        with quiet("root"):  # it advises a pre-processing for shapes, which the exporter has inferred already
            if convolutional(folder / file):
                quantize_static_graph(folder / file, folder / int8_name(file), batches)
            else:
                quantize_dynamic_graph(folder / file, folder / int8_name(file))
    return {modality: int8_name(file) for modality, file in files.items()}


def shared_settings(path: Path) -> dict:
    """What both kinds of quantisation are told."""
    from onnxruntime.quantization import QuantType

    return {
        "per_channel": True,
        "reduce_range": True,
        "weight_type": QuantType.QInt8,
        "nodes_to_exclude": whitening_nodes(path),
        "use_external_data_format": Path(f"{path}.data").exists(),
    }


def quantize_dynamic_graph(path: Path, target: Path) -> None:
    """Matrix products in 8 bits, with the ranges of each batch's activations as it comes."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(path, target, op_types_to_quantize=list(PRODUCTS), **shared_settings(path))


def quantize_static_graph(path: Path, target: Path, batches: Sequence[np.ndarray]) -> None:
    """Convolutions and matrix products in 8 bits (QDQ), with ranges of activations that are measured on `batches`."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if not batches:
        raise ValueError(
            f"{path.name} holds convolutions, whose int8 form is calibrated on pictures: "
            "name a data set with --dataset, or leave out --int8."
        )
    quantize_static(
        path,
        target,
        calibration_reader(batches),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        op_types_to_quantize=["Conv", *PRODUCTS],
        **shared_settings(path),
    )


def calibration_reader(batches: Sequence[np.ndarray]):
    """Batches in the form that ONNX Runtime's calibration reads."""
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.waiting: Iterator[np.ndarray] = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.waiting, None)
            return None if batch is None else {"pixel_values": batch}

    return Batches()


def whitening_nodes(path: Path) -> list[str]:
    """Names of the products that whiten."""
    import onnx

    nodes = onnx.load(path, load_external_data=False).graph.node
    scopes = {node.name: entry.value for node in nodes for entry in node.metadata_props if entry.key == SCOPES}
    return [name for name, scope in scopes.items() if WHITENING.search(scope)]
