"""Your own network and your own Dataset: forget a class of digits, and see what is left of it.

python examples/own_model.py [FOLDER]     writes own_model_report.html there, or here
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import unsee


class Net(nn.Module):
    """Two convolutions, the strongest place of each map, one Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        )
        self.out = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.out(self.body(x).amax((2, 3)))


def trained(dataset: TensorDataset) -> Net:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for x, y in DataLoader(dataset, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


out = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
images, labels = load_digits(return_X_y=True)
x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1  # taken as they are
y = torch.tensor(labels)
train, test = TensorDataset(x[:1400], y[:1400]), TensorDataset(x[1400:], y[1400:])
model = trained(train)

data = unsee.Data.from_dataset(train, test)
split = unsee.choose(data, "class=3")
after = unsee.unlearn(model, split.forget, split.retain, method="snu_deep", seed=0)
run = unsee.audit(split, original=model, unlearned=after, retrained=None)
unsee.report(run, out / "own_model_report.html")

for name in ("forget_accuracy", "test_accuracy", "membership_auc", "few_shot_recall"):
    before, now = (run.measurements[m][name].value for m in ("original", "unlearned"))
    print(f"{name:18} {before:.3f} -> {now:.3f}")
