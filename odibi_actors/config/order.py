"""Sorting what depends on each other: nodes by their inputs, pipelines by what they come after."""

from __future__ import annotations

from heapq import heapify, heappop, heappush


def sort_nodes(edges: dict[str, list[str]]) -> tuple[list[str], list[list[str]]]:
    """Topological order of ``edges`` (node -> its inputs, all of them nodes), ties in the order of the keys, and the
    cycles that stand in the way, each from a node to its input, and so on, until the first is met again."""
    order: list[str] = []
    cycles: list[list[str]] = []
    left = dict(edges)
    while left:
        order += _ready(left)
        for name in order:
            left.pop(name, None)
        if left:
            cycle = _cycle(left)
            cycles.append(cycle)
            left = {name: inputs for name, inputs in left.items() if name not in cycle}
    return order, cycles


def _ready(edges: dict[str, list[str]]) -> list[str]:
    """Kahn's algorithm; nodes on or behind a cycle do not come out."""
    rank = {name: index for index, name in enumerate(edges)}
    waiting = {name: len([i for i in inputs if i in rank]) for name, inputs in edges.items()}
    followers: dict[str, list[str]] = {name: [] for name in edges}
    for name, inputs in edges.items():
        for given in inputs:
            if given in rank:
                followers[given].append(name)
    names = list(edges)
    heap = [rank[name] for name, count in waiting.items() if count == 0]
    heapify(heap)
    order: list[str] = []
    while heap:
        order.append(names[heappop(heap)])
        for follower in followers[order[-1]]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heappush(heap, rank[follower])
    return order


def _cycle(edges: dict[str, list[str]]) -> list[str]:
    """A cycle; every node of ``edges`` has an input among them."""
    path = [next(iter(edges))]
    while True:
        following = next(name for name in edges[path[-1]] if name in edges)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
