"""What the kernel refuses at start, as lines for whoever started the program."""

import contextlib
from collections.abc import Iterator

from iam4kube.runtime.mistakes import SettingsError
from ip2service.kernel_protocols import ForeignTable, KernelError


@contextlib.contextmanager
def kernel_mistakes() -> Iterator[None]:
    """Turn a missing capability, a kernel without what is needed, and somebody else's table into `SettingsError`s."""
    try:
        yield
    except ForeignTable as error:
        raise SettingsError(error.mistakes) from error
    except KernelError as error:
        raise SettingsError([str(error)]) from error
