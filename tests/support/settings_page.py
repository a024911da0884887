"""The tables of docs/configuration.md and docs/router-configuration.md, from the settings themselves.

After a change of a setting: `.venv/bin/python -m tests.support.settings_page` writes the pages anew.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iam4kube.runtime.arguments import SettingsParser
from iam4kube.runtime.settings import add_settings
from iam4kube.server import settings as server_settings
from iam4kube.server.settings import ServerSettings
from ip2service import settings as router_settings
from ip2service.settings import RouterSettings

_DOCS = Path(__file__).parents[2] / "docs"
BEGIN = "<!-- from here on written by tests/support/settings_page.py -->\n"

_FACTS = re.compile(r"(?P<help>.*)\n\[(?P<default>.*); environment: (?P<variable>.*)\]", re.DOTALL)


@dataclass(frozen=True)
class SettingsPage:
    """A page about the settings of one program."""

    path: Path
    settings: type[Any]
    prefix: str

    def rendered(self) -> str:
        """The page as it should be: what a person wrote, then the tables."""
        written, _, _ = self.path.read_text().partition(BEGIN)
        return written + BEGIN + "\n".join(self._tables()) + "\n"

    def _tables(self) -> Iterator[str]:
        parser = SettingsParser(prog="any", add_help=False)
        add_settings(parser, self.settings, self.prefix)
        for group in parser._action_groups:
            if not group._group_actions:
                continue
            yield from ("", f"## {group.title}", "", "| flag | environment | default | |", "| --- | --- | --- | --- |")
            for action in group._group_actions:
                yield _row(action.option_strings[0], str(action.metavar), action.help or "")


PAGES = {
    "iam4kube serve": SettingsPage(_DOCS / "configuration.md", ServerSettings, server_settings.PREFIX),
    "ip2service run": SettingsPage(_DOCS / "router-configuration.md", RouterSettings, router_settings.PREFIX),
}


def _row(flag: str, metavar: str, help_text: str) -> str:
    facts = _FACTS.fullmatch(help_text.replace("%%", "%"))
    assert facts is not None, help_text
    value = metavar.replace("|", "\\|")
    default = facts["default"].removeprefix("default: ")
    shown = default if default in {"none", "required"} else f"`{default}`"
    return f"| `{flag}` {value} | `{facts['variable']}` | {shown} | {facts['help']} |"


if __name__ == "__main__":
    for page in PAGES.values():
        page.path.write_text(page.rendered())
