"""The command `strongroom`: what operators and scripts type."""

from __future__ import annotations

from infra.offline import close_phone_lines


def main() -> None:
    """Run the command line; this is the console script's entry point."""
    # Libraries read their switches when they are imported, so this comes before every other import.
    close_phone_lines()
    from services.cli.program import run

    run()
