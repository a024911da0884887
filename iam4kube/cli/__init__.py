"""The `iam4kube` command: arguments in, exit code out. What a command does belongs to the packages below."""


def main() -> int:
    """Run the command line. Placeholder until the commands land."""
    return 2
