"""The image of the AWS CLI, as far as documentation uses it: unmodified boto3 makes the call. Run as a program."""

import json
import os
import sys
from typing import Any

import boto3
from botocore.exceptions import NoCredentialsError


def main() -> None:
    """`aws SERVICE OPERATION`: print the answer, or what boto3 complains of, as the CLI does."""
    service, operation = sys.argv[1:]
    region = os.environ["AWS_REGION"]  # boto3 by itself knows only AWS_DEFAULT_REGION
    client: Any = boto3.client(service, region)  # type: ignore[call-overload]  # it lists the services by name
    try:
        answer = getattr(client, operation.replace("-", "_"))()
    except NoCredentialsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(253)
    shown = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    sys.stdout.write(f"{json.dumps(shown, indent=4)}\n")


if __name__ == "__main__":
    main()
