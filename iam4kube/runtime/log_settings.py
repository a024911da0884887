"""The settings of logs, the same for both programs."""

from dataclasses import dataclass

from iam4kube.runtime.logs import FORMATS, LEVELS
from iam4kube.runtime.parsing import choice
from iam4kube.runtime.settings import setting


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """How logs look."""

    log_format: str = setting(
        "auto",
        parse=choice(*FORMATS),
        metavar="|".join(FORMATS),
        help="JSON for machines, text for people; auto is text on a terminal, else JSON.",
    )
    log_level: str = setting("info", parse=choice(*LEVELS), metavar="|".join(LEVELS), help="The least that is logged.")
