from herdwise.answers.signals import completion_signals, read_signals, repetition
from herdwise.core.completion import Completion


def test_a_limit_is_known_from_the_finish_reason_only() -> None:
    assert read_signals("and then", "length").truncated is True
    assert read_signals("and then", "stop").truncated is False
    assert read_signals("and then").truncated is None
    assert read_signals("and then", "something_new").truncated is None


def test_a_text_without_closing_punctuation_is_unclosed() -> None:
    assert read_signals("and then").unclosed
    assert not read_signals("and then.").unclosed
    assert not read_signals("").unclosed


def test_a_loop_repeats_and_prose_does_not() -> None:
    assert repetition("We can try again. " * 40) > 0.9
    assert repetition("Every word of this sentence stands in it just a single time.") == 0.0
    assert repetition("short") == 0.0


def test_lengths_leave_thinking_out() -> None:
    signals = read_signals("<think>long thoughts</think>two words")
    assert (signals.words, signals.chars) == (2, 9)


def test_a_completions_own_fields_are_read() -> None:
    signals = completion_signals(Completion("ant", "", finish_reason="content_filter"))
    assert (signals.refusal, signals.truncated) == ("empty", None)


def test_what_it_states_of_itself_and_its_tokens_are_among_the_signals() -> None:
    content = [{"token": "(", "logprob": -0.1}, {"token": "B", "logprob": -0.5}]
    call = {"type": "function", "function": {"name": "f", "arguments": "{"}}
    body = {"choices": [{"message": {"tool_calls": [call]}, "logprobs": {"content": content}}]}
    signals = completion_signals(Completion("ant", "Perhaps (B). Confidence: 60%", body=body), "B")
    assert (signals.stated, signals.hedges, signals.malformed) == (0.6, 1, "tool_call")
    assert signals.logprobs is not None
    assert (signals.logprobs.answer, signals.logprobs.minimum) == (-0.5, -0.5)
    assert read_signals("Plainly (B).").logprobs is None
