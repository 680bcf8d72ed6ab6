"""Exported graphs against their model.

python -m pytest tests/export/test_export.py  (ONNX is skipped without the extra export)"""

import json
import re
import sys

import pytest
import torch
from tiny import IMAGE_SIZE, caan_model, image_processor, vision_config
from torch.nn.functional import cosine_similarity
from transformers import AutoModel
from trees import make_shapes

import caan.export.command
from caan.cli import main, parse_options
from caan.data.benchmark import make_benchmark
from caan.data.pictures import Pictures
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import Retriever
from caan.export.command import EXAMPLES, ExportOptions, agreement, load_exported, smaller_benchmark
from caan.export.graphs import export_graphs, load_graph
from dataset_scripts import load


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Drawn shapes of five seen and two unseen classes."""
    root = tmp_path_factory.mktemp("shapes")
    make_shapes(root)
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Models and the folders they are saved in: with two towers, and with a shared one."""
    models = {"two": caan_model(), "shared": caan_model(share_vision_encoder=True)}
    folders = {}
    for name, model in models.items():
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name])
        image_processor().save_pretrained(folders[name])
    return models, folders


def run_export(model, output, *options) -> dict:
    assert main(["export", "--model", str(model), "--output_dir", str(output), *map(str, options)]) == 0
    return json.loads((output / "export.json").read_text())


@pytest.fixture(scope="module")
def onnx_export(saved, shapes, tmp_path_factory):
    """A shared tower as ONNX and int8 ONNX, scored on the shapes."""
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("onnx")
    return folder, run_export(saved[1]["shared"], folder, "--int8", "--dataset", "folder", "--data_dir", shapes)


@pytest.fixture(scope="module")
def torch_export(saved, shapes, tmp_path_factory):
    """Two towers as torch.export programs, scored on the shapes."""
    folder = tmp_path_factory.mktemp("torch")
    data = ("--dataset", "folder", "--data_dir", shapes)
    return folder, run_export(saved[1]["two"], folder, "--format", "torch", *data)


def random_pixels(count):
    return torch.randn(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(count))


# -------------------------------------------------------------------------------------------------------------- graphs


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_onnx_graph_gives_the_features_of_its_model_at_any_batch(saved, onnx_export, count):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, (folder, _) = saved[0]["shared"], onnx_export
    session = onnxruntime.InferenceSession(folder / "sketch_photo.onnx", providers=["CPUExecutionProvider"])
    (made,) = session.run(["features"], {"pixel_values": random_pixels(count).numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(made), model.get_image_features(random_pixels(count)), atol=1e-5)
        assert torch.allclose(torch.from_numpy(made), model.get_sketch_features(random_pixels(count)), atol=1e-5)


def test_the_onnx_file_is_valid_and_says_what_it_takes(onnx_export):
    onnx = pytest.importorskip("onnx")
    folder, report = onnx_export
    graph = onnx.load(folder / "sketch_photo.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {entry.domain: entry.version for entry in graph.opset_import}[""] == report["opset"] == 18
    (pixels,), (features,) = graph.graph.input, graph.graph.output
    batch, *fixed = pixels.type.tensor_type.shape.dim
    assert (pixels.name, features.name) == ("pixel_values", "features")
    assert batch.dim_param and [axis.dim_value for axis in fixed] == [3, IMAGE_SIZE, IMAGE_SIZE]
    assert report["files"]["onnx"] == {"sketch": "sketch_photo.onnx", "photo": "sketch_photo.onnx"}


def test_the_int8_graph_computes_in_8_bits_and_stays_near(saved, onnx_export):
    onnx = pytest.importorskip("onnx")
    folder, report = onnx_export
    graph = onnx.load(folder / "sketch_photo.int8.onnx").graph
    assert "MatMulInteger" in {node.op_type for node in graph.node}
    assert sum(weight.data_type == onnx.TensorProto.INT8 for weight in graph.initializer) >= 12  # 2 layers of 6 products
    made = load_graph(folder / "sketch_photo.int8.onnx")(random_pixels(4))
    with torch.no_grad():
        expected = saved[0]["shared"].get_image_features(random_pixels(4))
    assert 1e-6 < (made - expected).abs().max() < 0.1 and cosine_similarity(made, expected).min() > 0.99
    assert 0.98 < report["agreement"]["onnx_int8"]["min_cosine"] < report["agreement"]["onnx"]["min_cosine"]


@pytest.mark.parametrize("count", [1, 3])
def test_torch_programs_are_the_two_towers(saved, torch_export, count):
    model, (folder, report) = saved[0]["two"], torch_export
    assert report["files"] == {"torch": {"sketch": "sketch.pt2", "photo": "photo.pt2"}} and report["opset"] is None
    pixels = random_pixels(count)
    with torch.no_grad():
        for name, features_of in (("sketch", model.get_sketch_features), ("photo", model.get_image_features)):
            program = torch.export.load(folder / f"{name}.pt2").module()
            assert torch.allclose(program(pixels), features_of(pixels), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm_vit", "timm_swin", "timm_resnet", "dinov3_vit", "siglip_vision"])
def test_other_backbones_export_too(tmp_path, name):
    pytest.importorskip("onnxscript")
    model = caan_model(vision_config=name, share_vision_encoder=True)
    for kind in ("onnx", "torch"):
        files = export_graphs(model, (IMAGE_SIZE, IMAGE_SIZE), tmp_path, kind)
        with torch.no_grad():
            made = load_graph(tmp_path / files["photo"])(random_pixels(3))
            assert torch.allclose(made, model.get_image_features(random_pixels(3)), atol=1e-5), kind


# -------------------------------------------------------------------------------------------------------------- report


@pytest.mark.parametrize("export", ["onnx_export", "torch_export"])
def test_scores_stand_beside_the_originals(saved, shapes, export, request):
    folder, report = request.getfixturevalue(export)
    benchmark = make_benchmark(load("folder", data_dir=str(shapes)))
    model = saved[0]["shared" if export == "onnx_export" else "two"]
    expected = evaluate(Retriever("model", model, image_processor()), benchmark, progress=False)
    assert report["retrieval"]["model"] == expected.to_dict() and set(expected.per_class) == {5, 6}
    for kind in report["files"]:
        again = evaluate(load_exported(folder, kind), benchmark, progress=False)
        assert report["retrieval"][kind] == again.to_dict()
        assert report["retrieval"][kind]["map_all"] == pytest.approx(expected["map_all"], abs=0.1 if "int8" in kind else 1e-6)
        assert report["megabytes"][kind] == sum((folder / f).stat().st_size for f in set(report["files"][kind].values())) / 1e6
    assert report["agreement_on"] == "the pictures of the data set" and "mAP@all" in report["definitions"]["map_all"]


def test_agreement_by_hand():
    features, expected = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [0.6, 0.8]])
    found = agreement((features[:1], features[1:]), (expected[:1], expected[1:]))
    assert found == {k: pytest.approx(v) for k, v in {"max_abs_difference": 0.6, "min_cosine": 0.8, "mean_cosine": 0.9}.items()}


def test_without_a_data_set_noise_is_compared(saved, tmp_path, capsys):
    report = run_export(saved[1]["shared"], tmp_path, "--format", "torch", "--dataset", "none")
    assert report["agreement_on"] == "noise" and report["agreement"]["torch"]["max_abs_difference"] < 1e-6
    assert report["retrieval"] == {} and report["data"] is None
    assert "| torch " in capsys.readouterr().out


def test_the_report_names_no_path_of_this_machine(saved, torch_export):
    folder, _ = torch_export
    text = (folder / "export.json").read_text()
    assert str(folder.parent) not in text and str(saved[1]["two"].parent) not in text
    assert json.loads(text)["model"] == saved[1]["two"].name


def test_a_smaller_data_set_keeps_all_classes(shapes):
    options = ExportOptions(model="", output_dir="", dataset="folder", data_dir=str(shapes), max_pictures=4)
    small, whole = smaller_benchmark(options), make_benchmark(load("folder", data_dir=str(shapes)))
    assert len(small.queries) == len(small.gallery_labels) == 4 < len(whole.queries)
    assert set(small.queries.labels.tolist()) == set(small.gallery_labels.tolist()) == set(whole.queries.labels.tolist())
    assert set(small.queries.files) < set(Pictures(load("folder", data_dir=str(shapes))["test"], "sketch").files)


def test_the_examples_parse():
    examples = re.findall(r"^ +caan export (.*)$", EXAMPLES.replace("\\\n", " "), re.MULTILINE)
    assert len(examples) >= 4
    for example in examples:
        options = parse_options(ExportOptions, example.split(), "caan export", "", "")
        assert options.model and options.output_dir


# -------------------------------------------------------------------------------------------------------------- errors


def failure(capsys, *options) -> str:
    """What `caan export` says when it fails."""
    assert main(["export", *map(str, options)]) == 1
    return capsys.readouterr().err


def test_graphs_of_another_model_are_found_out(saved, tmp_path, monkeypatch, capsys):
    other = caan_model(seed=1)
    monkeypatch.setattr(caan.export.command, "export_graphs", lambda model, *options: export_graphs(other, *options))
    said = failure(capsys, "--model", saved[1]["two"], "--output_dir", tmp_path, "--format", "torch", "--dataset", "none")
    assert "graphs differ from the model by" in said and "do not use" in said
    assert json.loads((tmp_path / "export.json").read_text())["agreement"]["torch"]["max_abs_difference"] > 0.1


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_named_before_anything_is_written(saved, tmp_path, monkeypatch, capsys, missing):
    if missing != "onnx":
        pytest.importorskip("onnx")
    if missing == "onnxruntime":
        pytest.importorskip("onnxscript")
    monkeypatch.setitem(sys.modules, missing, None)
    said = failure(capsys, "--model", saved[1]["two"], "--output_dir", tmp_path / "out")
    assert f'package {missing}: pip install "caan[export]"' in said and not (tmp_path / "out").exists()


def test_wrong_input_is_named(saved, tmp_path, capsys):
    said = failure(capsys, "--model", saved[1]["two"], "--output_dir", tmp_path, "--format", "torch", "--int8")
    assert "use format onnx" in said
    AutoModel.from_config(vision_config()).save_pretrained(tmp_path / "vit")
    said = failure(capsys, "--model", tmp_path / "vit", "--output_dir", tmp_path / "out", "--format", "torch")
    assert "is a ViTModel, no CAAN" in said


def test_exports_that_are_not_there_are_named(torch_export, tmp_path):
    folder, _ = torch_export
    with pytest.raises(ValueError, match="holds no export.json: run caan export"):
        load_exported(tmp_path)
    with pytest.raises(ValueError, match="holds graphs of torch, not of onnx_int8"):
        load_exported(folder, "onnx_int8")
    (tmp_path / "export.json").write_text((folder / "export.json").read_text())
    with pytest.raises(ValueError, match=r"No such graph: .*\.pt2\. Export it again"):
        load_exported(tmp_path, "torch")
    with pytest.raises(ValueError, match=r"neither \.onnx nor \.pt2"):
        load_graph(tmp_path / "export.json")
