"""The three ways in which a script ends early. This module imports nothing."""


class UsageError(Exception):
    """The command asks for something that cannot be: exit status 2, and the message says what to change."""


class RunError(Exception):
    """The command was fine and the run was not (data, disk, divergence): exit status 1."""


class Stopped(Exception):
    """A signal asked the training to stop, after everything was saved: exit status 130."""
