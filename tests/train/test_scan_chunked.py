import pytest
import torch

from ssmith.train.recurrence import PlainTorch
from ssmith.train.scan_chunked import chunked
from tests.train.scan_cases import expected, layer, results, worst


@pytest.mark.parametrize("length", [1, 2, 7, 16, 64, 100, 1000])
def test_any_chunk_length_gives_the_same_map(length):
    size = (3, 100, 12, 5, 4)
    run = PlainTorch()
    found = results(lambda *a: chunked(*a, recurrence=run, length=length), layer(*size))
    error, whose = worst(found, expected(*size, radius=0.999))
    assert error <= 1e-5, whose


def test_an_impulse_comes_out_as_the_kernel():
    # u = unit impulse on input i at step s: y[t] = C A^(t-s) B e_i, whichever side of a chunk s is.
    u, lam, B, C, x0 = layer(1, 24, 3, 2, 2, dtype=torch.float64)
    a, b = lam
    A = torch.cat((torch.cat((a.diag(), -b.diag()), 1), torch.cat((b.diag(), a.diag()), 1)))
    for s in (0, 3, 7, 8, 23):
        u.zero_()
        u[0, s, 1] = 1
        y, _ = chunked(u, lam, B, C, torch.zeros_like(x0), recurrence=PlainTorch(), length=8)
        kernel = [C @ torch.linalg.matrix_power(A, t - s) @ B[:, 1] for t in range(s, 24)]
        torch.testing.assert_close(y[0, s:], torch.stack(kernel), rtol=1e-12, atol=1e-12)
        assert not y[0, :s].any()
