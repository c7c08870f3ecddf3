"""Muon: the update of a matrix, of a convolution, and of several matrices at once."""

import copy
import math

import torch
from torch import nn

from difflab.paradigm import Muon
from difflab.paradigm.bf16 import has_bf16

SAME = has_bf16(torch.device("cpu"))  # torch's iteration is in bf16 everywhere, ours where that is fast


class Layers(nn.Module):
    """A hidden layer between two outer ones."""

    def __init__(self, hidden):
        super().__init__()
        self.enter, self.hidden, self.leave = nn.Linear(2, 2), hidden, nn.Linear(2, 2)
        self.outer_layers = (self.enter, self.leave)


def gradients(shape, n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) for _ in range(n)]


def stepped(layer, optimizer, grads):
    """The weight of a layer after steps along some gradients of it; other parameters have none."""
    for grad in grads:
        layer.weight.grad = grad.clone(memory_format=torch.preserve_format)
        optimizer.step()
    return layer.weight.detach().clone()


def test_the_update_of_a_matrix_is_orthogonal_and_has_the_published_size():
    """The gradient's singular vectors with values near 1, times the rate and `0.2 sqrt(max(out, rest))`.

    A singular value s becomes `p(p(p(p(p(s / |G|)))))`, `p(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5`, which lies within
    0.3 of 1: Jordan et al. 2024.
    """
    for out, rest, lr in ((16, 64, 0.1), (64, 16, 0.1), (24, 100, 0.01)):
        layer = nn.Linear(rest, out, bias=False)
        before = layer.weight.detach().clone()
        (grad,) = gradients((out, rest), 1)
        after = stepped(layer, Muon()(Layers(layer), lr), [grad])
        update = (before - after).double() / (lr * 0.2 * math.sqrt(max(out, rest)))
        u, s, v = torch.linalg.svd(grad.double(), full_matrices=False)
        turned = u.mT @ update @ v.mT
        values = turned.diagonal()
        expected = s / s.square().sum().sqrt()
        for _ in range(5):
            expected = 3.4445 * expected - 4.775 * expected**3 + 2.0315 * expected**5
        torch.testing.assert_close(values, expected, rtol=0, atol=0.06)  # the iteration is in bf16
        assert (values - 1).abs().max() < 0.33
        assert (turned - values.diag()).abs().max() < 0.05


def test_convolutions_are_trained_as_matrices():
    """As torch's Muon trains the flattened weight; in channels_last up to the rounding of the iteration."""
    grads = gradients((8, 4, 3, 3), 4)
    flat = nn.Linear(36, 8, bias=False)
    conv = nn.Conv2d(4, 8, 3, bias=False)
    last = copy.deepcopy(conv).to(memory_format=torch.channels_last)
    assert not last.weight.is_contiguous()
    with torch.no_grad():
        flat.weight.copy_(conv.weight.flatten(1))
    theirs = torch.optim.Muon(flat.parameters(), 0.01, 0.1, 0.95, adjust_lr_fn="match_rms_adamw")
    expected = stepped(flat, theirs, [grad.flatten(1) for grad in grads]).view(8, 4, 3, 3)
    ours = stepped(conv, Muon(weight_decay=0.1)(Layers(conv), 0.01), grads)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0 if SAME else 2e-3)
    turned = [grad.to(memory_format=torch.channels_last) for grad in grads]
    again = stepped(last, Muon(weight_decay=0.1)(Layers(last), 0.01), turned)
    torch.testing.assert_close(again, expected, rtol=0, atol=2e-3)
    assert last.weight.is_contiguous(memory_format=torch.channels_last)


def test_matrices_that_are_stepped_together_are_stepped_as_each_alone():
    """As by torch's Muon, which takes one at a time: of equal shapes, lying, standing and square."""
    shapes = [(8, 24), (24, 8), (8, 24), (12, 12), (24, 8)]
    own, theirs = (nn.ModuleList(nn.Linear(n, m, bias=False) for m, n in shapes) for _ in range(2))
    theirs.load_state_dict(own.state_dict())
    optimizers = [
        Muon(weight_decay=0.1)(Layers(own), 0.01),
        torch.optim.Muon(theirs.parameters(), 0.01, 0.1, 0.95, adjust_lr_fn="match_rms_adamw"),
    ]
    g = torch.Generator().manual_seed(0)
    for _ in range(4):
        for a, b in zip(own.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=g)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(own.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 if SAME else 2e-3)  # steps are of size 0.01
