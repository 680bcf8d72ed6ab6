"""Descriptions as the training sees them.  python -m pytest tests/data/test_text.py"""

import random

import pytest
import torch
from tiny import SENTENCES, add_noise, caan_model, tokenizer
from transformers import AutoTokenizer

from caan.data.text import DescriptionSource, collect_descriptions, tokenize_descriptions, train_tokenizer

NAMES = ["ant", "bee", "cow", "dog"]
TABLE = {0: ["the cat", "a dog has fur ."], 2: ["the car has four wheels ."], 5: ["a cat", "the dog", "a tail"]}


def test_each_class_gets_its_sentences_once():
    labels = [2, 0, 2, 0]
    texts = [["c one", " ", "c two"], ["a one"], ["never read"], ["never read"]]
    assert collect_descriptions(labels, texts, NAMES) == {2: ["c one", "c two"], 0: ["a one"]}


def test_own_descriptions_take_the_place_of_all_others():
    own = {"ant": ["six legs"], "cow": ["horns", "udder"], "dog": ["never asked for"]}
    assert collect_descriptions([2, 0], [["c one"], ["a one"]], NAMES, own) == {2: ["horns", "udder"], 0: ["six legs"]}
    with pytest.raises(ValueError, match="No description for bee"):
        collect_descriptions([2, 1], [["c one"], ["b one"]], NAMES, own)


def test_classes_without_a_description_are_named():
    with pytest.raises(ValueError, match="No description for ant, cow, dog. Write one with `caan describe`, or train without"):
        collect_descriptions([3, 1, 0, 2], [[], ["b"], None, ["", "  "]], NAMES)
    many = [f"class{i}" for i in range(12)]
    with pytest.raises(ValueError, match=r"class0, .*class9 \.\.\."):
        collect_descriptions(range(12), [[]] * 12, many)


def test_tokens_are_those_of_each_sentence_and_short_classes_repeat_theirs():
    tokens = tokenize_descriptions(tokenizer(), TABLE, 48)
    assert tokens.input_ids.shape == tokens.attention_mask.shape == (3, 3, 8)
    for row, label in enumerate([0, 2, 5]):
        for i in range(3):
            expected = tokenizer()(TABLE[label][i % len(TABLE[label])])["input_ids"]
            length = int(tokens.attention_mask[row, i].sum())
            assert tokens.input_ids[row, i, :length].tolist() == expected
            assert tokens.attention_mask[row, i].tolist() == [1] * length + [0] * (8 - length)


def test_long_sentences_are_cut():
    tokens = tokenize_descriptions(tokenizer(), TABLE, 4)
    assert tokens.input_ids.shape == (3, 3, 4)
    assert tokens.input_ids[0, 1].tolist() == tokenizer()("a dog")["input_ids"]


def test_a_trained_tokenizer_knows_its_sentences(tmp_path):
    trained = train_tokenizer(SENTENCES, 200)
    ids = trained("What does a CAT look like")["input_ids"]
    assert trained.convert_ids_to_tokens(ids)[0] == "[CLS]" and trained.convert_ids_to_tokens(ids)[-1] == "[SEP]"
    assert trained.decode(ids, skip_special_tokens=True) == "what does a cat look like"
    for sentence in SENTENCES:
        assert trained.unk_token_id not in trained(sentence)["input_ids"]
    assert trained.pad_token_id == 0
    trained.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(SENTENCES)["input_ids"] == trained(SENTENCES)["input_ids"]


@pytest.mark.parametrize("size", [45, 60, 200])
def test_a_trained_tokenizer_is_the_same_each_time(size):
    vocabulary = train_tokenizer(SENTENCES, size).get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    for seed in range(10):
        shuffled = SENTENCES * 2
        random.Random(seed).shuffle(shuffled)
        assert train_tokenizer(shuffled, size).get_vocab() == vocabulary


def test_a_trained_tokenizer_merges_what_occurs_most_up_to_its_size():
    sentences = ["abab", "abab cab", "x"]
    assert len(train_tokenizer(sentences, 12)) == 12
    vocabulary = set(train_tokenizer(sentences, 100).get_vocab())
    letters = {"a", "b", "c", "x", "##a", "##b"}
    assert vocabulary == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, "##ab", "##bab", "abab", "cab"}
    tokenizer = train_tokenizer(sentences, 100)
    assert tokenizer.tokenize("cab ##a abba") == ["cab", "[UNK]", "[UNK]", "a", "a", "##b", "##b", "##a"]


def source(model, sentences_per_step: int) -> DescriptionSource:
    return DescriptionSource(model, tokenize_descriptions(tokenizer(), TABLE, 48), sentences_per_step)


@pytest.mark.parametrize("sentences_per_step,shown", [(1, 1), (2, 2), (0, 3), (9, 3)])
def test_a_step_reads_some_sentences_of_the_cached_features(sentences_per_step, shown):
    model = caan_model(freeze_text_encoder=True).train()
    calls = []
    model.text_encoder.register_forward_hook(lambda *args: calls.append(1))
    texts = source(model, sentences_per_step)
    read = len(calls)
    assert read == len(TABLE)  # a class at a time
    tokens, seen = tokenize_descriptions(tokenizer(), TABLE, 48), set()
    for seed in range(8):
        torch.manual_seed(seed)
        inputs = texts.step_inputs()
        torch.manual_seed(seed)
        chosen = torch.randperm(3)[:shown]
        features, mask = model.encode_descriptions(tokens.input_ids[:, chosen], tokens.attention_mask[:, chosen])
        assert inputs.keys() == {"text_features", "text_mask"}
        assert inputs["text_features"].shape == (3, shown * 8, 12) and not inputs["text_features"].requires_grad
        assert torch.equal(inputs["text_mask"], mask)
        assert torch.allclose(inputs["text_features"], features, atol=1e-6)
        seen.add(tuple(chosen.tolist()))
    assert len(calls) == read + 8  # those of this test's own encode_descriptions
    assert len(seen) > 1


def test_an_encoder_that_learns_reads_the_words_each_time():
    model = caan_model(freeze_text_encoder=False).train()
    texts = source(model, 2)
    torch.manual_seed(0)
    inputs = texts.step_inputs()
    torch.manual_seed(0)
    chosen, tokens = torch.randperm(3)[:2], tokenize_descriptions(tokenizer(), TABLE, 48)
    assert inputs.keys() == {"input_ids", "attention_mask"}
    assert torch.equal(inputs["input_ids"], tokens.input_ids[:, chosen])
    assert torch.equal(inputs["attention_mask"], tokens.attention_mask[:, chosen])
    before, _ = model.encode_descriptions(**inputs)
    assert before.requires_grad
    after, _ = add_noise(model, seed=1).encode_descriptions(**inputs)
    assert not torch.allclose(before, after)
