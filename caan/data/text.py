"""Descriptions as tensors: tokenizer, sentences of the seen classes, and the features that a frozen text encoder gives."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class DescriptionTokens(NamedTuple):
    """Token ids of the training classes' sentences in the order of their labels; both (classes, sentences, length)."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor


def collect_descriptions(
    labels: Sequence[int],
    descriptions: Sequence[Sequence[str]],
    names: Sequence[str],
    own: Mapping[str, Sequence[str]] | None = None,
) -> dict[int, list[str]]:
    """Sentences of each class that occurs in a split, from its columns `label` and `descriptions`, and the class `names`.

    Args:
        own: class name -> sentences of the user's own, in place of all that come with the data.

    Raises:
        ValueError: naming the classes that have none.
    """
    table: dict[int, list[str]] = {}
    for label, sentences in zip(labels, descriptions):
        given = (sentences if own is None else own.get(names[label])) or ()
        table.setdefault(label, [s for s in given if s.strip()])
    missing = [names[label] for label in sorted(table) if not table[label]]
    if missing:
        raise ValueError(
            f"No description for {', '.join(missing[:10])}{' ...' if len(missing) > 10 else ''}. "
            "Write one with `caan describe`, or train without text: model_config: {use_text: false}."
        )
    return table


def tokenize_descriptions(tokenizer, table: Mapping[int, Sequence[str]], max_length: int) -> DescriptionTokens:
    """Tokens of the classes in `table`, a row each, in the order of their labels.

    A class with fewer sentences than another repeats its own, so that no row is empty.
    """
    most = max(len(sentences) for sentences in table.values())
    flat = [table[label][i % len(table[label])] for label in sorted(table) for i in range(most)]
    tokens = tokenizer(flat, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    shape = (len(table), most, -1)
    return DescriptionTokens(tokens["input_ids"].view(shape), tokens["attention_mask"].view(shape))


def train_tokenizer(sentences: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer of these sentences alone, for runs without a pretrained text encoder.

    The trainer numbers the pieces "##a" by the moment's hash order, and merges depend on the numbers: a resumed run, or a
    second process, would read the sentences as others. So they are given to it as special tokens, which keep their order.
    """
    tokenizer = wordpiece_tokenizer(models.WordPiece(unk_token="[UNK]"))
    texts = [tokenizer.normalizer.normalize_str(sentence) for sentence in sorted(set(sentences))]
    words = {word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    pieces = [f"##{letter}" for letter in sorted({letter for word in words for letter in word[1:]})]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=[*SPECIAL_TOKENS, *pieces], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = wordpiece_tokenizer(models.WordPiece(vocab=tokenizer.get_vocab(), unk_token="[UNK]"))  # pieces not special
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def wordpiece_tokenizer(model: models.WordPiece) -> Tokenizer:
    """Lower-case words and punctuation marks, cut into the model's pieces and joined again by `decode`."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


class DescriptionSource:
    """Gives each training step the text inputs of the model; features of a frozen encoder are computed once.

    Args:
        model: a `CAANModel` on its device. tokens: its seen classes' sentences.
        sentences_per_step: sentences of each class a step reads, drawn from the global torch generator; 0 = all.
    """

    def __init__(self, model, tokens: DescriptionTokens, sentences_per_step: int = 0):
        self.tokens = DescriptionTokens(*(t.to(model.device) for t in tokens))
        self.sentences_per_step = sentences_per_step or tokens.input_ids.shape[1]
        self.features = None
        if model.config.freeze_text_encoder:
            features, mask = zip(*(model.encode_descriptions(*(t[None] for t in rows)) for rows in zip(*self.tokens)))
            shape = self.tokens.input_ids.shape
            self.features = (
                torch.cat(features).view(*shape, -1),
                torch.cat(mask).view(shape),
            )

    def step_inputs(self) -> dict[str, torch.Tensor]:
        """Keyword arguments of `CAANModel.forward` for this step."""
        chosen = torch.randperm(self.tokens.input_ids.shape[1])[: self.sentences_per_step]
        if self.features is None:
            ids, mask = (t[:, chosen] for t in self.tokens)
            return {"input_ids": ids, "attention_mask": mask}
        features, mask = (t[:, chosen].flatten(1, 2) for t in self.features)
        return {"text_features": features, "text_mask": mask}
