"""`python -m services.cli`: how a detached server starts itself, whatever the console script is called."""

from services.cli import main

main()
