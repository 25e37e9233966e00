"""The supernet written edge by edge as in the paper: the reference of the fast one and of the benchmark."""

import torch
import torch.nn.functional as F
from torch import nn

from q4_darts.genotypes import NODES, PRIMITIVES, edge_index, edges_from
from q4_darts.model_search import EDGES, Supernet
from q4_darts.operations import OPERATIONS, cell_shapes, make_stem


class MixedOp(nn.Module):
    """Liu et al. 2019, eq. 2: the sum of all operations, each times its weight."""

    def __init__(self, channels, stride):
        super().__init__()
        self.layers = nn.ModuleList()
        for name in PRIMITIVES:
            layer = OPERATIONS[name](channels, stride, False)
            norm = [nn.BatchNorm2d(channels, affine=False)] if "pool" in name else []
            self.layers.append(nn.Sequential(layer, *norm) if norm else layer)

    def forward(self, x, weights):
        return sum(weight * layer(x) for weight, layer in zip(weights, self.layers))


class PartialOp(nn.Module):
    """Xu et al. 2020, eq. 2: the mixed operation on some channels, the rest kept or pooled; shuffled."""

    def __init__(self, channels, stride, partial):
        super().__init__()
        self.partial, self.active, self.stride = partial, channels // partial, stride
        self.mixed = MixedOp(self.active, stride)
        self.layers = self.mixed.layers

    def forward(self, x, weights):
        passing = x[:, self.active :] if self.stride == 1 else F.max_pool2d(x[:, self.active :], 2, 2)
        both = torch.cat([self.mixed(x[:, : self.active], weights), passing], 1)
        n, c, h, w = both.shape
        return both.view(n, self.partial, c // self.partial, h, w).transpose(1, 2).reshape(n, c, h, w)


class PlainCell(nn.Module):
    def __init__(self, shape, partial=1):
        super().__init__()
        self.inputs, self.edges = shape.inputs(affine=False), nn.ModuleList()
        for stride in [shape.stride(state) for node in range(NODES) for state in range(node + 2)]:
            kind, more = (PartialOp, [partial]) if partial > 1 else (MixedOp, [])
            self.edges.append(kind(shape.channels, stride, *more))

    def forward(self, before_before, before, weights, betas=None):
        states = [self.inputs[0](before_before), self.inputs[1](before)]
        for node in range(NODES):
            rows = [edge_index(node, state) for state in range(node + 2)]
            into = betas[rows].softmax(0) if betas is not None else [1] * len(rows)
            edges = zip(into, rows, states)
            states.append(sum(scale * self.edges[row](state, weights[row]) for scale, row, state in edges))
        return torch.cat(states[2:], 1)


class PlainSupernet(nn.Module):
    def __init__(self, channels=16, layers=8, classes=10, partial=1):
        super().__init__()
        shapes = list(cell_shapes(channels, layers))
        self.stem = make_stem(channels)
        self.cells = nn.ModuleList(PlainCell(shape, partial) for shape in shapes)
        self.reductions = [int(shape.reduction) for shape in shapes]
        self.score = nn.Linear(NODES * shapes[-1].channels, classes)
        self.alphas = nn.Parameter(1e-3 * torch.randn(2, EDGES, len(PRIMITIVES)))
        self.betas = nn.Parameter(1e-3 * torch.randn(2, EDGES)) if partial > 1 else None

    def forward(self, x):
        weights = self.alphas.softmax(-1)
        before_before = before = self.stem(x)
        for cell, reduction in zip(self.cells, self.reductions):
            betas = None if self.betas is None else self.betas[reduction]
            before_before, before = before, cell(before_before, before, weights[reduction], betas)
        return self.score(F.adaptive_avg_pool2d(before, 1).flatten(1))


def pairs(fast: Supernet, plain: PlainSupernet):
    """(get, parameter) per parameter of the plain supernet: `get(of)` cuts its twin out of the fast one."""
    for name in ("stem", "score"):
        for mine, other in zip(getattr(fast, name).parameters(), getattr(plain, name).parameters()):
            yield lambda of, mine=mine: of(mine), other
    yield lambda of: of(fast.alphas), plain.alphas
    if fast.betas is not None:
        yield lambda of: of(fast.betas), plain.betas
    for cell, plain_cell in zip(fast.cells, plain.cells):
        for mine, other in zip(cell.inputs.parameters(), plain_cell.inputs.parameters()):
            yield lambda of, mine=mine: of(mine), other
        for state, source in enumerate(cell.sources):
            for place, node in enumerate(edges_from(state)):
                edge = plain_cell.edges[edge_index(node, state)]
                layers = dict(zip(PRIMITIVES, edge.layers))

                def cut(parameter, place=place, edges=source.edges):
                    return lambda of: of(parameter).chunk(edges, 0)[place]

                if source.stride == 2:
                    yield cut(source.even), layers["skip_connect"].even.weight
                    yield cut(source.odd), layers["skip_connect"].odd.weight
                names = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
                separable = (source.sep_3_a, source.sep_3_b), (source.sep_5_a, source.sep_5_b)
                for kind, convs in zip(names, (*separable, (source.dil_3,), (source.dil_5,))):
                    twins = [layer for layer in layers[kind] if isinstance(layer, nn.Conv2d)]
                    for conv, depthwise, pointwise in zip(convs, twins[::2], twins[1::2]):
                        yield cut(conv.depthwise), depthwise.weight
                        yield cut(conv.pointwise), pointwise.weight


def copy_weights(fast: Supernet, plain: PlainSupernet) -> None:
    """Gives the plain supernet the fast one's weights."""
    with torch.no_grad():
        for get, other in pairs(fast, plain):
            other.copy_(get(lambda parameter: parameter))
