"""`python -m difflab COMMAND ...`."""

from difflab.cli.main import main

if __name__ == "__main__":
    main()
