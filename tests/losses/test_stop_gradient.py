"""Functions with stop-gradients, held where they are so that finite differences can be taken."""

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from losses.testing.stop_gradient import hold_detached


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_what_is_detached_keeps_its_value_and_the_rest_moves():
    held = hold_detached(lambda x: x * x.detach() + x, tensor(3.0))
    assert held(tensor(3.0)).tolist() == [12]
    assert held(tensor(5.0)).tolist() == [20]  # 5 · 3 + 5


def test_several_stops_are_held_each_by_its_own_call():
    held = hold_detached(lambda x, y: x.detach() * y + y.detach() * x, tensor(2.0), tensor(7.0))
    assert held(tensor(10.0), tensor(100.0)).tolist() == [2 * 100 + 7 * 10]
    assert held(tensor(1.0), tensor(1.0)).tolist() == [9], "a second call starts anew"


def test_function_without_stops_is_itself():
    assert hold_detached(torch.sin, tensor(0.3))(tensor(1.2)).equal(torch.sin(tensor(1.2)))


def test_stops_outside_are_as_before():
    hold_detached(lambda x: x.detach() * x, tensor(1.0))(tensor(2.0))
    moved = tensor(4.0)
    assert moved.detach().tolist() == [4]
    assert not moved.detach().requires_grad


def test_gradcheck_needs_the_hold_and_passes_with_it():
    def loss(x):
        return x.detach().exp() * x.square()

    x = tensor(0.4, -1.1)
    assert torch.autograd.gradcheck(hold_detached(loss, x), (x,))
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(loss, (x,))


def test_a_wrong_gradient_is_still_found():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad

    def loss(x):
        return Doubled.apply(x) * x.detach()

    x = tensor(0.7)
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(hold_detached(loss, x), (x,))
