"""`python -m trainer_ext COMMAND ...`, and the installed command `trainer-ext`."""

from trainer_ext.cli import commands
from trainer_ext.errors import run_main


def main() -> None:
    """Run a subcommand; what it raises becomes one line and an exit status."""
    run_main(commands.main)


if __name__ == "__main__":
    main()
