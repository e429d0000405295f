"""Places sends and receives between the passes of a pipeline, so that no order of execution can deadlock.

A transfer goes from the rank that computed a tensor to the rank that needs it. NCCL runs the batches of a group one
after the other, and a message blocks its batch until the peer has posted its end. So all transfers get one order, and
each rank posts its own in that order:

    1. the passes are timed: forward 4, backward 8, and 1 for a tensor to get to another rank;
    2. a transfer's time is the end of the pass that makes its tensor; transfers of one time are one round;
    3. on both ranks a round stands after the passes that end by then and before those that end later.

Why nothing waits for ever: take passes and rounds by (time of the end, passes first). Every rank's list ascends in this
order, a sender's pass comes before its round, and the pass that needs the tensor starts after it was made, so it ends
after the round. The first thing not yet done in this order is therefore the next one on every rank that takes part in
it, even if messages went one by one and blocked both ends. To batch a round's messages only lets them go earlier.

Rule 3 posts a receive before the pass that runs while the tensor is made, where there is one: then the transfer
overlaps with it. The 1 of step 1 lets neighbours run a little apart, so that there is one wherever the schedule has
slack.
"""

from __future__ import annotations

from collections.abc import Sequence

from steel_megatron.parallel.pipeline.actions import Action, Kind, Placement, owners
from steel_megatron.parallel.pipeline.passes import Costs, pass_times

Actions = tuple[tuple[Action, ...], ...]


def with_transfers(orders: Sequence[Sequence[Action]], placement: Placement) -> Actions:
    """Each rank's passes with its sends and receives between them.

    Args:
        orders: for each rank its F, B and W actions in order.
        placement: the virtual stage of every rank's chunks.

    Raises:
        ScheduleError: the orders wait for one another.
    """
    owner = owners(placement)
    split = any(action.kind is Kind.WEIGHT_GRADIENT for order in orders for action in order)
    costs = Costs.uniform(len(owner), forward=4, backward=4 if split else 8, weight_gradient=4, transfer=1)
    times = pass_times(orders, placement, costs)
    # (end, 0) of a pass, (time, 1) of a transfer: sorted, this is the order of all ranks.
    lists: list[list[tuple[tuple[float, int], Action]]] = [[] for _ in orders]
    for rank, order in enumerate(orders):
        for action, (_, end) in zip(order, times[rank], strict=True):
            lists[rank].append(((end, 0), action))
            towards = 1 if action.kind is Kind.FORWARD else -1
            target = placement[rank][action.chunk] + towards
            if action.kind is Kind.WEIGHT_GRADIENT or not 0 <= target < len(owner) or owner[target][0] == rank:
                continue
            peer, chunk = owner[target]
            send, receive = _SENDS[action.kind]
            lists[rank].append(((end, 1), Action(send, action.chunk, action.micro_batch, peer)))
            lists[peer].append(((end, 1), Action(receive, chunk, action.micro_batch, rank)))
    moments = sorted({key[0] for entries in lists for key, _ in entries if key[1]})
    rounds = {moment: number for number, moment in enumerate(moments)}
    return tuple(tuple(_numbered(entries, rounds)) for entries in lists)


def _numbered(entries: list[tuple[tuple[float, int], Action]], rounds: dict[float, int]) -> list[Action]:
    # Sorting is stable: within a round all ranks have the messages in the order in which the loop above came to them.
    entries.sort(key=lambda entry: entry[0])
    return [action._replace(round=rounds[key[0]]) if key[1] else action for key, action in entries]


_SENDS = {
    Kind.FORWARD: (Kind.SEND_ACTIVATION, Kind.RECEIVE_ACTIVATION),
    Kind.BACKWARD: (Kind.SEND_GRADIENT, Kind.RECEIVE_GRADIENT),
}
