"""What several test files share: plain modules, imported as `from helpers.conf import ...`."""
