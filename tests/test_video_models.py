import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from melib.models import BODIES, VideoRegressor, _selective_scan

CLOSE = {"atol": 2e-6, "rtol": 1e-5}


@pytest.fixture(autouse=True)
def one_thread():
    """Small products gain nothing by threads, and lose much on shared cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def videos(n, t, seed=0, channels=6):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, t, channels, generator=random), torch.ones(n, t, dtype=torch.bool)


def build(body, causal=False, **more):
    torch.manual_seed(0)
    return VideoRegressor(6, body=body, width=16, blocks=2, causal=causal, **more).eval()


@pytest.fixture(params=[(body, causal) for body in BODIES for causal in (False, True)], ids=str)
def net(request):
    return build(*request.param)


def step_by_step(value, step, decay, write, read):
    """The state space as its recurrence says, in float64 and one frame at a time."""
    value, step, decay, write, read = (part.double() for part in (value, step, decay, write, read))
    n, t, heads, size = value.shape
    state, y = torch.zeros(n, heads, size, write.shape[-1], dtype=torch.float64), []
    for i in range(t):
        fresh = torch.einsum("nhp,ns->nhps", step[:, i, :, None] * value[:, i], write[:, i])
        state = torch.exp(step[:, i] * decay)[..., None, None] * state + fresh
        y.append(torch.einsum("nhps,ns->nhp", state, read[:, i]))
    return torch.stack(y, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.sampled_from([1e-3, 0.1, 3.0, 100.0]), st.integers(0, 99))
def test_the_chunked_scan_is_the_recurrence_forwards_and_backwards(t, chunk, step, seed):
    torch.manual_seed(seed)
    parts = [
        torch.randn(2, t, 3, 4),
        step * torch.rand(2, t, 3),
        -torch.arange(1.0, 4),
        torch.randn(2, t, 5),
        torch.randn(2, t, 5),
    ]
    expected = step_by_step(*parts)
    single = _selective_scan(*parts, chunk=chunk)
    assert single.dtype == torch.float32
    largest = float(expected.abs().max())
    torch.testing.assert_close(single.double(), expected, atol=1e-5 * largest, rtol=1e-4)

    ours, theirs = ([part.double().requires_grad_() for part in parts] for _ in range(2))
    y, expected = _selective_scan(*ours, chunk=chunk), step_by_step(*theirs)
    weights = torch.randn(y.shape, dtype=torch.float64)
    gradients = (
        torch.autograd.grad((out * weights).sum(), leaf) for out, leaf in ((y, ours), (expected, theirs))
    )
    torch.testing.assert_close(*gradients, atol=1e-9 * max(1, largest), rtol=1e-9)


@pytest.mark.parametrize("t", [1, 2, 3, 16, 17, 50])
def test_any_length_gives_a_score_and_logits_a_frame(net, t):
    x, mask = videos(2, t)
    score, logits = net(100 * x)
    assert score.shape == (2, t) and logits.shape == (2, t, 5)
    assert score.dtype == torch.float32
    assert ((score >= 0) & (score <= 1)).all() and ((net(x)[0] > 0) & (net(x)[0] < 1)).all()
    torch.testing.assert_close(net(100 * x, mask)[0], score)


def test_a_video_is_scored_alone_as_in_any_batch_with_any_padding(net):
    lengths = [1, 7, 20, 33]
    x, mask = videos(4, 40)
    for row, length in enumerate(lengths):
        mask[row, length:] = False
    score, logits = net(x, mask)
    for row, length in enumerate(lengths):
        alone = net(x[row : row + 1, :length])
        torch.testing.assert_close(score[row : row + 1, :length], alone[0], **CLOSE)
        torch.testing.assert_close(logits[row : row + 1, :length], alone[1], **CLOSE)


def test_what_a_masked_frame_holds_is_never_read(net):
    x, mask = videos(2, 30)
    mask[0, 10:14] = mask[1, :5] = mask[1, -3:] = False
    score, logits = net(x, mask)
    for content in (torch.nan, torch.inf, 7.0):
        x[~mask] = content
        torch.testing.assert_close(net(x, mask), (score, logits), atol=0, rtol=0)
    x.requires_grad_()
    gradient = torch.autograd.grad(net(x, mask)[0].sum(), x)[0]
    assert not gradient[~mask].any() and gradient[mask].isfinite().all()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("change", [12, 13])
def test_only_a_causal_network_is_blind_to_the_future(body, causal, change):
    net = build(body, causal)
    x, mask = videos(1, 24)
    other, fewer = x.clone(), mask.clone()
    other[:, change:] += 3
    fewer[:, change:] = False
    for changed in (net(other, mask)[0], net(x, fewer)[0]):
        before = (changed - net(x, mask)[0]).abs()[0, :change]
        assert (before.max() < 1e-6) == causal


def test_padding_in_front_shifts_the_curve(net):
    x, mask = videos(1, 21)
    front = torch.cat([torch.full((1, 8, 6), torch.nan), x], 1)
    mask_there = torch.cat([torch.zeros(1, 8, dtype=torch.bool), mask], 1)
    torch.testing.assert_close(net(front, mask_there)[0][:, 8:], net(x, mask)[0], **CLOSE)


@pytest.mark.parametrize("body", BODIES)
def test_gradients_reach_every_parameter(body):
    net = build(body).train()
    x, mask = videos(2, 40)
    score, logits = net(x, mask)
    (score.square().sum() + logits.square().sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
