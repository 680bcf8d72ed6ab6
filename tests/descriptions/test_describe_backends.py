"""The local back end of caan.descriptions, on a tiny model made here.

python -m pytest tests/descriptions/test_describe_backends.py"""

import json
import sys

import pytest
import torch
import transformers
from packaging.version import Version
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from caan.descriptions import Answer, BackendError, Generation, Request, describe, load_prompt_set
from caan.descriptions.local import GumbelNoise, LocalBackend
from caan.descriptions.looks import VISUAL_WORDS

CLASSES = ["owl", "hot-air_balloon", "scissors"]
SHORT = Generation(temperature=1.0, top_p=1.0, max_new_tokens=12)
TEMPLATE = """{% for m in messages %}<s> {{ m.role }} {{ m.content }} {% endfor %}
{% if add_generation_prompt %}<s> assistant {% endif %}"""


def requests_for(count, system="round"):
    return [Request(system, "red wing " * (i + 1), seed=100 + i) for i in range(count)]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A random 2-layer Llama that speaks in words of looks: its answers pass the checks now and then."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    known = ["red", "wing", "black", "round"]
    looks = known + sorted(VISUAL_WORDS - set(known))[::3]
    words = ["<unk>", "<s>", "</s>", "system", "user", "assistant", "a", "b", "ab", *looks, *(word + "." for word in looks)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def local(tiny_model):
    return LocalBackend(str(tiny_model), device="cpu", dtype="float32")


def answers_of(backend, requests, generation=SHORT):
    answers = dict(backend.ask(requests, generation))
    return [answers[position] for position in range(len(requests))]


def test_gumbel_noise_draws_from_the_softmax():
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
    draws = GumbelNoise(range(20_000))(None, logits.expand(20_000, 4)).argmax(-1)
    share = torch.bincount(draws, minlength=4) / 20_000
    torch.testing.assert_close(share, logits.softmax(-1), atol=0.01, rtol=0)


def test_an_answer_does_not_depend_on_its_batch(local):
    requests = requests_for(6)
    together = answers_of(local, requests)
    assert together == [answers_of(local, [request])[0] for request in requests]
    assert together[::-1] == answers_of(local, requests[::-1])
    assert len({answer.text for answer in together}) == 6


def test_local_answers_equal_a_loop_written_out(local):
    """One row, no cache, no padding, no generate: softmax, top-p and noise by hand."""
    request = requests_for(1)[0]
    ids = local.tokenizer.apply_chat_template(
        [{"role": "system", "content": request.system}, {"role": "user", "content": request.question}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )["input_ids"]  # fmt: skip
    length, noise = ids.shape[1], torch.Generator().manual_seed(request.seed)
    while ids.shape[1] < length + 12 and (ids.shape[1] == length or ids[0, -1] != 2):
        probabilities, order = (local.network(ids).logits[0, -1] / 0.8).softmax(-1).sort(descending=True)
        kept = order[probabilities.cumsum(-1) - probabilities < 0.7]
        scores = (local.network(ids).logits[0, -1] / 0.8) - torch.empty(len(local.tokenizer)).exponential_(
            generator=noise
        ).log()
        ids = torch.cat([ids, kept[scores[kept].argmax()].view(1, 1)], dim=1)
    answer = answers_of(local, [request], Generation(temperature=0.8, top_p=0.7, max_new_tokens=12))[0]
    assert answer.text == local.tokenizer.decode(ids[0, length:], skip_special_tokens=True)
    assert answer.complete == bool(ids[0, -1] == 2)


def test_the_token_limit_is_told(local, monkeypatch):
    assert [a.complete for a in answers_of(local, requests_for(2), Generation(1.0, 1.0, max_new_tokens=1))] == [False, False]
    ends = [token for word, token in local.tokenizer.get_vocab().items() if word.endswith(".")]  # half of the vocabulary
    monkeypatch.setattr(local.network.generation_config, "eos_token_id", ends)
    for answer in answers_of(local, requests_for(4), Generation(1.0, 1.0, max_new_tokens=80)):
        assert answer.complete
        assert [word for word in answer.text.split() if word.endswith(".")] == [answer.text.split()[-1]]


def test_temperature_zero_is_greedy(local):
    greedy = Generation(temperature=0, max_new_tokens=6)
    first, second = (answers_of(local, [Request("", "red wing", seed)], greedy) for seed in (1, 2))
    assert first == second


def test_a_resumed_run_equals_an_unbroken_one(local, tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    prompts = load_prompt_set("interrogative")
    options = {"tries": 4, "batch_size": 4, "generation": SHORT}
    unbroken = describe(CLASSES, prompts, local, whole, **options)
    data = whole.read_bytes()
    assert {json.loads(line)["attempts"] for line in data.splitlines()} >= {1, 2}  # some answers were asked again
    for size in (1, len(data) // 3, len(data) // 2, data.index(b"\n") + 1, len(data) - 1):
        cut.write_bytes(data[:size])
        assert describe(CLASSES, prompts, local, cut, **options).failures == unbroken.failures
        assert cut.read_bytes() == data


def test_the_line_names_the_model_and_not_its_folder(local, tiny_model):
    assert local.model == "tiny"
    assert str(tiny_model.parent) not in local.model


def test_a_template_without_a_system_role_gets_it_in_the_question(tiny_model):
    backend = LocalBackend(str(tiny_model), device="cpu")
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    backend.tokenizer.chat_template = refusing + TEMPLATE
    ids = backend._encode([Request("black", "red wing", 0)])["input_ids"][0]
    assert backend.tokenizer.decode(ids).split() == ["<s>", "user", "black", "red", "wing", "<s>", "assistant"]


def test_a_model_without_a_chat_template_is_refused(tiny_model, tmp_path):
    for file in tiny_model.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BackendError, match="no chat template; take an instruction-tuned model"):
        LocalBackend(str(tmp_path))


def test_an_absent_model_is_named(tmp_path):
    with pytest.raises(BackendError, match="cannot be loaded as a causal language model"):
        LocalBackend(str(tmp_path / "nothing"))


def write_gguf(path, network, words):
    """The tiny Llama in GGUF: weights in float32, a byte-level BPE vocabulary with one merge."""
    gguf = pytest.importorskip("gguf")
    writer, config = gguf.GGUFWriter(path, "llama"), network.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word.startswith("<") else 1 for word in words])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in network.state_dict().items():
        heads = config.num_attention_heads if name.endswith(("q_proj.weight", "k_proj.weight")) else 0
        if heads:  # llama.cpp interleaves the two halves of a rotary head
            weight = weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.skipif(
    sys.version_info < (3, 11) and Version(transformers.__version__) < Version("5.18"),
    reason="transformers before 5.18 does not find gguf's version in Python 3.10",
)
def test_a_gguf_file_answers_as_the_weights_it_was_made_of(local, tmp_path):
    path = tmp_path / "tiny-F32.gguf"
    vocabulary = local.tokenizer.get_vocab()
    write_gguf(path, local.network, sorted(vocabulary, key=vocabulary.get))
    by_path = LocalBackend(str(path), device="cpu")
    by_name = LocalBackend(str(tmp_path), gguf_file=path.name, device="cpu")
    assert (by_path.model, by_name.model) == ("tiny-F32.gguf", f"{tmp_path.name}/tiny-F32.gguf")
    ids = torch.tensor([[1, 5, 20, 30, 1, 6]])
    for backend in (by_path, by_name):
        torch.testing.assert_close(backend.network(ids).logits, local.network(ids).logits)
        assert backend._end_tokens() == [2]
        assert all(isinstance(answer, Answer) for answer in answers_of(backend, requests_for(2)))
