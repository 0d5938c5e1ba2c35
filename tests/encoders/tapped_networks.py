"""Small networks with the traits that make hooks go wrong, and stimuli for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.backbones.backbone import Backbone
from stimuli import StimulusSet

# Kept by neither the network nor its class: what they hold is part of the fingerprint.
BATCH_LENGTHS: list[int] = []


class InplaceNet(nn.Module):
    """Batch normalisation whose output the next layer overwrites; notes the length of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        BATCH_LENGTHS.append(len(x))
        x = self.conv2(self.act(self.norm(self.conv(x))))
        return self.head(self.drop(x.mean(dim=(2, 3))))


class SharedNet(nn.Module):
    """One activation used three times, after layers that overwrite nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.c(self.act(self.b(self.act(self.a(x))))))


class LoopNet(nn.Module):
    """A cell called once a token, then a read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 4)
        for token in x.unbind(1):
            state = self.cell(token, state)
        return self.out(state)


class CompositeNet(nn.Module):
    """Layers that give tuples, mappings and nothing of use."""

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"double": 2 * x, "nested": (x + 1, None), "count": x.new_zeros(3, dtype=torch.long)}

    class Integers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(dim=-1)

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.pair = self.Pair()
        self.integers = self.Integers()

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.lstm(x)
        hidden, _ = self.attention(hidden, hidden, hidden, need_weights=False)
        return self.integers(self.pair(hidden)["double"])


class VitCifar10(nn.Module):
    """Vision transformer for 32 pixels: patches of 4, CLS, six post-norm encoder layers of 128 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, 128, 4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 128))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, 128))
        layer = nn.TransformerEncoderLayer(128, 8, 256, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 6)
        self.mlp_head = nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed
        return self.mlp_head(self.transformer(tokens)[:, 0])


class RowsOfTable:
    """Gives ``x`` from a table kept beside the set: row i of the table is stimulus i."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        rows = [int(str(stimuli.stimulus_ids[int(i)])) for i in indices]
        return {"x": self.table[rows]}

    def describe(self) -> dict[str, Any]:
        return {"kind": "table"}


class PaddedTexts:
    """Words become token numbers by their length; padded to the longest of the batch on either side."""

    def __init__(self, side: str = "right") -> None:
        self.side = side

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        assert stimuli.texts is not None
        tokens = [[len(word) for word in stimuli.texts[int(i)].split()] for i in indices]
        longest = max(map(len, tokens))
        ids, mask = torch.full((len(tokens), longest), 9), torch.zeros(len(tokens), longest, dtype=torch.long)
        for row, numbers in enumerate(tokens):
            where = slice(longest - len(numbers), None) if self.side == "left" else slice(len(numbers))
            ids[row, where], mask[row, where] = torch.tensor(numbers, dtype=torch.long), 1
        return {"input_ids": ids, "attention_mask": mask}

    def describe(self) -> dict[str, Any]:
        return {"kind": "word lengths", "side": self.side}


class TokenNet(nn.Module):
    """An embedding and a layer for each token by itself, so that padding cannot reach other tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.linear = nn.Linear(4, 3)
        self.halved = nn.AvgPool1d(2, ceil_mode=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.halved(self.linear(self.embedding(input_ids)).transpose(1, 2)).transpose(1, 2)


def seeded(network: type[nn.Module], seed: int = 0) -> Any:
    """Make a network whose weights are drawn under a seed, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network().eval()


def table_backbone(module: nn.Module, table: Tensor) -> tuple[Backbone, StimulusSet]:
    """Join a module with a table of inputs, one row a stimulus."""
    numbers = [str(row) for row in range(len(table))]
    pictures = np.arange(len(table), dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    backbone = Backbone("table", module, RowsOfTable(table), "image", (), "made by a test")
    return backbone, StimulusSet(numbers, images=pictures)
