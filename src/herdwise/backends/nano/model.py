"""A nano model in memory: one answer token by token, or many at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from herdwise.backends.nano.folder import NanoConfig, Tensors, read_model
from herdwise.backends.nano.forward import Batch
from herdwise.backends.nano.sampling import Sampler, Token
from herdwise.backends.nano.tokens import END, PAD, ByteTokens
from herdwise.backends.nano.weights import fuse
from herdwise.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one prompt, greedily.

    Args:
        text: without the end mark.
        tokens: of it, the end mark not among them.
        logprobs: of each token, and of the end mark where ``ended``.
        ended: whether the model ended it; else it ran out of room.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


class NanoModel:
    """A small Llama over bytes. Nothing in it changes after loading, so threads may share one.

    Args:
        config: shape and alphabet.
        tensors: by Hugging Face's names, float32.
    """

    def __init__(self, config: NanoConfig, tensors: Tensors) -> None:
        self.config, self.tokens = config, ByteTokens(config.words)
        self._weights = fuse(config, tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a model folder.

        Raises:
            ArtefactError: when it is missing, damaged, or of another format.
        """
        return cls(*read_model(folder))

    def room(self, prompt: Sequence[int]) -> int:
        """Tokens that an answer to this prompt may have.

        Raises:
            InputError: when there is none.
        """
        room = self.config.max_context - len(prompt)
        if room < 1:
            raise InputError(
                f"a prompt of {len(prompt)} tokens in a context of {self.config.max_context} leaves no room.",
                remedy="Ask more briefly.",
            )
        return room

    def generate(
        self,
        prompt: Sequence[int],
        max_new: int,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        n_top: int = 0,
    ) -> Iterator[Token]:
        """An answer, token by token; the end mark is told too, and ends it.

        Args:
            prompt: as ``tokens.encode_prompt`` makes it.
            max_new: tokens at most; the context may hold fewer.
            temperature, top_p, seed, n_top: see ``Sampler``.

        Raises:
            InputError: when the context has no room, or a setting is out of range. At the first token.
        """
        most = min(max_new, self.room(prompt))
        sampler = Sampler(temperature, top_p, seed, n_top)
        if most < 1:
            return
        batch = Batch(self.config, self._weights, 1, len(prompt) + most)
        told = sampler.pick(batch.read(np.array([prompt]), np.zeros(1, np.intp))[0])
        yield told
        text = batch.grow()
        for _ in range(most - 1):
            if told.token == END:
                return
            told = sampler.pick(text.read(told.token))
            yield told

    def answer_all(
        self, prompts: Sequence[str], max_new: int | None = None, n_together: int = 128
    ) -> list[str]:
        """Greedy answers to many prompts, in their order: ``answers`` without the rest."""
        return [answer.text for answer in self.answers(prompts, max_new, n_together)]

    def answers(
        self, prompts: Sequence[str], max_new: int | None = None, n_together: int = 128
    ) -> list[Answer]:
        """Greedy answers to many prompts, in their order; much faster than one by one.

        Sums of several texts are added up in another order than those of one, so where two tokens are
        equally likely to six digits the choice may differ from ``generate``'s.

        Args:
            prompts: texts.
            max_new: tokens of an answer at most; None = as many as the context holds.
            n_together: prompts that are read in one pass.

        Raises:
            InputError: when the context has no room for an answer to one of them.
        """
        encoded = [self.tokens.encode_prompt(prompt) for prompt in prompts]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        found: dict[int, Answer] = {}
        for start in range(0, len(order), n_together):
            chosen = order[start : start + n_together]
            together = self._together([encoded[i] for i in chosen], max_new)
            found.update(zip(chosen, together, strict=True))
        return [found[i] for i in range(len(encoded))]

    def _together(self, prompts: Sequence[Sequence[int]], max_new: int | None) -> list[Answer]:
        longest = max(map(len, prompts))
        most = self.room(max(prompts, key=len))
        most = most if max_new is None else min(most, max_new)
        said: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        ended = [False] * len(prompts)
        batch = Batch(self.config, self._weights, len(prompts), longest + most)
        tokens: NDArray[np.intp] = np.full((len(prompts), longest), PAD)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[longest - len(prompt) :] = prompt
        pads = longest - np.array([len(prompt) for prompt in prompts])
        going = np.arange(len(prompts))
        for _ in range(most):
            logits = batch.read(tokens, pads)
            logits[:, PAD:END] = -np.inf
            best = logits.argmax(axis=1)
            logits -= np.take_along_axis(logits, best[:, None], axis=1)
            sure = -np.log(np.exp(logits).sum(axis=1))
            for i, token, logprob in zip(going.tolist(), best.tolist(), sure.tolist(), strict=True):
                logprobs[i].append(logprob)
                if token == END:
                    ended[i] = True
                else:
                    said[i].append(token)
            left = np.flatnonzero(best != END)
            if not len(left):
                break
            if len(left) < len(going):
                batch.keep(left)
                going = going[left]
            tokens = best[left, None]
        return [
            Answer(self.tokens.decode(s), tuple(s), tuple(p), e)
            for s, p, e in zip(said, logprobs, ended, strict=True)
        ]
