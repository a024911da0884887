"""`python -m iam4kube`: the same as the installed command."""

from iam4kube.cli import main

main()
