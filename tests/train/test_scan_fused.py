import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmith.train.recurrence import PlainTorch
from ssmith.train.scan_fused import Plan, fused, tiles
from tests.train.scan_cases import layer


@given(st.integers(1, 9), st.integers(1, 60), st.integers(1, 100))
def test_tiles_cover_every_step_once_in_order_and_are_contiguous(batch, steps, rows):
    a = torch.arange(batch * steps * 2).view(batch, steps, 2)
    parts = tiles(batch, steps, rows)
    assert torch.equal(torch.cat([tile.flat(a) for tile in parts]), a.view(-1, 2))
    assert all(tile.of(a).is_contiguous() for tile in parts)
    assert all(tile.rows <= max(2 * rows, 1) for tile in parts)


def test_states_are_kept_or_computed_again_with_the_same_bits():
    arguments = [a.requires_grad_() for a in layer(3, 100, 6, 2, 2)]
    kept_bytes, grads = [], []
    for recompute in (False, True):
        kept = {}

        def pack(a, kept=kept):
            kept[a.data_ptr()] = a.nbytes
            return a

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda a: a):
            y, last = fused(*arguments, plan=Plan(PlainTorch(), 20, recompute))
        kept_bytes.append(sum(kept.values()))
        grads.append(torch.autograd.grad(y.square().sum() + last.sum(), arguments))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    states_bytes, boundary_bytes = 3 * 100 * 12 * 4, 3 * 5 * 12 * 4
    assert kept_bytes[0] - kept_bytes[1] == states_bytes > 2 * boundary_bytes
