"""What runs in a client pod, too: unmodified boto3, which nobody has told anything, in a new session each time.

    python -P upgrade_boto3.py SECONDS_BETWEEN_CALLS

Its lines are those of upgrade_client.py.
"""

import sys
import time

import boto3


def main() -> None:
    """Ask until the process is ended."""
    pause = float(sys.argv[1])
    while True:
        began = time.monotonic()
        credentials = boto3.Session().get_credentials()
        outcome = "ok" if credentials is not None and credentials.method == "iam-role" else f"got:{credentials}"
        sys.stdout.write(f"boto3 {began:.4f} {time.monotonic() - began:.4f} {outcome.replace(' ', '_')}\n")
        sys.stdout.flush()
        time.sleep(pause)


if __name__ == "__main__":
    main()
