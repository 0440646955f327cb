from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from herdwise.backends.nano.folder import NanoConfig, read_model
from herdwise.backends.nano.model import NanoModel
from herdwise.backends.nano.sampling import Sampler
from herdwise.backends.nano.tokens import END, PAD
from herdwise.core.errors import InputError

F64 = NDArray[np.float64]


@pytest.fixture(scope="module")
def model(nano_folder: Path) -> NanoModel:
    return NanoModel.load(nano_folder)


def log_probabilities(config: NanoConfig, tensors: dict[str, F64], tokens: list[int]) -> F64:
    """Llama as its papers write it, in float64, each token against each: what may follow the last."""
    t, hd = len(tokens), config.head_dim

    def normed(x: F64, name: str) -> F64:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps) * tensors[f"{name}.weight"]

    def turned(x: F64) -> F64:
        angle = np.arange(t)[:, None] * config.rope_theta ** (-np.arange(0, hd, 2) / hd)
        angle = np.concatenate([angle, angle], -1)
        rotated = np.concatenate([-x[..., hd // 2 :], x[..., : hd // 2]], -1)
        return x * np.cos(angle) + rotated * np.sin(angle)

    x = tensors["model.embed_tokens.weight"][tokens]
    for i in range(config.layers):
        at = f"model.layers.{i}"
        h = normed(x, f"{at}.input_layernorm")
        q, k, v = (
            (h @ tensors[f"{at}.self_attn.{p}_proj.weight"].T).reshape(t, -1, hd).swapaxes(0, 1)
            for p in "qkv"
        )
        k, v = (np.repeat(part, config.heads // config.kv_heads, axis=0) for part in (k, v))
        scores = turned(q) @ turned(k).swapaxes(1, 2) / np.sqrt(hd)
        scores = np.where(np.tri(t, dtype=bool), scores, -np.inf)
        seen = np.exp(scores - scores.max(-1, keepdims=True))
        seen = (seen / seen.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(t, -1)
        x = x + seen @ tensors[f"{at}.self_attn.o_proj.weight"].T
        h = normed(x, f"{at}.post_attention_layernorm")
        gate, up = (h @ tensors[f"{at}.mlp.{p}_proj.weight"].T for p in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ tensors[f"{at}.mlp.down_proj.weight"].T
    logits = normed(x, "model.norm")[-1] @ tensors["model.embed_tokens.weight"].T
    logits[PAD:END] = -np.inf
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def test_every_token_of_an_answer_is_what_the_papers_formulas_say(
    nano_folder: Path, model: NanoModel
) -> None:
    config, read = read_model(nano_folder)
    tensors = {name: tensor.astype(np.float64) for name, tensor in read.items()}
    for question in ("hello there", "x"):
        said = model.tokens.encode_prompt(question)
        for token in model.generate(said, 8, n_top=3):
            expected = log_probabilities(config, tensors, said)
            assert token.token == expected.argmax()
            assert token.logprob == pytest.approx(expected.max(), abs=1e-4)
            assert [t for t, _ in token.top] == np.argsort(-expected)[:3].tolist()
            np.testing.assert_allclose([p for _, p in token.top], np.sort(expected)[::-1][:3], atol=1e-4)
            said.append(token.token)


def test_prompts_of_different_length_answered_together_are_answered_as_one_by_one(model: NanoModel) -> None:
    prompts = ["hello", "a", "what is it that you say?", "hello hello", "z" * 40, "a"]
    together = model.answers(prompts, 20, n_together=4)
    for prompt, answer in zip(prompts, together, strict=True):
        alone = list(model.generate(model.tokens.encode_prompt(prompt), 20))
        assert answer.tokens == tuple(t.token for t in alone if t.token != END)
        assert answer.ended == (alone[-1].token == END)
        np.testing.assert_allclose(answer.logprobs, [t.logprob for t in alone], atol=1e-4)
        assert answer.text == model.tokens.decode(answer.tokens)
    assert model.answer_all(prompts, 20) == [answer.text for answer in together]


def test_no_prompts_have_no_answers(model: NanoModel) -> None:
    assert model.answer_all([]) == []


def test_an_answer_ends_where_the_context_does(model: NanoModel) -> None:
    prompt = model.tokens.encode_prompt("q" * (model.config.max_context - 6))
    assert len(list(model.generate(prompt, 100))) <= 4
    assert len(list(model.generate(prompt, 2))) <= 2
    assert list(model.generate(prompt, 0)) == []


def test_a_prompt_that_leaves_no_room_is_refused(model: NanoModel) -> None:
    prompt = model.tokens.encode_prompt("q" * model.config.max_context)
    with pytest.raises(InputError, match="leaves no room"):
        next(model.generate(prompt, 1))
    with pytest.raises(InputError, match="leaves no room"):
        model.answer_all(["short", "q" * model.config.max_context])


def test_a_seed_repeats_its_draws_and_another_draws_others(model: NanoModel) -> None:
    prompt = model.tokens.encode_prompt("hello")

    def drawn(seed: int) -> list[int]:
        return [t.token for t in model.generate(prompt, 30, temperature=2.0, seed=seed)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_drawn_tokens_are_as_frequent_as_probable_and_top_p_leaves_out_the_rest() -> None:
    logits = np.full(300, -np.inf, np.float32)
    logits[:4] = np.log([0.5, 0.25, 0.15, 0.1])
    sampler = Sampler(temperature=1.0, seed=0)
    counts = np.bincount([sampler.pick(logits.copy()).token for _ in range(4000)], minlength=4)
    np.testing.assert_allclose(counts / 4000, [0.5, 0.25, 0.15, 0.1], atol=0.03)
    # 0.5 + 0.25 reaches 0.7, so only two are left, as 2 to 1.
    few = Sampler(temperature=1.0, top_p=0.7, seed=0)
    counts = np.bincount([few.pick(logits.copy()).token for _ in range(4000)], minlength=4)
    np.testing.assert_allclose(counts / 4000, [2 / 3, 1 / 3, 0, 0], atol=0.03)


def test_marks_other_than_the_end_are_never_said() -> None:
    logits = np.zeros(260, np.float32)
    logits[PAD:END] = 50
    logits[7] = 1
    assert Sampler().pick(logits).token == 7


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"n_top": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="out of range"):
        Sampler(**settings)  # type: ignore[arg-type]
