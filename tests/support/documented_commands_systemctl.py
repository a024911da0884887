"""systemctl, as far as a node of the tests has one: a unit that is enabled now runs its commands. Run as a program."""

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

_UNITS = Path("/etc/systemd/system")


def main() -> None:
    """Obey, or complain of what is not known here."""
    match sys.argv[1:]:
        case ["daemon-reload"] | ["disable", _]:
            pass
        case ["enable", *options, unit]:
            commands = _commands(unit)
            if "--now" in options:
                for command in commands:
                    subprocess.run(shlex.split(command), check=True)
        case unknown:
            sys.exit(f"systemctl {unknown}")


def _commands(unit: str) -> list[str]:
    lines = (_UNITS / unit).read_text().splitlines()
    settings = configparser.RawConfigParser(strict=False)
    settings.read_string("\n".join(lines))  # it is a unit at all
    assert settings["Service"]["Type"] == "oneshot"
    return [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]


if __name__ == "__main__":
    main()
