"""`python -m iam4kube`: the same as the installed command."""

import sys

from iam4kube.cli import main

sys.exit(main())
