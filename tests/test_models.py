import pytest
import torch
import torchvision
from safetensors.torch import save_file

from melib.errors import DataError
from melib.models import FramewiseNet, IntensityNet, resnet18


def windows(n=2, t=5, channels=2, size=32, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, t, channels, size, size, generator=random), torch.ones(n, t, dtype=torch.bool)


@pytest.fixture(params=["framewise", "bigru"])
def net(request):
    torch.manual_seed(0)
    build = {"framewise": FramewiseNet, "bigru": IntensityNet}[request.param]
    return build(2, width=8).eval()


def test_torchvisions_weights_give_torchvisions_features(tmp_path):
    torch.manual_seed(1)
    reference = torchvision.models.resnet18().eval()
    save_file(reference.state_dict(), tmp_path / "resnet18.safetensors")
    net = FramewiseNet(3, weights=tmp_path / "resnet18.safetensors").eval()
    reference.fc = torch.nn.Identity()
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net.encoder(image), reference(image))


def test_a_grey_picture_answers_as_it_did_in_colour(tmp_path):
    reference = torchvision.models.resnet18().eval()
    save_file(reference.state_dict(), tmp_path / "resnet18.safetensors")
    grey = torch.randn(2, 1, 64, 64)
    for channels in (1, 2):
        encoder = FramewiseNet(channels, weights=tmp_path / "resnet18.safetensors").encoder.eval()
        image = grey.expand(-1, channels, -1, -1)
        torch.testing.assert_close(
            encoder.conv1(image), reference.conv1(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("content", [None, b"not weights", "narrow"])
def test_weights_that_cannot_be_used_say_so(tmp_path, content):
    path = tmp_path / "resnet18.safetensors"
    if content == "narrow":
        save_file(resnet18(3, 8).state_dict(), path)
    elif content:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"resnet18\.safetensors"):
        IntensityNet(1, weights=path)


def test_the_framewise_net_commutes_with_time_and_the_gru_does_not(net):
    x, mask = windows(t=6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    commutes = torch.allclose(net(x[:, order], mask), net(x, mask)[:, order], atol=1e-5)
    assert commutes == isinstance(net, FramewiseNet)


@pytest.mark.parametrize("training", [False, True])
def test_pixels_of_masked_frames_are_never_seen(net, training):
    net.train(training)
    net.dropout.p = 0.0
    x, mask = windows()
    mask[0, 2] = mask[1, :] = False
    other = torch.where(mask[:, :, None, None, None], x, 7.0)
    torch.testing.assert_close(net(other, mask), net(x, mask))


def test_imagenet_weights_offline_are_a_readable_error(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(DataError, match="connect to the network once"):
        FramewiseNet(1, weights="imagenet")
