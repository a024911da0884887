"""`python -m ip2service`: the same as the installed command."""

import sys

from ip2service.cli import main

sys.exit(main())
