"""A local language model as the back end: anything `AutoModelForCausalLM` loads, from the Hub, a folder, or a GGUF file.

Sampling is by the Gumbel-max trick: the arg max of (warped logits + Gumbel noise) is a draw from their softmax. The noise of
a row comes from that row's own seeded generator on the CPU, so that an answer does not depend on its place in a batch, on
the answers before it, or on the kind of device, which `generate(do_sample=True)` with one global generator cannot give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import TemperatureLogitsWarper, TopPLogitsWarper

from .backends import Answer, BackendError, Request
from .prompts import Generation


class GumbelNoise(LogitsProcessor):
    """Adds standard Gumbel noise to the logits, row by row, from `seeds` (one a row). Softmax sampling by arg max."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        exponential = [torch.empty(scores.shape[-1]).exponential_(generator=g) for g in self.generators]
        return scores - torch.stack(exponential).log().to(scores.device)  # (batch_size, vocab_size)


class LocalBackend:
    """A causal language model with a chat template.

    `model` is a Hub id, a folder, or the path of a `.gguf` file; `gguf_file` names such a file in a Hub repository or folder
    (needs the package `gguf`). `device` None takes an accelerator if there is one; `dtype` is a torch dtype's name or "auto".
    Raises `BackendError` when the model cannot be loaded or has no chat template.
    """

    whole_batches = True

    def __init__(
        self, model: str, gguf_file: str | None = None, device: str | None = None, dtype: str = "auto", revision: str = "main"
    ) -> None:
        path = Path(model)
        # A local path would say where this machine keeps its files, and lines are made to be published: its name will do.
        name = path.resolve().name if path.exists() else model
        self.model = f"{name}/{gguf_file}" if gguf_file else name
        if path.suffix == ".gguf":
            model, gguf_file = str(path.parent), path.name
        source = {"revision": revision} | ({"gguf_file": gguf_file} if gguf_file else {})
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left", **source)
            self.network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **source).eval()
        except ImportError as error:
            raise BackendError(f'{model}: {error} (for GGUF files: pip install -e ".[descriptions]")') from error
        except Exception as error:  # a broken folder raises whatever its parts raise: JSON, safetensors and shape errors
            raise BackendError(f"{model}: cannot be loaded as a causal language model: {error}") from error
        if not self.tokenizer.chat_template:
            raise BackendError(f"{model}: its tokenizer has no chat template; take an instruction-tuned model")
        fastest = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        try:
            self.device = torch.device(device or fastest or "cpu")
            self.network.to(self.device)
        except (RuntimeError, AssertionError) as error:  # a torch without CUDA raises AssertionError
            raise BackendError(f"--device {device or fastest} cannot be used: {error}") from error
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token

    def ask(self, requests: Sequence[Request], generation: Generation) -> Iterator[tuple[int, Answer]]:
        """Answer a batch at once (left-padded); see `Backend.ask`."""
        inputs = self._encode(requests).to(self.device)
        config = GenerationConfig(
            max_new_tokens=generation.max_new_tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=self._end_tokens(),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        try:
            with torch.inference_mode():
                output = self.network.generate(
                    **inputs, generation_config=config, logits_processor=self._sampling(requests, generation)
                )  # (batch_size, prompt_length + new_tokens)
        except torch.OutOfMemoryError as error:
            raise BackendError(f"{self.device} ran out of memory: lower --batch_size (now {len(requests)})") from error
        ends = torch.tensor(self._end_tokens())
        for position, row in enumerate(output[:, inputs["input_ids"].shape[1] :].cpu()):
            text = self.tokenizer.decode(row, skip_special_tokens=True)
            yield position, Answer(text, complete=bool(torch.isin(row, ends).any()))

    def _sampling(self, requests: Sequence[Request], generation: Generation) -> LogitsProcessorList:
        if generation.temperature == 0:
            return LogitsProcessorList()
        return LogitsProcessorList(
            [
                TemperatureLogitsWarper(float(generation.temperature)),
                TopPLogitsWarper(float(generation.top_p)),
                GumbelNoise([request.seed for request in requests]),
            ]
        )

    def _end_tokens(self) -> list[int]:
        ends = self.network.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return sorted({token for token in (*ends, self.tokenizer.eos_token_id) if token is not None})

    def _encode(self, requests: Sequence[Request]):
        options = {"add_generation_prompt": True, "padding": True, "return_tensors": "pt", "return_dict": True}
        try:
            return self.tokenizer.apply_chat_template([_messages(r) for r in requests], **options)
        except TemplateError:  # some templates (Gemma's) know no system role
            return self.tokenizer.apply_chat_template([_messages(r, system_role=False) for r in requests], **options)


def _messages(request: Request, system_role: bool = True) -> list[dict[str, str]]:
    if system_role and request.system:
        return [{"role": "system", "content": request.system}, {"role": "user", "content": request.question}]
    return [{"role": "user", "content": f"{request.system}\n\n{request.question}".strip()}]
