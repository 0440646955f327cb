"""Conversations: the candidate that has the thread keeps it, unless another is predicted clearly better."""

from __future__ import annotations

from collections.abc import Sequence

from herdwise.routing.base import Situation


def kept(order: Sequence[int], reason: str, situation: Situation) -> tuple[list[int], str]:
    """The ranking with the thread's candidate first, where it keeps the conversation, and why.

    Its prompt cache is warm and its style known; a change costs the user more than a hair of predicted
    quality is worth. So another takes over only where its utility is higher by more than
    ``goals.switch_margin``. Within a tool loop nobody takes over: the calls are the candidate's own.

    Args:
        order: positions, the best first, unhealthy ones last.
        reason: why the first is first.
        situation: the scene; ``situation.thread`` says who has the conversation.
    """
    order = list(order)
    thread = situation.thread
    if thread.candidate is None or thread.candidate not in order or not order:
        return order, reason
    healthy = situation.healthy
    if healthy is not None and not healthy[thread.candidate] and healthy[order[0]]:
        return order, f"{reason}; {situation.herd[thread.candidate].name}, who had the thread, is unhealthy"
    keeper = situation.herd[thread.candidate].name
    first = [thread.candidate, *(position for position in order if position != thread.candidate)]
    if thread.tool_loop:
        return first, f"{keeper} is in the midst of a tool loop"
    margin = situation.goals.switch_margin
    gain = float(situation.utility[order[0]] - situation.utility[thread.candidate])
    if order[0] == thread.candidate:
        return order, f"{reason}; it has the thread"
    if gain > margin:
        return order, f"{reason}, {gain:.3f} above {keeper}, who had the thread (margin {margin:g})"
    return first, f"{keeper} keeps the thread: a gain of {gain:.3f} is within the margin of {margin:g}"
