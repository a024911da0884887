"""The tables of docs/configuration.md, from the settings themselves.

After a change of a setting: `.venv/bin/python -m tests.support.settings_page` writes the page anew.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from iam4kube.runtime.arguments import SettingsParser
from iam4kube.runtime.settings import add_settings
from iam4kube.server.settings import PREFIX, ServerSettings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN = "<!-- from here on written by tests/support/settings_page.py -->\n"

_FACTS = re.compile(r"(?P<help>.*)\n\[(?P<default>.*); environment: (?P<variable>.*)\]", re.DOTALL)


def rendered_page() -> str:
    """The page as it should be: what a person wrote, then the tables."""
    written, _, _ = PAGE.read_text().partition(BEGIN)
    return written + BEGIN + "\n".join(_tables()) + "\n"


def _tables() -> Iterator[str]:
    parser = SettingsParser(prog="iam4kube serve", add_help=False)
    add_settings(parser, ServerSettings, PREFIX)
    for group in parser._action_groups:
        if not group._group_actions:
            continue
        yield from ("", f"## {group.title}", "", "| flag | environment | default | |", "| --- | --- | --- | --- |")
        for action in group._group_actions:
            yield _row(action.option_strings[0], str(action.metavar), action.help or "")


def _row(flag: str, metavar: str, help_text: str) -> str:
    facts = _FACTS.fullmatch(help_text.replace("%%", "%"))
    assert facts is not None, help_text
    value = metavar.replace("|", "\\|")
    default = facts["default"].removeprefix("default: ")
    shown = default if default in {"none", "required"} else f"`{default}`"
    return f"| `{flag}` {value} | `{facts['variable']}` | {shown} | {facts['help']} |"


if __name__ == "__main__":
    PAGE.write_text(rendered_page())
