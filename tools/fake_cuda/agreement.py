"""Whether the ranks' messages fit together: the same collectives in the same order, and an end to each send.

Every rank's messages are taken in the order in which its host started them, and each is held to be blocking, which is
stricter than NCCL: what passes here cannot deadlock there. Sends and receives that are started as one batch go
together, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fake_cuda.messages import Message

Step = list[Message]  # one collective, or the sends and receives of a batch


def disagreements(ranks: Mapping[int, Sequence[Message]]) -> list[str]:
    """What is wrong, in words; empty if all ranks come to their end.

    Args:
        ranks: what each rank of the world started, in order.
    """
    errors = [f"rank {rank}: {error}" for rank, messages in ranks.items() for error in wrong_sizes(messages)]
    left = {rank: steps_of(messages) for rank, messages in ranks.items()}
    done = dict.fromkeys(left, 0)
    while any(left.values()):
        moved = False
        for rank in left:
            while left[rank]:
                found = _advance(rank, left)
                if isinstance(found, str):
                    return [*errors, found]
                if not found:
                    break
                for other in found:
                    done[other] += 1
                    left[other].pop(0)
                moved = True
        if not moved:
            heads = [
                f"rank {rank} at its message {done[rank]}: {told(steps[0])}" for rank, steps in left.items() if steps
            ]
            ended = [f"rank {rank} at its end" for rank, steps in left.items() if not steps]
            return [*errors, "the ranks wait for one another: " + "; ".join([*heads, *ended])]
    return errors


def wrong_sizes(messages: Sequence[Message]) -> list[str]:
    """Gathers and scatters whose parts do not make up the whole."""
    return [
        f"{told([message])}: {len(message.ranks)} parts of {message.own} elements"
        for message in messages
        if message.kind in ("all-gather", "reduce-scatter") and message.own * len(message.ranks) != message.elements
    ]


def steps_of(messages: Sequence[Message]) -> list[Step]:
    """Messages, those of a batch together."""
    steps: list[Step] = []
    for message in messages:
        if steps and message.batch is not None and message.batch == steps[-1][0].batch:
            steps[-1].append(message)
        else:
            steps.append([message])
    return steps


def told(step: Step) -> str:
    """In words."""
    words = []
    for message in step:
        kind = str(message.dtype).removeprefix("torch.")
        peer = "" if message.peer is None else f" {'to' if message.kind == 'send' else 'from'} {message.peer}"
        words.append(f"{message.kind} of {message.elements} {kind}{peer} among {message.ranks}")
    return " with ".join(words)


def _advance(rank: int, left: Mapping[int, list[Step]]) -> list[int] | str:
    """The ranks whose next step is done once this rank makes its own; none while others are not there; an error."""
    step = left[rank][0]
    if step[0].peer is not None:
        return _deliver(rank, left)
    group = step[0].ranks
    others = {other: left[other][0] for other in group if left.get(other)}
    if len(others) < len(group) or any(other[0].ranks != group for other in others.values()):
        return []
    for other, theirs in others.items():
        if theirs[0].call != step[0].call:
            return f"rank {rank} makes {told(step)}, rank {other} {told(theirs)}"
    return list(group)


def _deliver(rank: int, left: Mapping[int, list[Step]]) -> list[int] | str:
    """Matches what this rank's next batch sends and receives with the batches that its peers stand at."""
    for message in list(left[rank][0]):
        assert message.peer is not None
        theirs = left[message.peer][0] if left.get(message.peer) else []
        opposite = "receive" if message.kind == "send" else "send"
        ends = [m for m in theirs if m.kind == opposite and m.peer == rank and m.ranks == message.ranks]
        if not ends:
            continue
        if (ends[0].elements, ends[0].dtype) != (message.elements, message.dtype):
            return f"rank {rank}: {told([message])}; rank {message.peer}: {told([ends[0]])}"
        left[rank][0].remove(message)
        theirs.remove(ends[0])
    return [other for other in left if left[other] and not left[other][0]]
