"""Signals that ask a process to stop."""

import os
import signal
import time

import pytest

from difflab.experiment.machine.signals import handled, none_lost, stop


class Signalled:
    """Its destructor, where Python ignores exceptions, is where a signal arrives."""

    def __init__(self, signum):
        self.signum = signum

    def __del__(self):
        os.kill(os.getpid(), self.signum)
        time.sleep(0.0)


def long(signum):
    """A job in which a signal arrives in a destructor."""
    del [Signalled(signum)][0]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.01)


@pytest.fixture
def heard():
    """SIGINT is a KeyboardInterrupt, also where a shell has started the tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("signum", "end"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_that_arrives_where_exceptions_are_ignored_is_not_lost(signum, end):
    with pytest.raises(end), handled(stop, signal.SIGTERM), none_lost():
        long(signum)
