"""Networks with two times: their derivatives, and the weights that they start from."""

import pytest
import torch

from difflab.backbone import MLP, DiT, MMDiT, Tokens, UNet
from difflab.denoiser import Denoiser, FlowMap, Fraction
from difflab.laws import close
from difflab.objective import (
    Difference,
    ForwardMode,
)
from difflab.process import Linear, Velocity
from difflab.process.gaussian import scale
from helpers.closed_forms import normal
from helpers.flow_maps import SHARES
from helpers.laws import assert_law


def networks(second_time=True, end=True):
    """A network of each kind, in float64, whose outputs are not zero; `end`: nor the embedding of the second time."""
    kinds = [
        lambda: UNet((1, 8, 8), 3, width=16, blocks=1, head_channels=8, second_time=second_time),
        lambda: DiT((1, 8, 8), 3, width=32, depth=2, second_time=second_time),
        lambda: MMDiT((1, 8, 8), 3, width=32, depth=2, qk_norm=True, second_time=second_time, book=Tokens),
        lambda: UNet((1, 8, 8), 3, 16, head_channels=8, second_time=second_time, book=Tokens, cross=(4,)),
        lambda: MLP((2,), 3, width=32, second_time=second_time),
    ]
    for make in kinds:
        torch.manual_seed(0)
        net = make().double()
        kept = net.condition.end.linear2 if second_time and not end else None
        for layer in (each for each in net.modules() if each is not kept):  # those that start at zero
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and not layer.weight.any():
                torch.nn.init.kaiming_normal_(layer.weight)
        yield net


def test_derivatives_in_forward_mode_are_those_of_differences():
    cases, label = [], torch.tensor([0, 1, 2, 3])
    t, s = SHARES[:4].unbind(1)
    for net in networks():
        x, u = normal(4, *net.shape), normal(4, *net.shape, seed=1)
        flow_map = FlowMap(net, Linear(), Velocity(), Fraction())

        def along(h, x=x, u=u, flow_map=flow_map):
            return flow_map.output(x + scale(h, u), t + h, label, s)[0]

        with torch.no_grad():
            exact, near = (way(along, s - t, 1 - t, t) for way in (ForwardMode(), Difference(1e-5)))
        assert exact.abs().max() > 1e-3
        cases.append(close(type(net).__name__, near[1:], exact[1:], atol=1e-6))
    assert_law(cases)


def test_the_weights_of_a_denoiser_give_its_outputs_at_steps_of_no_length():
    label, t = torch.tensor([0, 1, 2, 3]), SHARES[:4, 0]
    for one, two in zip(networks(second_time=False), networks(end=False), strict=True):
        x = normal(4, *one.shape)
        trained, flow_map = Denoiser(one, Linear(), Velocity()), FlowMap(two, Linear(), Velocity())
        flow_map.load_state_dict(trained.state_dict())
        with torch.no_grad():
            for s in (None, t, t / 2):  # the second time starts without a say
                for a, b in zip(flow_map(x, t, label, s)[:3], trained(x, t, label)[:3], strict=True):
                    assert torch.equal(a, b)
        with pytest.raises(RuntimeError, match="Unexpected key"):
            trained.load_state_dict(flow_map.state_dict())


def test_fresh_networks_change_slowly_with_time_by_the_share_of_the_axis_and_fast_by_thousandths():
    t, label = SHARES[:4, 0] * 0.9, torch.tensor([0, 1, 2, 3])

    def rate(net, code):
        flow_map, x = FlowMap(net, Linear(), Velocity(), code), normal(4, *net.shape)
        with torch.no_grad():
            dy = ForwardMode()(lambda h: flow_map.output(x, t + h, label, t / 2)[0], -t, 1 - t, t)
            return (dy.square().mean() / flow_map.output(x, t, label, t / 2)[0].square().mean()).sqrt().item()

    for net in networks(end=False):
        slow, fast = rate(net, Fraction()), rate(net, None)
        assert slow < 1, type(net).__name__
        assert fast > 5 * slow, type(net).__name__


def test_a_flow_map_needs_a_network_with_two_times():
    with pytest.raises(ValueError, match=r"backbone\.second_time=true"):
        FlowMap(MLP((2,), 0), Linear(), Velocity())
