"""A training step of every question on fake CUDA tensors, which have a device but no memory.

Mixed devices and values read on the host raise. Not seen here: the backward pass, which needs a CUDA context
(gradients are made up), the draws of CUDA generators (there are none without CUDA: torch's own stands in),
copies from the host, kernels that do not exist.
"""

import contextlib
from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.torch_version import TorchVersion

from common.averaging import averaged
from common.device import Runtime
from q1_dcgan import dcgan, mnist_dataset
from q1_dcgan import train as dcgan_train
from q2_protonet import omniglot_dataset
from q2_protonet import train as protonet_train
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q3_pix2pix import maps_dataset, pix2pix
from q3_pix2pix import train as pix2pix_train
from q4_darts import cifar10_dataset, model
from q4_darts.genotypes import DARTS_V2
from q4_darts.model_search import Supernet
from q4_darts.train import train_step
from q4_darts.train_search import train_step as search_step

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the scripts themselves show it"),
    pytest.mark.skipif(
        TorchVersion(torch.__version__) < (2, 7), reason="torch 2.6 needs a driver even for fake tensors"
    ),
]
CUDA = torch.device("cuda", 0)


@pytest.fixture(params=["fp32", "bf16"])
def runtime(request):
    """A Runtime on a GPU; all tensors that the test makes are fake."""
    mock.patch("torch.cuda.is_bf16_supported", lambda *_: True).start()
    mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda *_: False).start()
    mock.patch("torch.autograd.grad", gradients).start()
    cifar10_dataset.colors.cache_clear()
    with FakeTensorMode():
        yield Runtime(CUDA, precision=request.param)
    mock.patch.stopall()
    cifar10_dataset.colors.cache_clear()


def whole(high, *shape):
    return torch.randint(high, shape, device=CUDA, dtype=torch.uint8 if high == 256 else torch.int64)


def on_cuda(kind, *arguments):
    """A network whose parameters and buffers are fake, of the same strides."""
    with unset_fake_temporarily():
        network = kind(*arguments)
    for own in (own for module in network.modules() for own in (module._parameters, module._buffers)):
        for name, old in ((name, old) for name, old in own.items() if old is not None):
            new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device=CUDA)
            own[name] = nn.Parameter(new) if isinstance(old, nn.Parameter) else new
    return network


def gradients(loss, inputs, create_graph=False):
    inputs = [inputs] if isinstance(inputs, torch.Tensor) else inputs
    assert loss.device == CUDA and loss.dtype == torch.float32 and loss.requires_grad
    return [torch.empty_like(parameter) for parameter in inputs]


@contextlib.contextmanager
def made_up_gradients(*networks):
    """Inside, loss.backward() gives every parameter (or only its `inputs`) a made-up gradient."""

    def backward(loss, inputs=None):
        weights = inputs or [p for network in networks for p in network.parameters() if p.requires_grad]
        for weight, gradient in zip(weights, gradients(loss, weights)):
            weight.grad = gradient

    with mock.patch("torch.Tensor.backward", backward):
        yield


def keep(figures):
    """Keeps a step's figures on the device, as Training.record does."""
    figures = [figure.detach() for figure in figures]
    torch.zeros(3, len(figures), device=CUDA)[1] = torch.stack(figures)


def adam(network):
    return torch.optim.Adam(network.parameters(), fused=True)


def test_faults_would_be_seen(runtime):
    with pytest.raises(RuntimeError, match="devices"):
        whole(10, 3) + torch.ones(3)
    with pytest.raises(DataDependentOutputException):
        whole(10, 3).sum().item()


@pytest.mark.parametrize("size, label_as", [(28, "projection"), (64, "plane")])
def test_dcgan(runtime, size, label_as):
    generator = on_cuda(dcgan.Generator, 8, 10, size)
    discriminator = on_cuda(dcgan.Discriminator, 10, size, label_as)
    drawn = []
    generator.register_forward_hook(lambda _, __, images: drawn.append(images.detach()))
    networks, labels = (generator, discriminator), whole(10, 4)
    real = mnist_dataset.prepare(whole(256, 20, 28, 28)[whole(20, 4)], size)
    noise = torch.randn(4, 8, device=CUDA)
    optimizers = [adam(network) for network in networks]
    with made_up_gradients(*networks):
        figures = dcgan_train.train_step(networks, optimizers, real, noise, labels, labels, 1.0, runtime)
    keep(figures)
    assert drawn[0].dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[runtime.precision]
    assert mnist_dataset.to_uint8(drawn[0]).device == CUDA


def test_protonet(runtime):
    with unset_fake_temporarily():
        part = omniglot_dataset.Characters(None, torch.full((9,), 20), list("abcdefghi"))
        sampler = PrototypicalBatchSampler(part, 5, 2, 3, None)
    sampler.counts = torch.full((9,), 20, device=CUDA)
    (classes,), (drawings,) = sampler.sample(1)
    images = omniglot_dataset.prepare(whole(256, 9, 20, 28, 28)[classes, drawings])
    images = omniglot_dataset.jitter(images, None)
    network = on_cuda(ProtoNet)
    with made_up_gradients(network):
        figures = protonet_train.train_step(network, adam(network), images, 5, 2, False, runtime)
    keep(figures)
    with mock.patch("copy.deepcopy", lambda _: on_cuda(ProtoNet)):  # fake tensors cannot be copied
        average = averaged(network, 0.999)
    average.update(network)


def test_pix2pix(runtime):
    generator, discriminator = on_cuda(pix2pix.UNet, 32, 8), on_cuda(pix2pix.PatchGAN, 8)
    pairs = maps_dataset.random_crop_and_mirror(whole(256, 5, 6, 35, 35)[whole(5, 2)], 32, None)
    photo, real = maps_dataset.prepare(pairs).split(3, 1)
    networks = (generator, discriminator)
    optimizers = (adam(generator), adam(discriminator))
    with made_up_gradients(*networks):
        losses = pix2pix_train.train_step(networks, optimizers, photo, real, 1.0, 1.0, runtime)
    keep(losses)
    with pix2pix.own_statistics(generator):
        assert maps_dataset.to_uint8(generator(photo)).device == CUDA


@pytest.mark.parametrize("order, partial", [("second", 1), ("first", 4), ("warm-up", 1)])
def test_search(runtime, order, partial):
    network = on_cuda(Supernet, 8, 3, 10, partial)
    sgd = torch.optim.SGD(network.weights(), 0.1, 0.9)
    adam = torch.optim.Adam(network.architecture(), fused=True)
    index = whole(9, 4)
    batch = cifar10_dataset.augment(whole(256, 9, 32, 32, 3)[index], None), whole(10, 9)[index]
    batch_a = None if order == "warm-up" else batch
    with made_up_gradients(network):
        order = "first" if order == "warm-up" else order
        figures = search_step(network, (sgd, adam), batch, batch_a, order, runtime)
    keep(figure for figure in figures if figure is not None)
    assert all((alphas.grad is None) == (batch_a is None) for alphas in network.architecture())


def test_derived_network(runtime):
    network = on_cuda(model.Network, DARTS_V2, 4, 3, 10, True)
    sgd = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    x, y = cifar10_dataset.augment(whole(256, 4, 32, 32, 3), None, 16), whole(10, 4)
    paths = torch.ones(3, 8, 4, 1, 1, 1, device=CUDA)
    with made_up_gradients(network):
        figures = train_step(network, sgd, (x, y), paths, 0.4, runtime)
    keep(figures)
