"""File descriptors: as many as the process may have."""

import resource
from collections.abc import Iterator

import pytest

from iam4kube.runtime.descriptors import raise_descriptor_limit


@pytest.fixture(autouse=True)
def low_soft_limit() -> Iterator[None]:
    """As containerd starts a container; put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_becomes_the_hard_one() -> None:
    """A soft limit of 1,024 would be used up by the connections of eleven pods."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert raise_descriptor_limit() == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
