"""Entry point: ``braindiffusion`` and ``python -m braindiffusion``."""

from __future__ import annotations


def main() -> None:
    """Run the command line; errors meant for the user end with their exit code and no traceback."""
    from braindiffusion.cli.app import app

    app()


if __name__ == "__main__":
    main()
