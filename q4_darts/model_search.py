"""The supernet of DARTS, with exactly its mathematics (Liu et al. 2019, eq. 2) in far fewer operations.

In the published supernet each of a cell's 14 edges runs eight operations by itself. Here all edges that
leave one state run together. They share a ReLU and the two pools with their BatchNorm (which has no
weights, so that equal inputs give equal outputs). Operations of one kind run as one convolution. Nothing
stands between a depthwise convolution and the pointwise one after it, so narrow cells run the two as a
single dense convolution whose weight is their product. The softmax weight of a convolution is the scale of
its last BatchNorm, so mixing costs nothing; pools and skip connections are mixed by one pointwise
convolution; `none` only keeps its place in the softmax.

PC-DARTS (Xu et al. 2020) is the same network with the operations on a part of the channels: the others pass
by, an edge's weight is part of its operations' weights, and since a shuffle of channels is linear, each
node shuffles once.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from q4_darts.genotypes import NODES, PRIMITIVES, Genotype, derive, edge_index, edges_from
from q4_darts.operations import (
    AveragePool,
    CellShape,
    cell_shapes,
    convolve_depthwise,
    every_second,
    make_stem,
)

EDGES = sum(range(2, NODES + 2))  # 14
# The edges that leave each state, as rows of the alphas.
LEAVING = [[edge_index(node, state) for node in edges_from(state)] for state in range(NODES + 1)]
# Channels up to which a depthwise and its pointwise convolution run as one dense convolution.
DENSE_BF16 = 256
DENSE_FP32 = 32
DENSE_FP32_CPU = 8  # of DARTS; PC-DARTS has the 32 there too


class EdgeNorm(nn.BatchNorm2d):
    """BatchNorm without weights over the channels of several edges, scaled by the edges' weights.

    forward: x (n, edges * channels, h, w), scale (edges * channels,) -> the shape of x.
    """

    def __init__(self, channels: int):
        super().__init__(channels, affine=False)
        self.num_batches_tracked = None  # the momentum is fixed: nobody reads it
        self.register_buffer("zero", torch.zeros(channels), persistent=False)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        if scale is None:
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, scale, self.zero, self.training, self.momentum, self.eps
        )

    def _load_from_state_dict(self, state: dict, prefix: str, metadata: dict, *rest: object) -> None:
        # A safetensors file has no versions, and to version 1 BatchNorm would add the count.
        super()._load_from_state_dict(state, prefix, metadata | {"version": 2}, *rest)


class EdgeConv(nn.Module):
    """Depthwise and pointwise convolution of several edges at once -> (n, edges * channels, h, w).

    Args:
        edges, channels: how many edges, and the channels of each.
        shared: all edges read the same input (n, channels, h, w); otherwise each reads its own part of
            (n, edges * channels, h, w).
    """

    dense_up_to = DENSE_FP32

    def __init__(self, edges: int, channels: int, kernel: int, stride: int, dilation: int, shared: bool):
        super().__init__()
        self.edges = edges
        self.channels = channels
        self.shared = shared
        self.stride = stride
        self.padding = dilation * (kernel - 1) // 2
        self.dilation = dilation
        self.depthwise = nn.Parameter(torch.empty(edges * channels, 1, kernel, kernel))
        self.pointwise = nn.Parameter(torch.empty(edges * channels, channels, 1, 1))
        for weight in (self.depthwise, self.pointwise):
            nn.init.kaiming_uniform_(weight, a=5**0.5)  # as nn.Conv2d does

    def forward(self, x: Tensor) -> Tensor:
        edges = self.edges
        channels = self.channels
        if channels <= (DENSE_BF16 if x.dtype == torch.bfloat16 else self.dense_up_to):
            depthwise = self.depthwise.view(edges, 1, channels, *self.depthwise.shape[2:])
            dense = self.pointwise.view(edges, channels, channels, 1, 1) * depthwise  # (edges, c, c, k, k)
            filters = with_room(dense.flatten(0, 1), x)
            groups = 1 if self.shared else edges
            return F.conv2d(x, filters, None, self.stride, self.padding, self.dilation, groups)
        if self.shared:
            x = torch.cat([x] * edges, 1)  # keeps channels_last
        x = convolve_depthwise(x, self.depthwise, self.stride, self.dilation)
        return F.conv2d(x, self.pointwise, groups=edges)


def with_room(filters: Tensor, x: Tensor) -> Tensor:
    """Returns the filters (n, c, k, k) for a convolution of x, with zeros behind them in memory.

    In bf16 on CUDA a kernel of cuDNN 9.19 rounds n up to a multiple of eight and reads as many filters, which
    is an illegal memory access where nothing lies behind them.
    """
    lacking = -len(filters) % 8
    if not lacking or not x.is_cuda or x.dtype != torch.bfloat16:
        return filters
    filters = filters.to(x.dtype, memory_format=torch.channels_last)  # now: a later copy would lose the zeros
    return F.pad(filters, (0,) * 7 + (lacking,))[: len(filters)]


class EdgesFrom(nn.Module):
    """All mixed operations (eq. 2) that leave one state.

    forward: x (n, c, h, w), weights (edges, 8) -> (n, edges * c, h / stride, w / stride).
    """

    def __init__(self, edges: int, channels: int, stride: int):
        super().__init__()
        self.edges = edges
        self.channels = channels
        self.stride = stride
        wide = edges * channels
        self.register_buffer("identity", torch.eye(channels), persistent=False)
        self.average_pool = AveragePool(stride)
        self.norm_max = EdgeNorm(channels)
        self.norm_average = EdgeNorm(channels)
        if stride == 2:  # the skip connection is a FactorizedReduce
            self.even = nn.Parameter(torch.empty(wide // 2, channels, 1, 1))
            self.odd = nn.Parameter(torch.empty(wide // 2, channels, 1, 1))
            nn.init.kaiming_uniform_(self.even, a=5**0.5)
            nn.init.kaiming_uniform_(self.odd, a=5**0.5)
            self.norm_skip = EdgeNorm(wide)
        self.sep_3_a = EdgeConv(edges, channels, 3, stride, 1, shared=True)
        self.sep_5_a = EdgeConv(edges, channels, 5, stride, 1, shared=True)
        self.sep_3_b = EdgeConv(edges, channels, 3, 1, 1, shared=False)
        self.sep_5_b = EdgeConv(edges, channels, 5, 1, 1, shared=False)
        self.dil_3 = EdgeConv(edges, channels, 3, stride, 2, shared=True)
        self.dil_5 = EdgeConv(edges, channels, 5, stride, 2, shared=True)
        self.norms_a = nn.ModuleDict({name: EdgeNorm(wide) for name in PRIMITIVES[4:6]})  # of the separable
        self.norms_b = nn.ModuleDict({name: EdgeNorm(wide) for name in PRIMITIVES[4:]})

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        scales = weights.t().repeat_interleave(self.channels, 1)  # (8, edges * channels)
        scale = dict(zip(PRIMITIVES, scales.unbind(0)))
        relu = F.relu(x)
        parts = []
        separable = {
            "sep_conv_3x3": (self.sep_3_a, self.sep_3_b),
            "sep_conv_5x5": (self.sep_5_a, self.sep_5_b),
        }
        for name, (first, second) in separable.items():
            parts.append(self.norms_b[name](second(F.relu(self.norms_a[name](first(relu)))), scale[name]))
        for name, layer in (("dil_conv_3x3", self.dil_3), ("dil_conv_5x5", self.dil_5)):
            parts.append(self.norms_b[name](layer(relu), scale[name]))
        shared = [  # the same for all edges, in the order of PRIMITIVES
            self.norm_max(F.max_pool2d(x, 3, self.stride, 1)),
            self.norm_average(self.average_pool(x)),
        ]
        if self.stride == 1:
            shared.append(x)
        else:
            # every second pixel, then stride 1: see FactorizedReduce
            even = F.conv2d(every_second(relu), self.even)
            odd = F.conv2d(every_second(relu, 1), self.odd)
            halves = [half.unflatten(1, (self.edges, -1)) for half in (even, odd)]
            parts.append(self.norm_skip(torch.cat(halves, 2).flatten(1, 2), scale["skip_connect"]))
        # Every edge weighs what all share: a pointwise convolution by (edges, 1, shared, 1) * I (1, c, 1, c).
        start = PRIMITIVES.index("max_pool_3x3")
        mix = weights[:, None, start : start + len(shared), None] * self.identity[:, None]
        parts.append(F.conv2d(torch.cat(shared, 1), mix.flatten(0, 1).flatten(1)[..., None, None]))
        return sum(parts[1:], parts[0])


class SearchCell(nn.Module):
    """A cell with all operations on all edges.

    forward: two inputs (n, c, h, w), for each of the five states the weights (edges, 8) of the edges that
    leave it, and the edges' own weights (14,) -> (n, 4 * channels, h, w), half the sides from a reduction.

    The operations see the first `1 / partial` of the channels; the others pass as they are (Xu et al. 2020,
    eq. 2).
    """

    def __init__(self, shape: CellShape, partial: int = 1):
        super().__init__()
        self.inputs = shape.inputs(affine=False)
        self.partial = partial
        self.active = shape.channels // partial
        sources = (EdgesFrom(len(rows), self.active, shape.stride(s)) for s, rows in enumerate(LEAVING))
        self.sources = nn.ModuleList(sources)

    def forward(
        self, before_before: Tensor, before: Tensor, weights: Sequence[Tensor], edge_weights: Tensor
    ) -> Tensor:
        states = [self.inputs[0](before_before), self.inputs[1](before)]
        totals: list[Tensor | None] = [None] * NODES
        others: list[Tensor | None] = [None] * NODES  # the channels that pass by
        scales = edge_weights.to(states[0].dtype).unbind(0)
        for state, source in enumerate(self.sources):
            nodes = edges_from(state)
            x = states[state]
            for node, out in zip(nodes, source(x[:, : self.active], weights[state]).chunk(len(nodes), 1)):
                totals[node] = out if totals[node] is None else totals[node] + out  # eq. 1
            if self.partial > 1:
                passing = x[:, self.active :] if source.stride == 1 else F.max_pool2d(x[:, self.active :], 2)
                for node in nodes:
                    out = passing * scales[edge_index(node, state)]
                    others[node] = out if others[node] is None else others[node] + out
            if state >= 1:
                whole = totals[state - 1]
                if self.partial > 1:
                    whole = F.channel_shuffle(torch.cat([whole, others[state - 1]], 1), self.partial)
                    whole = whole.contiguous(memory_format=torch.channels_last)
                states.append(whole)
        return torch.cat(states[2:], 1)


class Supernet(nn.Module):
    """Pictures (n, 3, h, w) -> logits (n, classes).

    `alphas` (2, 14, 8) hold the architecture of normal and reduction cells, before the softmax over
    operations. With `partial` above 1 this is PC-DARTS's supernet, and `betas` (2, 14) weigh the edges, by
    a softmax over those that enter a node. 16 channels and 8 cells have 1,930,618 parameters without the
    alphas.
    """

    def __init__(self, channels: int = 16, layers: int = 8, classes: int = 10, partial: int = 1):
        super().__init__()
        shapes = list(cell_shapes(channels, layers))
        self.stem = make_stem(channels)
        self.cells = nn.ModuleList(SearchCell(shape, partial) for shape in shapes)
        self.reductions = [int(shape.reduction) for shape in shapes]
        self.score = nn.Linear(NODES * shapes[-1].channels, classes)
        self.alphas = nn.Parameter(1e-3 * torch.randn(2, EDGES, len(PRIMITIVES)))
        self.betas = nn.Parameter(1e-3 * torch.randn(2, EDGES)) if partial > 1 else None
        self.to(memory_format=torch.channels_last)

    def architecture(self) -> list[nn.Parameter]:
        """Returns the parameters that are searched: the alphas, and PC-DARTS's betas."""
        return [self.alphas] if self.betas is None else [self.alphas, self.betas]

    def weights(self) -> list[nn.Parameter]:
        """Returns the network's own parameters: all but the architecture's."""
        return [parameter for name, parameter in self.named_parameters() if name not in ("alphas", "betas")]

    def best_dense(self) -> int:
        """Returns up to how many channels dense convolutions are faster in fp32 on the network's device."""
        on_cpu = self.alphas.device.type == "cpu"
        return DENSE_FP32_CPU if on_cpu and self.betas is None else DENSE_FP32

    def run_dense(self, up_to: int) -> None:
        """Sets up to how many channels fp32 runs dense convolutions, which only rounds differently."""
        for module in self.modules():
            if isinstance(module, EdgeConv):
                module.dense_up_to = up_to

    def mixing(self) -> tuple[Tensor, Tensor]:
        """Returns the weights of operations (2, 14, 8), times their edge's; and of edges (2, 14), or ones."""
        weights = self.alphas.softmax(-1)  # eq. 2
        if self.betas is None:
            return weights, torch.ones_like(weights[..., 0])
        into_nodes = self.betas.split(list(range(2, NODES + 2)), 1)  # (2, 2) to (2, 5)
        edges = torch.cat([betas.softmax(1) for betas in into_nodes], 1)  # Xu et al. 2020, eq. 3
        return weights * edges[..., None], edges

    def forward(self, x: Tensor) -> Tensor:
        weights, edges = self.mixing()
        rows = [kind.unbind(0) for kind in weights]  # of both kinds of cell, by edge
        leaving = [[torch.stack([row[i] for i in edges]) for edges in LEAVING] for row in rows]
        before_before = before = self.stem(x)
        for cell, reduction in zip(self.cells, self.reductions):
            before_before, before = before, cell(before_before, before, leaving[reduction], edges[reduction])
        return self.score(F.adaptive_avg_pool2d(before, 1).flatten(1))

    def genotype(self) -> Genotype:
        """Returns the architecture that the alphas (and betas) stand for now."""
        weights, _ = self.mixing()
        return derive(*weights.detach().float().tolist())
