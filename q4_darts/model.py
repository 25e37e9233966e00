"""The derived network of DARTS (Liu et al. 2019, section 3.2 and appendix A.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from q4_darts.genotypes import NODES, Edge, Genotype
from q4_darts.operations import OPERATIONS, CellShape, cell_shapes, make_stem


def draw_keep(layers: int, batch: int, probability: float, generator: torch.Generator) -> Tensor:
    """Draws drop-path's factors of the edges' outputs (Larsson et al. 2017).

    A dropped sample has 0, any other 1 / (1 - probability), so that the expectation stays.

    Returns:
        (layers, 8, batch, 1, 1, 1), one factor per cell, edge and sample.
    """
    draw = torch.rand(layers, 2 * NODES, batch, 1, 1, 1, generator=generator, device=generator.device)
    return (draw >= probability) / (1 - probability)


class Cell(nn.Module):
    """Two inputs (n, c, h, w) -> (n, 4 * channels, h, w), with half the sides from a reduction.

    Each of the four nodes is the sum of two operations; the output concatenates the nodes.
    """

    def __init__(self, edges: tuple[Edge, ...], shape: CellShape):
        super().__init__()
        self.inputs = shape.inputs()
        self.states = [state for _, state in edges]
        self.layers = nn.ModuleList()
        for name, state in edges:
            self.layers.append(OPERATIONS[name](shape.channels, shape.stride(state), True))

    def forward(self, before_before: Tensor, before: Tensor, keep: Tensor | None = None) -> Tensor:
        states = [self.inputs[0](before_before), self.inputs[1](before)]
        for node in range(NODES):
            total = 0
            for place in (2 * node, 2 * node + 1):
                layer = self.layers[place]
                out = layer(states[self.states[place]])
                if keep is not None and not isinstance(layer, nn.Identity):  # an identity is never dropped
                    out = out * keep[place].to(out.dtype)
                total = total + out
            states.append(total)
        return torch.cat(states[2:], 1)


class PoolTo2x2(nn.Module):
    """Average pooling (n, c, side, side) -> (n, c, 2, 2); of 8 x 8 as published: 5 x 5 with stride 3."""

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        kernel = -(-5 * side // 8)
        return F.avg_pool2d(x, kernel, side - kernel)


class Auxiliary(nn.Module):
    """The head after two thirds of the cells: (n, channels, h, w) -> logits (n, classes)."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            PoolTo2x2(),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),  # (n, 768, 1, 1)
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.score = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.layers(x).flatten(1))


class Network(nn.Module):
    """Pictures (n, 3, h, w) -> logits (n, classes), and the auxiliary head's in training (else None).

    Reduction cells stand at one and two thirds of the depth, where the channels double. DARTS_V2 with 36
    channels and 20 cells has 3,349,342 parameters without the auxiliary head. `keep` comes from `draw_keep`;
    without it nothing is dropped.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int = 36,
        layers: int = 20,
        classes: int = 10,
        auxiliary: bool = False,
    ):
        super().__init__()
        self.genotype = genotype
        self.stem = make_stem(channels)
        self.cells = nn.ModuleList()
        self.auxiliary: Auxiliary | None = None
        self.auxiliary_after = 2 * layers // 3
        for place, shape in enumerate(cell_shapes(channels, layers)):
            self.cells.append(Cell(genotype.reduce if shape.reduction else genotype.normal, shape))
            if auxiliary and place == self.auxiliary_after:
                self.auxiliary = Auxiliary(NODES * shape.channels, classes)
        self.score = nn.Linear(NODES * shape.channels, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        before_before = before = self.stem(x)
        extra = None
        for place, cell in enumerate(self.cells):
            kept = None if keep is None else keep[place]
            before_before, before = before, cell(before_before, before, kept)
            if place == self.auxiliary_after and self.auxiliary is not None and self.training:
                extra = self.auxiliary(before)
        return self.score(F.adaptive_avg_pool2d(before, 1).flatten(1)), extra
