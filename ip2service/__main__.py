"""`python -m ip2service`: the same as the installed command."""

from ip2service.cli import main

main()
