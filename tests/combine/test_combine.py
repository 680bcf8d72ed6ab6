"""`caan combine`: what it writes, and what it refuses.  python -m pytest tests/combine/test_combine.py"""

import json
import signal

import pytest
import torch
from combined import PHOTOS, SKETCHES, caan_combine, cosines, mean_cosines, member_cosines, save_member
from folders import FACTS, contents, make_folder
from safetensors import safe_open
from tiny import HUB_SET, caan_model, image_processor, vision_config
from transformers import AutoImageProcessor, AutoModel, ViTModel

import caan.combine.combine
from caan.combine.members import multiplications
from caan.evaluation.combination import COMBINED_FILE, read_combination
from caan.evaluation.weights import weights_fingerprint
from configuration_caan import SENTENCE_FILES, CAANEnsembleConfig
from modeling_caan import TRAINING_MODULES, CAANEnsembleModel

FILES = HUB_SET | SENTENCE_FILES.keys() | {"config.json", "model.safetensors", "preprocessor_config.json", COMBINED_FILE}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of three kinds, and one in the full form with text, tokenizer and card."""
    work = tmp_path_factory.mktemp("trained")
    folders = {kind: save_member(work / kind, kind, seed) for seed, kind in enumerate(("vit", "cnn", "wide"))}
    return {**folders, "full": make_folder(work / "full")}


def load(folder):
    return AutoModel.from_pretrained(folder).eval(), AutoImageProcessor.from_pretrained(folder)


def combine(tmp_path, *arguments, name="both"):
    assert caan_combine(*arguments, "--output_dir", tmp_path / name) == 0
    return tmp_path / name


# ------------------------------------------------------------------------------------------------------------ cosines


@pytest.mark.parametrize(
    "kinds, weights",
    [
        (("vit", "cnn"), [1, 0.5]),
        (("cnn", "vit"), [0.3, 2]),
        (("vit", "cnn", "wide"), [3, 1, 0.25]),
        (("full", "wide"), None),
        (("cnn", "cnn"), [1, 3]),
        (("vit", "wide", "full", "cnn"), [1e-3, 5, 1, 20]),
    ],
)
def test_the_cosine_is_the_weighted_mean_of_the_members(trained, tmp_path, kinds, weights):
    folders = [trained[kind] for kind in kinds]
    given = [] if weights is None else ["--weights", *weights]
    model, processor = load(combine(tmp_path, *folders, *given))
    expected = torch.zeros(len(SKETCHES), len(PHOTOS), dtype=torch.float64)
    for folder, weight in zip(folders, weights or [1] * len(folders)):
        expected += weight * member_cosines(folder) / sum(weights or [1] * len(folders))
    assert (cosines(model, processor) - expected).abs().max() < 1e-6
    assert model.config.hidden_size == sum(member.config.hidden_size for member in model.members)
    assert model.dtype == torch.float32


def test_sizes_lie_side_by_side_and_equal_settings_share_a_part(trained, tmp_path):
    model, processor = load(combine(tmp_path, trained["vit"], trained["cnn"]))
    assert model.config.member_parts == [[0, 126, 126], [126, 224, 224]] and processor.size == {"height": 224, "width": 350}
    again = save_member(tmp_path / "again", "vit", seed=9)
    model, processor = load(combine(tmp_path, trained["vit"], trained["cnn"], again, name="three"))
    assert model.config.member_parts == [[0, 126, 126], [126, 224, 224], [0, 126, 126]] and len(processor.parts) == 2
    other = save_member(tmp_path / "other", "vit", seed=9, sketch_shade=0.9)
    model, processor = load(combine(tmp_path, trained["vit"], other, name="shades"))
    assert model.config.member_parts == [[0, 126, 126], [126, 126, 126]]
    expected = mean_cosines({trained["vit"]: 1, other: 1})
    assert (cosines(model, processor) - expected).abs().max() < 1e-6


def test_a_combined_member_counts_as_its_members(trained, tmp_path):
    pair = combine(tmp_path, trained["vit"], trained["cnn"], "--weights", 1, 0.5, name="pair")
    model, processor = load(combine(tmp_path, pair, trained["wide"], "--weights", 3, 1, name="flat"))
    assert len(model.members) == 3 and model.config.member_weights == pytest.approx([2, 1, 1])
    expected = mean_cosines({trained["vit"]: 2, trained["cnn"]: 1, trained["wide"]: 1})
    assert (cosines(model, processor) - expected).abs().max() < 1e-6
    assert [member.name for member in read_combination(tmp_path / "flat").members] == ["vit", "cnn", "wide"]
    (pair / COMBINED_FILE).unlink()
    flat = combine(tmp_path, trained["wide"], pair, name="unknown")
    assert [member.name for member in read_combination(flat).members] == ["wide", "pair (1)", "pair (2)"]


def test_the_heaviest_members_settings_are_the_processors_own(trained, tmp_path):
    processor = load(combine(tmp_path, trained["vit"], trained["cnn"], "--weights", 1, 2))[1]
    assert (processor.ink_mode, processor.ink_padding, processor.sketch_shade) == ("border", 0.2, 0.0)


# ------------------------------------------------------------------------------------------------------------- folder


def test_what_lies_in_the_folder_and_the_members_are_as_they_were(trained, tmp_path):
    before = {kind: contents(folder) for kind, folder in trained.items()}
    both = combine(tmp_path, trained["full"], trained["cnn"])
    assert {path.name for path in both.iterdir()} == FILES | {"README.md"}
    with safe_open(both / "model.safetensors", "pt") as file:
        names = [name.split(".") for name in file.keys()]  # noqa: SIM118, a safe_open is no mapping
    assert {name[0] for name in names} == {"members"} and not {name[2] for name in names} & set(TRAINING_MODULES)
    assert {kind: contents(folder) for kind, folder in trained.items()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["both"]
    assert str(trained["cnn"].parent).encode() not in b"".join(contents(both).values())
    assert type(AutoModel.from_pretrained(both).config) is CAANEnsembleConfig


def test_an_empty_folder_and_folders_above_it_are_taken(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/below"):
        assert type(load(combine(tmp_path, trained["vit"], trained["wide"], name=name))[0]) is CAANEnsembleModel


@pytest.mark.parametrize("kind", ["file", "other", "model", "combined", "itself"])
def test_what_is_there_is_not_replaced(trained, tmp_path, capsys, kind):
    target = tmp_path / "there"
    if kind == "file":
        target.write_text("mine")
    elif kind == "other":
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    elif kind == "combined":
        combine(tmp_path, trained["vit"], trained["wide"], name="there")
    else:
        save_member(target, "wide")
    before = target.read_bytes() if kind == "file" else contents(target)
    capsys.readouterr()
    models = (target if kind == "itself" else trained["vit"], trained["cnn"])
    assert caan_combine(*models, "--output_dir", target) == 1
    said = capsys.readouterr().err
    assert "caan combine: error: " in said and f"{target} is not empty" in said and "Give another --output_dir" in said
    assert (target.read_bytes() if kind == "file" else contents(target)) == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("step", ["join", "require_agreement", "write_card", "publish_folder"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_stop_leaves_nothing(trained, tmp_path, monkeypatch, capsys, step, error):
    def stop(*arguments, **options):
        raise error

    monkeypatch.setattr(caan.combine.combine, step, stop)
    status = caan_combine(trained["vit"], trained["wide"], "--output_dir", tmp_path / "new")
    assert status == (130 if isinstance(error, KeyboardInterrupt) else 1) and not list(tmp_path.iterdir())
    said = capsys.readouterr().err
    assert "new was not made; run the same command again" in said or "No space left" in said


def test_sigterm_leaves_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(caan.combine.combine, "write_card", lambda *a, **k: signal.raise_signal(signal.SIGTERM))
    assert caan_combine(trained["vit"], trained["wide"], "--output_dir", tmp_path / "new") == 143
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_in_nobodys_way(trained, tmp_path):
    (tmp_path / ".both.tmp").mkdir()
    (tmp_path / ".both.tmp" / "config.json").write_text("half")
    combine(tmp_path, trained["vit"], trained["wide"])
    assert [path.name for path in tmp_path.iterdir()] == ["both"]


def test_a_combination_that_does_not_agree_is_not_kept(trained, tmp_path, monkeypatch, capsys):
    whole = caan.combine.combine.join

    def disturbed(members):
        model, processor = whole(members)
        model.members[0].image_encoder.projection.bias.data.add_(1)
        return model, processor

    monkeypatch.setattr(caan.combine.combine, "join", disturbed)
    assert caan_combine(trained["vit"], trained["wide"], "--output_dir", tmp_path / "new") == 1
    assert "cosines differ from its members' by" in capsys.readouterr().err and not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    "weights, status, said",
    [
        (["1", "-0.5"], 2, "weights must be above 0, got -0.5"),
        (["0", "1"], 2, "weights must be above 0, got 0.0"),
        (["nan", "1"], 2, "weights must be above 0, got nan"),
        (["1", "inf"], 2, "weights must be above 0, got inf"),
        (["1", "heavy"], 2, "heavy"),
        (["1"], 1, "--weights has 1 numbers for 2 models"),
        (["1", "1", "1"], 1, "--weights has 3 numbers for 2 models"),
    ],
)
def test_weights_are_refused_by_name(trained, tmp_path, capsys, weights, status, said):
    assert caan_combine(trained["vit"], trained["cnn"], "--output_dir", tmp_path / "new", "--weights", *weights) == status
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_one_model_none_and_no_folder(trained, tmp_path, capsys):
    assert caan_combine(trained["vit"], "--output_dir", tmp_path / "new") == 1
    assert "vit is one model: name two or more to combine" in capsys.readouterr().err
    assert caan_combine("--output_dir", tmp_path / "new") == 2
    assert caan_combine(trained["vit"], trained["cnn"]) == 2
    assert "output_dir" in capsys.readouterr().err
    assert caan_combine(trained["vit"], trained["cnn"], "--output_dir", "~/new") == 2
    assert not list(tmp_path.iterdir())


def test_members_that_are_none_are_refused_by_name(trained, tmp_path, capsys):
    ViTModel(vision_config("vit")).save_pretrained(tmp_path / "plain")
    (tmp_path / "empty").mkdir()
    lacking = save_member(tmp_path / "lacking", "wide")
    (lacking / "model.safetensors").unlink()
    unlike = save_member(tmp_path / "unlike", "wide")
    (unlike / "preprocessor_config.json").unlink()
    broken = save_member(tmp_path / "broken", "wide")
    (broken / "training.json").write_text("{}")
    small = save_member(tmp_path / "small", "wide", size={"height": 4, "width": 4})
    before = sorted(tmp_path.iterdir())
    for name, words in {
        "plain": "is no CAAN but a model of type vit. Train one that starts from it (caan train RECIPE --vision_model",
        "empty": "empty' cannot be loaded",
        "missing": "missing' cannot be loaded",
        "lacking": "lacking' cannot be loaded",
        "unlike": "unlike' cannot be loaded",
        "broken": "broken/training.json is no record of a training run",
        "small": "takes no pictures of 4 x 4 pixels",
    }.items():
        assert caan_combine(trained["vit"], tmp_path / name, "--output_dir", tmp_path / "new") == 1, name
        assert words in capsys.readouterr().err, name
    assert small and sorted(tmp_path.iterdir()) == before
    assert caan_combine(trained["vit"], "pixels", "--output_dir", tmp_path / "new") == 1
    assert "'pixels' cannot be loaded" in capsys.readouterr().err


def test_a_processor_of_no_one_size_is_refused(trained, tmp_path, capsys):
    folder = save_member(tmp_path / "edge", "wide")
    image_processor(do_resize=False).save_pretrained(folder)
    assert caan_combine(trained["vit"], folder, "--output_dir", tmp_path / "new") == 1
    assert "edge has an image processor that makes pictures of no one size" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- record


def test_the_record_tells_what_the_members_are_and_cost(trained, tmp_path):
    seen = save_member(tmp_path / "seen", "vit", facts={"seen_classes": ["cat", "dog"], "seen_before": ["owl"]})
    more = save_member(tmp_path / "more", "wide", facts={"seen_classes": ["dog", "yak"]})
    record = read_combination(combine(tmp_path, seen, more, "--weights", 1, 0.5))
    first, second = record.members
    assert (first.name, first.weight, second.name, second.weight) == ("seen", 1, "more", 0.5)
    assert first.weights == weights_fingerprint(seen) and first.revision is None
    assert (first.encoder, first.image_size, first.hidden_size, first.whitened) == ("vit", [126, 126], 8, True)
    assert second.encoder == "dinov2" and second.image_size == [32, 48]
    assert first.training["base_models"] == FACTS["base_models"]
    assert record.seen_classes == ["cat", "dog", "owl", "yak"]
    with safe_open(tmp_path / "both" / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for place, member in enumerate(record.members):
        own = [tensor for name, tensor in tensors.items() if name.startswith(f"members.{place}.")]
        assert member.bytes == sum(tensor.nbytes for tensor in own)
    assert record.total("bytes") == first.bytes + second.bytes
    assert record.command == "caan combine seen more --weights 1 0.5 --output_dir both"


def test_multiplications_are_those_of_products_and_convolutions():
    """Of a ViT: patches, then in each block query, key, value, output, the two products of attention, and two layers."""
    model = caan_model(whitening=0.5)
    tokens, width, inner, blocks, patch = 17, 16, 32, 2, 8
    block = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * inner
    projection, whitening = tokens * width * 8, 8 * 8
    assert multiplications(model, (32, 32)) == 16 * 3 * patch**2 * width + blocks * block + projection + whitening


def test_members_without_a_record_leave_the_seen_classes_unknown(trained, tmp_path):
    seen = save_member(tmp_path / "seen", "vit", facts={"seen_classes": ["cat"]})
    assert read_combination(combine(tmp_path, seen, trained["cnn"])).seen_classes is None


def test_equal_names_are_numbered(trained, tmp_path):
    other = save_member(tmp_path / "other" / "vit", "vit", seed=3)
    record = read_combination(combine(tmp_path, trained["vit"], other))
    assert [member.name for member in record.members] == ["vit", "vit (2)"]


def test_a_broken_record_is_named(trained, tmp_path):
    both = combine(tmp_path, trained["vit"], trained["cnn"])
    record = json.loads((both / COMBINED_FILE).read_text())
    for broken in ("{", "[]", "{}", json.dumps({**record, "members": [{}]})):
        (both / COMBINED_FILE).write_text(broken)
        with pytest.raises(ValueError, match=f"{COMBINED_FILE} is no record of a combined model"):
            read_combination(both)
