"""What runs in a pod: boto3, which nobody has told anything. It says who it is to STS, a line of JSON each time.

    python -P boto3_pod.py TIMES        0: for ever

Every time with a new session, so that each one asks the metadata service.
"""

import json
import sys
import time
from itertools import count

import boto3
from botocore.exceptions import BotoCoreError, ClientError

_PAUSE = 0.1  # seconds


def identity() -> dict[str, str]:
    """The caller's ARN, or why there is none."""
    try:
        return {"arn": boto3.Session().client("sts").get_caller_identity()["Arn"]}
    except (BotoCoreError, ClientError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Ask, and write down what came of it."""
    times = int(sys.argv[1])
    for _ in range(times) if times else count():
        sys.stdout.write(json.dumps(identity()) + "\n")
        sys.stdout.flush()
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
