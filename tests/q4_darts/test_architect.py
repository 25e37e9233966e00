import torch
import torch.nn.functional as F

from q4_darts.architect import first_order, second_order
from q4_darts.model_search import Supernet


def setting():
    """A small supernet in float64, its optimiser after two steps, and two batches."""
    torch.manual_seed(0)
    model = Supernet(2, 3).double()
    optimizer = torch.optim.SGD(model.weights(), 0.05, 0.9, weight_decay=3e-4)
    batches = [(torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.randint(0, 10, (6,))) for _ in range(2)]
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(batches[0][0]), batches[0][1]).backward()
        optimizer.step()
    optimizer.zero_grad()
    model.alphas.grad = None
    losses = [lambda batch=batch: F.cross_entropy(model(batch[0]), batch[1]) for batch in batches]
    return model, optimizer, *losses


def test_first_order_is_the_plain_gradient_and_leaves_the_weights_alone():
    model, _, _, validation_loss = setting()
    loss = first_order(model, validation_loss)
    assert all(weight.grad is None and weight.requires_grad for weight in model.weights())
    found = model.alphas.grad
    expected = validation_loss()
    (gradient,) = torch.autograd.grad(expected, [model.alphas])
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(found, gradient)


def test_second_order_against_exact_differentiation_through_the_step():
    model, optimizer, train_loss, validation_loss = setting()
    weights = dict(model.named_parameters())
    names = [name for name in weights if name != "alphas"]
    buffers = [optimizer.state[weights[name]]["momentum_buffer"] for name in names]
    images, labels = validation_loss.__defaults__[0]

    gradients = torch.autograd.grad(train_loss(), [weights[name] for name in names], create_graph=True)
    stepped = {"alphas": model.alphas}
    for name, gradient, buffer in zip(names, gradients, buffers):
        stepped[name] = weights[name] - 0.05 * (0.9 * buffer + gradient + 3e-4 * weights[name])
    loss = F.cross_entropy(torch.func.functional_call(model, stepped, (images,)), labels)
    (exact,) = torch.autograd.grad(loss, [model.alphas])

    before = {name: value.clone() for name, value in model.state_dict().items()}
    found_loss = second_order(model, optimizer, train_loss, validation_loss, radius=1e-7)
    assert abs(found_loss - loss) < 1e-9
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())  # bit for bit
    assert (model.alphas.grad - exact).norm() / exact.norm() < 1e-3
    first_order(model, validation_loss)  # the second-order part is not negligible here
    assert (model.alphas.grad - exact).norm() / exact.norm() > 0.01


def test_perturbed_passes_run_neither_in_bf16_nor_in_tf32():
    torch.manual_seed(0)
    model = Supernet(2, 3)
    seen = []
    optimizer = torch.optim.SGD(model.weights(), 0.05, 0.9, weight_decay=3e-4)
    images, labels = torch.randn(6, 3, 8, 8), torch.randint(0, 10, (6,))
    matmul = torch.backends.cuda.matmul
    cudnn = torch.backends.cudnn

    def loss():
        seen.append((torch.is_autocast_enabled("cpu"), cudnn.allow_tf32, matmul.allow_tf32))
        return F.cross_entropy(model(images).float(), labels)

    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        second_order(model, optimizer, loss, loss, lambda: torch.autocast("cpu", torch.bfloat16))
        assert matmul.allow_tf32
        assert cudnn.allow_tf32
    finally:
        matmul.allow_tf32 = cudnn.allow_tf32 = False
    assert seen == [(True,) * 3, (True,) * 3, (False,) * 3, (False,) * 3]
    assert model.alphas.grad.isfinite().all()
