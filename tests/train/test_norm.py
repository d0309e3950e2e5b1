import pytest
import torch
from torch import nn

from ssmith.errors import InputError
from ssmith.train.norm import Affine, BatchNorm, LayerNorm, NoNorm, recalibrate


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise(norm):
    with torch.no_grad():
        norm.scale.copy_(1 + 0.3 * randn(*norm.scale.shape, seed=5))
        norm.shift.copy_(randn(*norm.shift.shape, seed=6))
    return norm


def test_batch_norm_without_padding_is_torchs():
    ours, theirs = randomise(BatchNorm(4)), nn.BatchNorm1d(4)
    with torch.no_grad():
        theirs.weight.copy_(ours.scale)
        theirs.bias.copy_(ours.shift)
    for seed in range(3):
        v = 2 * randn(5, 7, 4, seed=seed) + 3
        torch.testing.assert_close(ours(v), theirs(v.flatten(0, 1)).view(5, 7, 4), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(v), theirs(v.flatten(0, 1)).view(5, 7, 4), rtol=1e-5, atol=1e-5)


def test_padding_is_invisible_to_batch_norm():
    v, lengths = randn(3, 9, 4), torch.tensor([9, 4, 1])
    mask = torch.arange(9) < lengths[:, None]
    padded = torch.where(mask[..., None], v, 1e3)
    ours, plain = randomise(BatchNorm(4)), randomise(BatchNorm(4))
    got = ours(padded, mask)[mask]
    expected = plain(v[mask][None])[0]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    torch.testing.assert_close(ours.running_var, plain.running_var)


def test_one_frame_is_enough_for_batch_norm():
    norm = BatchNorm(2)
    assert torch.isfinite(norm(randn(1, 1, 2))).all() and torch.isfinite(norm.running_var).all()


def test_layer_norm_is_per_frame_with_biased_variance():
    norm, v = randomise(LayerNorm(6)), randn(2, 5, 6)
    centred = v - v.mean(-1, keepdim=True)
    normed = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + norm.eps)
    torch.testing.assert_close(norm(v), norm.scale * normed + norm.shift)
    torch.testing.assert_close(norm(v)[:, 3], norm(v[:, 3]))


def test_affine_and_none():
    norm, v = randomise(Affine(6)), randn(2, 5, 6)
    torch.testing.assert_close(norm(v), norm.scale * v + norm.shift)
    assert NoNorm()(v) is v


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.second = BatchNorm(3), nn.Dropout(0.5), BatchNorm(3)

    def forward(self, v, mask=None):
        return self.second(self.drop(self.first(v, mask)).square(), mask)


def test_recalibration_pools_all_valid_frames_and_restores_the_modes():
    model = Model()
    model.second.eval()
    modes = [m.training for m in model.modules()]
    lengths = [torch.tensor([8, 3]), torch.tensor([5, 8]), torch.tensor([1, 8])]
    batches = [(5 * randn(2, 8, 3, seed=i) + i, torch.arange(8) < n[:, None]) for i, n in enumerate(lengths)]
    recalibrate(model, batches)
    frames = torch.cat([v[mask] for v, mask in batches]).double()
    torch.testing.assert_close(model.first.running_mean.double(), frames.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.first.running_var.double(), frames.var(0), rtol=1e-5, atol=1e-5)
    assert [m.training for m in model.modules()] == modes
    first = {name: buffer.clone() for name, buffer in model.named_buffers()}
    recalibrate(model, batches, run=lambda batch: model(*batch))  # forgets what was there; no dropout
    assert all(torch.equal(buffer, first[name]) for name, buffer in model.named_buffers())
    model.train()(*batches[0])
    assert not torch.equal(model.first.running_mean, first["first.running_mean"])


def test_recalibration_needs_data_only_where_there_is_a_batch_norm():
    recalibrate(nn.Sequential(LayerNorm(3)), [])
    model = Model()
    with pytest.raises(InputError, match="at least one batch"):
        recalibrate(model, [])
    assert model.first.tally is None and model.training


def test_without_a_mask_batch_norm_is_the_masked_one_with_every_frame_valid():
    torch.manual_seed(0)
    v = torch.randn(4, 9, 3, dtype=torch.float64, requires_grad=True)
    plain, masked = (BatchNorm(3).double() for _ in range(2))
    out, expected = plain(v), masked(v, torch.ones(4, 9, dtype=torch.bool))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(plain.running_var, masked.running_var)
    torch.testing.assert_close(plain.running_mean, masked.running_mean)
    weight = torch.randn_like(out)
    (a,), (b,) = (torch.autograd.grad((y * weight).sum(), v) for y in (out, expected))
    torch.testing.assert_close(a, b)
