"""The supernet written edge by edge as in the paper: the reference of the fast one and of its race."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from q4_darts.genotypes import NODES, PRIMITIVES, edge_index, edges_from
from q4_darts.model_search import EDGES, Supernet
from q4_darts.operations import OPERATIONS, CellShape, cell_shapes, make_stem


class MixedOp(nn.Module):
    """Sums all operations, each times its weight (Liu et al. 2019, eq. 2)."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.layers = nn.ModuleList()
        for name in PRIMITIVES:
            layer = OPERATIONS[name](channels, stride, False)
            if "pool" in name:
                layer = nn.Sequential(layer, nn.BatchNorm2d(channels, affine=False))
            self.layers.append(layer)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(weight * layer(x) for weight, layer in zip(weights, self.layers))


class PartialOp(nn.Module):
    """Mixes operations on some channels, keeps or pools the rest, and shuffles (Xu et al. 2020, eq. 2)."""

    def __init__(self, channels: int, stride: int, partial: int):
        super().__init__()
        self.partial = partial
        self.active = channels // partial
        self.stride = stride
        self.mixed = MixedOp(self.active, stride)
        self.layers = self.mixed.layers

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        passing = x[:, self.active :]
        if self.stride == 2:
            passing = F.max_pool2d(passing, 2, 2)
        both = torch.cat([self.mixed(x[:, : self.active], weights), passing], 1)
        n, c, h, w = both.shape
        return both.view(n, self.partial, c // self.partial, h, w).transpose(1, 2).reshape(n, c, h, w)


class PlainCell(nn.Module):
    """A cell whose 14 edges are modules of their own."""

    def __init__(self, shape: CellShape, partial: int = 1):
        super().__init__()
        self.inputs = shape.inputs(affine=False)
        self.edges = nn.ModuleList()
        for node in range(NODES):
            for state in range(node + 2):
                stride = shape.stride(state)
                if partial > 1:
                    self.edges.append(PartialOp(shape.channels, stride, partial))
                else:
                    self.edges.append(MixedOp(shape.channels, stride))

    def forward(
        self, before_before: Tensor, before: Tensor, weights: Tensor, betas: Tensor | None = None
    ) -> Tensor:
        states = [self.inputs[0](before_before), self.inputs[1](before)]
        for node in range(NODES):
            rows = [edge_index(node, state) for state in range(node + 2)]
            scales = [1] * len(rows) if betas is None else betas[rows].softmax(0)
            total = 0
            for scale, row, state in zip(scales, rows, states):
                total = total + scale * self.edges[row](state, weights[row])
            states.append(total)
        return torch.cat(states[2:], 1)


class PlainSupernet(nn.Module):
    """The supernet, pictures (n, 3, h, w) -> logits (n, classes)."""

    def __init__(self, channels: int = 16, layers: int = 8, classes: int = 10, partial: int = 1):
        super().__init__()
        shapes = list(cell_shapes(channels, layers))
        self.stem = make_stem(channels)
        self.cells = nn.ModuleList(PlainCell(shape, partial) for shape in shapes)
        self.reductions = [int(shape.reduction) for shape in shapes]
        self.score = nn.Linear(NODES * shapes[-1].channels, classes)
        self.alphas = nn.Parameter(1e-3 * torch.randn(2, EDGES, len(PRIMITIVES)))
        self.betas = nn.Parameter(1e-3 * torch.randn(2, EDGES)) if partial > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        weights = self.alphas.softmax(-1)
        before = self.stem(x)
        before_before = before
        for cell, reduction in zip(self.cells, self.reductions):
            betas = None if self.betas is None else self.betas[reduction]
            out = cell(before_before, before, weights[reduction], betas)
            before_before = before
            before = out
        return self.score(F.adaptive_avg_pool2d(before, 1).flatten(1))


# Between the two --------------------------------------------------------------------------------------------

Get = Callable[[Callable[[Tensor], Tensor]], Tensor]


def pairs(fast: Supernet, plain: PlainSupernet) -> Iterator[tuple[Get, nn.Parameter]]:
    """Yields each parameter of the plain supernet with a function that cuts its twin out of the fast one.

    The function takes what is cut: `get(lambda parameter: parameter.grad)` cuts the twin's gradient.
    """
    for name in ("stem", "score"):
        for mine, other in zip(getattr(fast, name).parameters(), getattr(plain, name).parameters()):
            yield whole(mine), other
    yield whole(fast.alphas), plain.alphas
    if fast.betas is not None:
        yield whole(fast.betas), plain.betas
    for cell, plain_cell in zip(fast.cells, plain.cells):
        for mine, other in zip(cell.inputs.parameters(), plain_cell.inputs.parameters()):
            yield whole(mine), other
        for state, source in enumerate(cell.sources):
            for place, node in enumerate(edges_from(state)):
                edge = plain_cell.edges[edge_index(node, state)]
                yield from pairs_of_edge(source, place, edge)


def pairs_of_edge(
    source: nn.Module, place: int, edge: MixedOp | PartialOp
) -> Iterator[tuple[Get, nn.Parameter]]:
    """Yields the pairs of one edge.

    Args:
        source: of the fast cell, all edges that leave a state.
        place: of this edge among them.
    """
    layers = dict(zip(PRIMITIVES, edge.layers))
    if source.stride == 2:
        yield part(source.even, place, source.edges), layers["skip_connect"].even.weight
        yield part(source.odd, place, source.edges), layers["skip_connect"].odd.weight
    convolutions = {
        "sep_conv_3x3": (source.sep_3_a, source.sep_3_b),
        "sep_conv_5x5": (source.sep_5_a, source.sep_5_b),
        "dil_conv_3x3": (source.dil_3,),
        "dil_conv_5x5": (source.dil_5,),
    }
    for name, convs in convolutions.items():
        twins = [layer for layer in layers[name] if isinstance(layer, nn.Conv2d)]
        for conv, depthwise, pointwise in zip(convs, twins[::2], twins[1::2]):
            yield part(conv.depthwise, place, source.edges), depthwise.weight
            yield part(conv.pointwise, place, source.edges), pointwise.weight


def whole(parameter: nn.Parameter) -> Get:
    """Returns a function that gives a parameter, or its gradient, as it is."""
    return lambda of: of(parameter)


def part(parameter: nn.Parameter, place: int, edges: int) -> Get:
    """Returns a function that cuts one edge's part out of the parameter of several."""
    return lambda of: of(parameter).chunk(edges, 0)[place]


def copy_weights(fast: Supernet, plain: PlainSupernet) -> None:
    """Gives the plain supernet the fast one's weights."""
    with torch.no_grad():
        for get, other in pairs(fast, plain):
            other.copy_(get(lambda parameter: parameter))
