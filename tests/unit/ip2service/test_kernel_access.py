"""What is made of a layout on kernels that lack a family."""

import pytest

from ip2service.kernel_access import within
from ip2service.layout import Family, Layout


def test_a_kernel_without_ipv6_is_asked_for_nothing_of_it() -> None:
    """`ipv6.disable=1` is common, and the default settings have to do for it."""
    assert list(within(Layout(), ipv6=False).intercepted) == [Family.IPV4]


@pytest.mark.parametrize("ipv6", [True, False])
def test_what_the_settings_ask_for_alone_is_tried_all_the_same(ipv6: bool) -> None:
    """Only then does the kernel's refusal reach who has asked for it."""
    only = Layout(intercepted={Family.IPV6: Layout().intercepted[Family.IPV6]})
    assert within(only, ipv6=ipv6) == only
    assert within(Layout(), ipv6=True) == Layout()
