"""Real signals to this process: what the first one, a second one and an echo do, in a training and outside of one."""

import os
import signal
import time

import pytest

from bench.utils.stop_signals import SIGNALS, stoppable


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_of_a_training_is_noted_and_a_second_one_stops_at_once(number):
    with stoppable() as stop:
        stop.training = True
        send(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            send(number)


def test_outside_of_a_training_the_first_signal_is_noted_and_stops_at_once():
    with stoppable() as stop:
        with pytest.raises(KeyboardInterrupt):
            send()
        assert stop.requested


def test_signals_that_are_passed_on_right_after_the_first_are_its_echo_and_later_ones_are_not():
    with stoppable(echo_seconds=0.5) as stop:
        stop.training = True
        send(signal.SIGINT)
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert stop.requested
        time.sleep(0.6)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)


def test_an_echo_does_not_interrupt_what_cleans_up_after_the_first_signal():
    with stoppable(echo_seconds=0.5):
        with pytest.raises(KeyboardInterrupt):
            send()
        send()


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stoppable():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
