"""Cutting a stream into lines: however the bytes arrive, the lines are the same."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iam4kube.kube.errors import KubeUnreachable, OddObject
from iam4kube.kube.lines import LINE_LIMIT, lines_of


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body that arrives in these pieces."""
    for piece in pieces:
        yield piece


async def collected(*pieces: bytes) -> list[bytes]:
    """All lines of a stream."""
    return [line async for lines in lines_of(stream(*pieces)) for line in lines]


@given(
    lines=st.lists(st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line), max_size=8),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
async def test_the_cuts_do_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    """A body cut anywhere, or nowhere, has the same lines."""
    body = b"".join(line + b"\n" for line in lines)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert await collected(*pieces) == lines


async def test_lines_that_come_together_are_given_together() -> None:
    """One piece with three lines is one list: nobody waits between them."""
    assert [lines async for lines in lines_of(stream(b"a\nb\nc\n", b"d\n"))] == [[b"a", b"b", b"c"], [b"d"]]


async def test_a_stream_that_ends_within_a_line_is_cut() -> None:
    """The whole lines before it count; the half one is an error, never a line."""
    lines = lines_of(stream(b"a\n", b"hal"))
    assert await anext(lines) == [b"a"]
    with pytest.raises(KubeUnreachable, match="middle of a line"):
        await anext(lines)


async def test_a_line_without_an_end_does_not_fill_memory() -> None:
    """Beyond 8 MiB the stream is given up."""
    with pytest.raises(OddObject, match="bytes"):
        await collected(*[b"x" * 2**20] * (LINE_LIMIT // 2**20 + 1))
