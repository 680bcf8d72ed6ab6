"""Words of a description and the columns of their tokens.  python -m pytest tests/figures/test_words.py"""

from types import SimpleNamespace

import pytest
from tokenizers import models, processors
from transformers import PreTrainedTokenizerFast

from caan.data.text import wordpiece_tokenizer
from caan.figures.words import STOP_WORDS, Word, read_sentences

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "wing", "##s", "and", "short", "-", "tail", ".", "a", "up"]
TEXT = "The wings and short-tail wings."  # [CLS] the wing ##s and short - tail wing ##s . [SEP]


def tokenizer(**options) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer in BERT's form."""
    vocabulary = {piece: i for i, piece in enumerate(PIECES)}
    backend = wordpiece_tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **options)


def test_pieces_and_repeated_words_are_joined_and_stop_words_and_signs_left_out():
    (sentence,) = read_sentences(tokenizer(), [TEXT], 32)
    assert sentence.words == [Word("wings", (2, 3, 8, 9)), Word("short", (5,)), Word("tail", (7,))]
    assert " ".join(PIECES[i] for i in sentence.input_ids) == "[CLS] the wing ##s and short - tail wing ##s . [SEP]"
    assert sentence.text == TEXT


def test_an_unknown_word_keeps_its_own_letters():
    (sentence,) = read_sentences(tokenizer(), ["A Beak up."], 32)
    assert sentence.words == [Word("beak", (2,))]  # not "[UNK]"; "up" and "a" say nothing


@pytest.mark.parametrize(("side", "first"), [("right", 1), ("left", 9)])
def test_padding_belongs_to_no_word_on_either_side(side, first):
    short, long = read_sentences(tokenizer(padding_side=side), ["tail.", TEXT], 32)
    assert short.words == [Word("tail", (first,))]
    assert short.attention_mask.tolist() == ([1] * 4 + [0] * 8 if side == "right" else [0] * 8 + [1] * 4)
    assert long.words[0].columns == (2, 3, 8, 9)


def test_words_that_are_cut_off_are_not_there():
    (sentence,) = read_sentences(tokenizer(), [TEXT], 5)
    assert sentence.words == [Word("wings", (2, 3))]


def test_stop_words_are_clean_and_leave_what_a_picture_can_show():
    assert {"the", "two", "unlike", "sketch"} <= STOP_WORDS
    assert not {"bill", "fire", "front", "side", "round", "wheels"} & STOP_WORDS
    assert all(word.isalpha() and word == word.lower() for word in STOP_WORDS)


def test_a_tokenizer_that_knows_no_words_is_refused():
    with pytest.raises(ValueError, match="SimpleNamespace does not tell the words.*fast tokenizer"):
        read_sentences(SimpleNamespace(is_fast=False), [TEXT], 32)
