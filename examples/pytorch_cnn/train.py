# SPDX-License-Identifier: Apache-2.0
"""Train a small CNN in PyTorch on scikit-learn's handwritten digits and write it as ONNX, with a compact data set.

The data are 1797 scanned digits of 8x8 pixels, 0 to 16 (UCI Optical Recognition of Handwritten Digits), as torch wants
them: channels before positions. Half of them train the model; the other half is the test set that edgepack selects and
scores on.

    python train.py            # writes digits.onnx and digits.npz beside this file
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
EPOCHS = 60
BATCH = 32
SEED = 7


class Block(nn.Module):
    """A depthwise convolution and a pointwise one, added to what came in."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        """Take and give (batch, channels, height, width)."""
        return torch.relu(x + self.pointwise(torch.relu(self.norm(self.depthwise(x)))))


class Digits(nn.Module):
    """1x8x8 pixels from 0 to 16 in, 10 logits out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 24, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.pool = nn.MaxPool2d(2)
        self.wide = nn.Conv2d(24, 48, 3, padding=1)
        self.block = Block(48)
        self.drop = nn.Dropout(0.2)
        self.digit = nn.Linear(48, 10)

    def forward(self, x):
        """Take images, give logits."""
        x = self.pool(torch.relu(self.norm(self.stem(x / 16))))
        x = self.block(torch.relu(self.wide(x)))
        return self.digit(self.drop(x.mean((2, 3))))


def train(net, x, y):
    """Fit ``net`` with Adam, the learning rate falling as a cosine."""
    steps = len(x) // BATCH
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def export(net, path):
    """Write ``net`` as ONNX, its batch open, weights inside, without the stack traces that torch keeps at each node."""
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, 8, 8),),
        str(path),
        input_names=["image"],
        output_names=["digit"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        external_data=False,
        dynamo=True,
    )
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
    onnx.save(model, path)


def main():
    """Train, report the accuracy on the held-out half, and write both files."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(1)
    digits = load_digits()
    x, y = digits.images.astype(np.uint8)[:, None], digits.target.astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.5, random_state=SEED, stratify=y)
    net = Digits()
    train(net.train(), torch.from_numpy(x_train).float(), torch.from_numpy(y_train).long())
    net.eval()
    with torch.no_grad():
        answers = net(torch.from_numpy(x_test).float()).argmax(1).numpy()
    print(f"accuracy on {len(x_test)} held-out digits: {(answers == y_test).mean():.4f}")
    export(net, HERE / "digits.onnx")
    np.savez_compressed(HERE / "digits.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


if __name__ == "__main__":
    main()
