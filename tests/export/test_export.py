"""Exported graphs against their model.

python -m pytest tests/export/test_export.py  (ONNX is skipped without the extra export)"""

import errno
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import HIDDEN_SIZE, IMAGE_SIZE, caan_model, image_processor, vision_config
from torch.nn.functional import cosine_similarity
from transformers import AutoModel
from trees import make_shapes

import caan.export.export
from caan.cli import main
from caan.data.benchmark import make_benchmark
from caan.data.pictures import Pictures
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import Retriever
from caan.export.command import EXAMPLES, ExportOptions
from caan.export.export import agreement
from caan.export.graphs import export_graphs
from caan.export.pictures import smaller
from caan.export.quantization import convolutional
from caan.export.runtime import ExportedModel, load_exported, load_graph
from caan.parsing import OptionParser
from dataset_scripts import load


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Drawn shapes of five seen and two unseen classes."""
    root = tmp_path_factory.mktemp("shapes")
    make_shapes(root)
    return root


def whitened_model(**fields):
    """A model whose sketches and photos are whitened, each in a way of its own."""
    model, draws = caan_model(whitening=0.5, **fields), torch.Generator().manual_seed(7)
    for whitening in (model.sketch_whitening, model.image_whitening):
        whitening.set(*(torch.randn(shape, generator=draws) for shape in ((HIDDEN_SIZE,), (HIDDEN_SIZE, HIDDEN_SIZE))))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Models and the folders they are saved in."""
    models = {
        "two": caan_model(),
        "shared": caan_model(share_vision_encoder=True, num_prompt_tokens=2),
        "whitened": whitened_model(share_vision_encoder=True),
        "convolutions": caan_model(vision_config="timm_resnet", share_vision_encoder=True),
    }
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


def test_convolutions_become_int8_on_pictures_of_seen_classes(saved, shapes, tmp_path):
    onnx = pytest.importorskip("onnx")
    data = ("--dataset", "folder", "--data_dir", shapes, "--calibration_pictures", 8, "--num_workers", 0)
    report = run_export(saved[1]["convolutions"], tmp_path, "--int8", *data)
    graph = onnx.load(tmp_path / "sketch_photo.int8.onnx").graph
    assert convolutional(tmp_path / "sketch_photo.onnx")
    weights = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    kernels = [makers[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert len(kernels) == 13 and {node.op_type for node in kernels} == {"DequantizeLinear"}
    assert {weights[node.input[0]].data_type for node in kernels} == {onnx.TensorProto.INT8}
    assert all(len(weights[node.input[1]].dims) == 1 for node in kernels)  # a scale a channel
    assert 0.97 < report["agreement"]["onnx_int8"]["min_cosine"] < 1


def test_convolutions_need_pictures_to_become_int8(saved, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    options = ("--model", saved[1]["convolutions"], "--output_dir", tmp_path / "out", "--int8", "--dataset", "none")
    said = failure(capsys, *options)
    assert "sketch_photo.onnx holds convolutions, whose int8 form is calibrated on pictures: name a data set" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind, format", [("onnx", ["--int8"]), ("torch", ["--format", "torch"])])
def test_a_shared_tower_is_written_once_with_a_whitening_for_each_modality(saved, tmp_path, kind, format):
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    model = saved[0]["whitened"]
    report = run_export(saved[1]["whitened"], tmp_path, "--dataset", "none", *format)
    names = {path.name for path in tmp_path.iterdir()}
    graphs = {"onnx": {"sketch_photo.onnx", "sketch_photo.int8.onnx"}, "torch": {"sketch_photo.pt2"}}[kind]
    assert {name for name in names if name.endswith((".onnx", ".pt2"))} == graphs
    assert report["outputs"] == {"sketch": "sketch_features", "photo": "photo_features"}
    loaded = load_exported(tmp_path, kind).model
    with torch.no_grad():
        sketches, photos = model.get_sketch_features(random_pixels(3)), model.get_image_features(random_pixels(3))
    assert torch.allclose(loaded.get_sketch_features(random_pixels(3)), sketches, atol=1e-5)
    assert torch.allclose(loaded.get_image_features(random_pixels(3)), photos, atol=1e-5)
    assert (sketches - photos).abs().max() > 0.1
    if kind == "onnx":
        int8 = load_exported(tmp_path, "onnx_int8").model
        assert cosine_similarity(int8.get_sketch_features(random_pixels(3)), sketches).min() > 0.95


def test_the_whitening_stays_float(saved, tmp_path):
    onnx = pytest.importorskip("onnx")
    run_export(saved[1]["whitened"], tmp_path, "--dataset", "none", "--int8")
    products = [n for n in onnx.load(tmp_path / "sketch_photo.int8.onnx").graph.node if n.op_type in ("MatMul", "Gemm")]
    float_weights = [t for t in onnx.load(tmp_path / "sketch_photo.int8.onnx").graph.initializer if t.data_type == 1]
    matrices = {tensor.name for tensor in float_weights if list(tensor.dims) == [HIDDEN_SIZE, HIDDEN_SIZE]}
    assert len(matrices) == 2 and matrices <= {name for node in products for name in node.input}


@pytest.mark.parametrize("floor, status", [("0.999999", 1), ("0.9", 0)])
def test_int8_below_the_floor_fails_and_leaves_the_folder_as_it_was(saved, tmp_path, capsys, floor, status):
    pytest.importorskip("onnxscript")
    (tmp_path / "mine.txt").write_text("mine")
    options = ("--output_dir", tmp_path, "--int8", "--dataset", "none", "--int8_min_cosine", floor)
    if status:
        said = failure(capsys, "--model", saved[1]["shared"], *options)
        assert re.search(r"lowest cosine with the model on noise is 0\.\d{5}, below 0.999999: nothing was written\.", said)
        assert "Leave out --int8, calibrate on more pictures" in said
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    else:
        run_export(saved[1]["shared"], *options[1:])
        assert (tmp_path / "sketch_photo.int8.onnx").is_file() and (tmp_path / "mine.txt").read_text() == "mine"


def test_graphs_of_an_earlier_export_do_not_stay_beside_the_new_ones(saved, torch_export, tmp_path):
    folder = shutil.copytree(torch_export[0], tmp_path / "out")
    (folder / "mine.pt2").write_bytes(b"mine")
    run_export(saved[1]["shared"], folder, "--format", "torch", "--dataset", "none")
    assert {path.name for path in folder.glob("*.pt2")} == {"sketch_photo.pt2", "mine.pt2"}


def test_a_report_of_before_the_outputs_had_names_still_loads(torch_export, tmp_path):
    folder = shutil.copytree(torch_export[0], tmp_path / "old")
    report = json.loads((folder / "export.json").read_text())
    del report["outputs"]
    (folder / "export.json").write_text(json.dumps(report))
    made = load_exported(folder, "torch").model.get_sketch_features(random_pixels(2))
    assert torch.equal(made, ExportedModel(report["files"]["torch"], folder).get_sketch_features(random_pixels(2)))


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
        files, _ = export_graphs(model, (IMAGE_SIZE, IMAGE_SIZE), tmp_path, kind)
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
    splits = load("folder", data_dir=str(shapes))
    small, whole = make_benchmark({"test": smaller(splits["test"], 4)}), make_benchmark(splits)
    assert len(small.queries) == len(small.gallery_labels) == 4 < len(whole.queries)
    assert set(small.queries.labels.tolist()) == set(small.gallery_labels.tolist()) == set(whole.queries.labels.tolist())
    assert set(small.queries.files) < set(Pictures(load("folder", data_dir=str(shapes))["test"], "sketch").files)


def test_the_examples_parse():
    examples = re.findall(r"^ +caan export (.*)$", EXAMPLES.replace("\\\n", " "), re.MULTILINE)
    assert len(examples) >= 4
    for example in examples:
        (options,) = OptionParser((ExportOptions,)).fill(example.split())
        assert options.model and options.output_dir


# -------------------------------------------------------------------------------------------------------------- errors


def failure(capsys, *options) -> str:
    """What `caan export` says when it fails."""
    with pytest.raises(SystemExit) as stop:
        main(["export", *map(str, options)])
    assert stop.value.code == 1
    return capsys.readouterr().err


def test_graphs_of_another_model_are_found_out(saved, tmp_path, monkeypatch, capsys):
    other = caan_model(seed=1)
    monkeypatch.setattr(caan.export.export, "export_graphs", lambda model, *options: export_graphs(other, *options))
    said = failure(capsys, "--model", saved[1]["two"], "--output_dir", tmp_path, "--format", "torch", "--dataset", "none")
    assert re.search(r"The torch graphs differ from the model by [0-9.]+: nothing was written\.", said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_named_before_anything_is_written(saved, tmp_path, monkeypatch, capsys, missing):
    if missing != "onnx":
        pytest.importorskip("onnx")
    if missing == "onnxruntime":
        pytest.importorskip("onnxscript")
    monkeypatch.setitem(sys.modules, missing, None)
    said = failure(capsys, "--model", saved[1]["two"], "--output_dir", tmp_path / "out")
    assert f'package {missing}: pip install -e ".[export]"' in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, said",
    [
        (["--int8"], "int8 is a form of the ONNX graphs: use format onnx with it."),
        (["--batch_size", "0"], "batch_size must be at least 1, got 0."),
        (["--num_workers", "-1"], "num_workers must be at least 0, got -1."),
        (["--max_pictures", "-5"], "max_pictures must be at least 0, got -5."),
        (["--calibration_pictures", "0"], "calibration_pictures must be at least 1, got 0."),
        (["--opset", "3"], "opset must be at least 18, got 3."),
        (["--int8_min_cosine", "1.5"], "int8_min_cosine must be in [-1, 1], got 1.5."),
        (["--int8_min_cosine", "nan"], "int8_min_cosine must be in [-1, 1], got nan."),
    ],
)
def test_wrong_options_are_refused_when_they_are_read(tmp_path, capsys, options, said):
    with pytest.raises(SystemExit) as stop:
        main(["export", "--model", "m", "--output_dir", str(tmp_path / "out"), "--format", "torch", *options])
    assert stop.value.code == 2 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.endswith(f"caan export: error: {said}\n")


def break_model(folder, how: str) -> None:
    """Makes a model's folder unusable, in one of the ways of downloads and disks."""
    weights = folder / "model.safetensors"
    if how == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "no weights":
        weights.unlink()
    elif how == "some weights":
        tensors = load_file(weights)
        save_file({name: tensors[name] for name in tensors if "projection" not in name}, weights, {"format": "pt"})
    elif how == "torn config":
        (folder / "config.json").write_text("{")
    elif how == "other shape":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 16}))
    elif how == "no processor":
        (folder / "preprocessor_config.json").unlink()


@pytest.mark.parametrize(
    "how, said",
    [
        ("truncated weights", "cannot be loaded"),
        ("no weights", "cannot be loaded"),
        ("some weights", "lacks 6 weights, such as image_encoder.encoder.embeddings.patch_embeddings.projection.bias: save"),
        ("torn config", "cannot be loaded"),
        ("other shape", "cannot be loaded"),
        ("no processor", "cannot be loaded"),
    ],
)
def test_a_broken_model_is_told_in_one_line(saved, tmp_path, capsys, how, said):
    model = shutil.copytree(saved[1]["shared"], tmp_path / "model")
    break_model(model, how)
    err = failure(capsys, "--model", model, "--output_dir", tmp_path / "out", "--format", "torch", "--dataset", "none")
    [line] = [line for line in err.splitlines() if line.startswith("caan export: error: --model ")]
    assert f"{model}" in line and said in line and "Traceback" not in err and err.endswith(line + "\n")
    assert not (tmp_path / "out").exists()


def test_another_kind_of_model_is_named(tmp_path, capsys):
    AutoModel.from_config(vision_config()).save_pretrained(tmp_path / "vit")
    image_processor().save_pretrained(tmp_path / "vit")
    said = failure(capsys, "--model", tmp_path / "vit", "--output_dir", tmp_path / "out", "--format", "torch")
    assert "is a ViTModel, no CAAN" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("config.json", "{}", "{out} holds a model, whose image processor would be replaced. Give another --output_dir."),
        (
            "export.json",
            '{"my": 1}',
            "{out}/export.json is no report of an export. Give another --output_dir, or move it away.",
        ),
    ],
)
def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(saved, tmp_path, capsys, name, content, said):
    for file in ("preprocessor_config.json", name):
        (tmp_path / file).write_text(content)
    error = failure(capsys, "--model", saved[1]["two"], "--output_dir", tmp_path, "--format", "torch", "--dataset", "none")
    assert error == f"\ncaan export: error: {said.format(out=tmp_path)}\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"preprocessor_config.json": content, name: content}


def test_a_data_set_without_unseen_classes_is_told_before_the_graphs_are_made(saved, tmp_path, capsys):
    make_shapes(tmp_path / "data")
    (tmp_path / "data" / "unseen.txt").write_text("")
    source = ["--model", saved[1]["two"], "--output_dir", tmp_path / "out", "--format", "torch"]
    said = failure(capsys, *source, "--dataset", "folder", "--data_dir", tmp_path / "data")
    assert "caan export: error: The data set has no split 'test', only train, validation. A test needs unseen classes" in said
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_named_before_the_model_is_read(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    said = failure(capsys, "--model", "no_such_model", "--output_dir", tmp_path / "out", "--format", "torch")
    assert said == f"\ncaan export: error: --output_dir {tmp_path / 'out'} cannot be written to: File exists.\n"
    assert (tmp_path / "out").read_text() == "mine"


def interrupt(number):
    def stop(*arguments):
        os.kill(os.getpid(), number)
        raise AssertionError("the signal did not arrive")

    return stop


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device", "sketch.pt2")


def full_disk_of_torch(*arguments):
    raise RuntimeError(
        "[enforce fail at inline_container.cc:862] . PytorchStreamWriter failed writing file data/0: file write failed"
    )


def no_export(*arguments):
    raise RuntimeError("Failed to export the model.\nThis is a long report.")


@pytest.mark.parametrize(
    "fault, status, said",
    [
        (interrupt(signal.SIGINT), 130, "caan export: stopped; {out} is as it was; run the same command again"),
        (interrupt(signal.SIGTERM), 143, "caan export: stopped; {out} is as it was; run the same command again"),
        (full_disk, 1, "No space left on device: 'sketch.pt2' Free some space on that disk."),
        (full_disk_of_torch, 1, "file write failed Free some space on that disk."),
        (no_export, 1, "MB are free there): Failed to export the model."),
    ],
)
def test_a_stop_or_a_full_disk_costs_one_line_and_no_file(
    saved, torch_export, tmp_path, monkeypatch, capsys, fault, status, said
):
    output = shutil.copytree(torch_export[0], tmp_path / "out")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(torch.export, "save", fault)
    options = ("--output_dir", output, "--format", "torch", "--dataset", "none")
    with pytest.raises(SystemExit) as stop:
        main(["export", "--model", str(saved[1]["shared"]), *map(str, options)])
    assert stop.value.code == status
    err = capsys.readouterr().err
    assert err.splitlines()[-1].endswith(said.format(out=output)) and "Traceback" not in err
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_disk_that_is_full_in_the_middle_of_a_program(saved, tmp_path, monkeypatch):
    """torch's own writer of files would end the process: the bytes are written by Python."""
    write = Path.write_bytes
    monkeypatch.setattr(
        Path, "write_bytes", lambda path, content: write(Path("/dev/full") if path.suffix == ".pt2" else path, content)
    )
    with pytest.raises(OSError, match="No space left on device"):
        export_graphs(saved[0]["two"], (IMAGE_SIZE, IMAGE_SIZE), tmp_path, "torch")
    assert list(tmp_path.iterdir()) == []


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
    (tmp_path / "sketch.pt2").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"sketch\.pt2 cannot be read: export it again"):
        load_graph(tmp_path / "sketch.pt2")
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(ValueError, match="export.json is no report of caan export: export again"):
        load_exported(tmp_path)
