"""Balanced truncation in your own PyTorch loop: two lines, marked below. Runs in seconds on a CPU."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ssmith.train import LRU, Truncator


class Model(nn.Module):
    """Any module will do, as long as it contains SSM layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lru, self.out = nn.Linear(1, 8), LRU(8, 64), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 3) of sequences (batch, T, 1)."""
        return self.out(torch.relu(self.lru(self.embed(x))).mean(1))


def loss_fn(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of a batch (x, labels)."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


torch.manual_seed(0)
labels = torch.randint(0, 3, (600,))  # which of three frequencies is it?
phase = 6.28 * torch.rand(600, 1)
waves = torch.sin(0.2 * (labels[:, None] + 1) * torch.arange(100) + phase) + torch.randn(600, 100)
loader = DataLoader(TensorDataset(waves[..., None], labels), batch_size=50, shuffle=True)

model, epochs = Model(), 20
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
cut = Truncator(model, optimizer, loader, order=6, total_steps=epochs * len(loader), loss_fn=loss_fn)  # 1
step = 0
for _ in range(epochs):
    for batch in loader:
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        loss.backward()
        optimizer.step()
        step += 1
        if report := cut.step(step):  # 2
            print(report)
print(f"{model.lru.order} states, loss {loss.item():.3f}")
