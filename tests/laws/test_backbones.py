"""The laws that every option of conf/backbone obeys."""

import pytest
import torch
from networks import BACKBONES, IMAGE, POINT, fitting, inputs, narrow, perturbed

every = pytest.mark.parametrize("option", BACKBONES)


@every
@pytest.mark.parametrize("learned_variance", [False, True])
def test_the_output_is_like_the_input_and_zero_at_first(option, learned_variance):
    net = fitting(option, learned_variance=learned_variance)
    channels, *sides = net.shape
    out = net(*inputs(net.shape))
    assert out.shape == (4, (1 + learned_variance) * channels, *sides)
    assert not out.any()
    assert perturbed(net)(*inputs(net.shape)).any()
    assert (net.classes, net.learned_variance) == (3, learned_variance)


@every
def test_a_sample_does_not_depend_on_the_samples_and_labels_beside_it(option):
    net = perturbed(fitting(option)).double()
    x, code, label = inputs(net.shape, dtype=torch.float64)
    together = net(x, code, label)
    for k in range(len(x)):
        torch.testing.assert_close(net(x[k, None], code[k, None], label[k, None])[0], together[k], rtol=0, atol=1e-11)


@every
def test_every_label_and_the_null_label_have_their_own_output(option):
    net = perturbed(fitting(option))
    x, code, _ = inputs(net.shape)
    outputs = torch.stack([net(x, code, torch.full((len(x),), k)).flatten() for k in range(net.classes + 1)])
    assert (torch.pdist(outputs) > 0.01 * outputs.norm(dim=1).mean()).all()


@every
def test_without_classes_labels_are_ignored(option):
    net = perturbed(fitting(option, classes=0))
    x, code, label = inputs(net.shape)
    assert torch.equal(net(x, code, label), net(x, code, torch.zeros_like(label)))


@every
def test_the_code_matters(option):
    net = perturbed(fitting(option))
    x, code, label = inputs(net.shape)
    assert not torch.allclose(net(x, code, label), net(x, code + 1, label))


@every
def test_autocast_is_close_to_float64_and_returns_the_dtype_of_the_input(option):
    net = perturbed(fitting(option))
    x, code, label = inputs(net.shape)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x, code, label)
    exact = net.double()(x.double(), code.double(), label)
    assert (half.dtype, exact.dtype) == (torch.float32, torch.float64)
    assert (half - exact).square().mean() < 0.03**2 * exact.var()


@every
def test_after_two_steps_every_parameter_learns(option):
    net = fitting(option)
    x, code, label = inputs(net.shape, batch=8)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):  # zeroed layers open one after another
        optimiser.step()
        optimiser.zero_grad()
        (net(x, code, label) - x).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
def test_the_state_is_all_that_a_network_is(option):
    net, copy = perturbed(fitting(option)), fitting(option).eval()
    copy.load_state_dict(net.state_dict())
    assert torch.equal(copy(*inputs(net.shape)), net(*inputs(net.shape)))
    assert net.state_dict().keys() == dict(net.named_parameters()).keys(), "what is fixed is not saved"


@every
def test_a_shape_of_the_other_kind_is_refused_with_the_backbones_that_take_it(option):
    right = fitting(option).shape
    wrong, other = (IMAGE, "point") if len(right) == 1 else (POINT, "image")
    with pytest.raises(ValueError, match=rf"not an? {other}: choose backbone=") as refusal:
        narrow(option, wrong)
    for choice in str(refusal.value).partition("backbone=")[2].split(" or "):
        assert narrow(choice, wrong).shape == tuple(wrong)
