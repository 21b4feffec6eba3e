"""The counts of the fact sheet, and both branches against torchvision, SciPy, scikit-image and hand-made weights."""

import re

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import block_reduce
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import DenseNet

from lensblend.errors import DataError, RequestError
from lensblend.networks.dynamic_filter_dense import DynamicFilterDense

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DynamicFilterDense(width=2).eval()


@pytest.fixture
def given():
    random = np.random.default_rng(0)
    shapes = {"photo": (1, 3, 64, 32), "saliency": (1, 1, 64, 32), "disparity": (1, 1, 64, 32)}
    return {name: torch.from_numpy(random.random(shape, dtype=np.float32)) for name, shape in shapes.items()}


def recorded(module):
    """What a module is given and returns, filled by the next forward."""
    inputs, outputs = [], []

    def record(module, given, output):
        inputs.extend(tensor.clone() for tensor in given)  # torchvision's ReLUs work in place
        outputs.append(output.clone())

    module.register_forward_hook(record)
    return inputs, outputs


def densenet(width):
    """DenseNet-121, whose width is 32, or a narrower one."""
    return DenseNet(growth_rate=width, block_config=(6, 12, 24, 16), num_init_features=2 * width)


def set_constant(layer, bias):
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.as_tensor(bias).expand_as(layer.bias))


def one_tap(tap):
    bias = torch.zeros(81)
    bias[tap] = 100.0
    return bias


def test_the_network_has_the_published_size():
    with torch.device("meta"):
        network = DynamicFilterDense()
    assert sum(p.numel() for p in network.parameters()) == 13_839_968


def test_a_full_photo_costs_the_known_products():
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = DynamicFilterDense().eval()
        network(torch.rand(1, 3, 1024, 1536), torch.rand(1, 1, 1024, 1536), torch.rand(1, 1, 1024, 1536))
    assert counter.get_total_flops() / 2e9 == pytest.approx(1371, abs=0.5)


@pytest.mark.parametrize(("report_blocks", "layers"), [(False, [6, 12, 24]), (True, [12, 16, 24])])
def test_dense_blocks_have_the_layers_of_code_or_report(given, report_blocks, layers):
    network = DynamicFilterDense(width=1, report_blocks=report_blocks).eval()
    assert [len(network.encoder[f"denseblock{index}"]) for index in (1, 2, 3)] == layers
    assert network(**given).bokeh.shape == (1, 3, 64, 32)


@torch.no_grad()
def test_the_stem_sees_photo_saliency_and_disparity_at_half_size_from_0_to_255(network, given):
    inputs, _ = recorded(network.stem)
    network(**given)
    photo, priors = 255 * given["photo"].numpy(), [255 * given[name].numpy() for name in ("saliency", "disparity")]
    blocks = inputs[0].numpy()[:, :12].reshape(1, 3, 2, 2, 32, 16)  # channel, row and column in the block
    centred = blocks.transpose(0, 1, 4, 2, 5, 3).reshape(1, 3, 64, 32)
    np.testing.assert_allclose(centred, photo - photo.mean((2, 3), keepdims=True), rtol=0, atol=1e-3)
    halves = np.concatenate([np.repeat(block_reduce(prior, (1, 1, 2, 2), np.mean), 3, 1) for prior in priors], 1)
    np.testing.assert_allclose(inputs[0].numpy()[:, 12:], halves, rtol=0, atol=1e-3)


@torch.no_grad()
def test_the_encoder_is_torchvisions_without_its_last_pooling(network, given):
    full = densenet(width=2).features.eval()
    network.encoder.load_state_dict(
        {name: tensor for name, tensor in full.state_dict().items() if name.startswith(tuple(network.encoder))}
    )
    stem, deepest = recorded(network.stem)[1], recorded(network.up)[0]
    network(**given)
    expected = stem[0]
    for name in ("denseblock1", "transition1", "denseblock2", "transition2", "denseblock3"):
        expected = full.get_submodule(name)(expected)
    last = full.transition3
    expected = last.conv(last.norm(expected).relu())
    assert deepest[0].shape == (1, 32, 8, 4)
    torch.testing.assert_close(deepest[0], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_kernels_are_not_negative_and_sum_to_one(network, given):
    network.predict[3].weight.mul_(30)
    kernels = network(**given).aux["kernels"]
    assert kernels.shape == (1, 81, 64, 32)
    assert kernels.min() >= 0
    assert kernels.max() > 0.5
    torch.testing.assert_close(kernels.sum(dim=1), torch.ones(1, 64, 32))


@torch.no_grad()
def test_a_kernel_of_the_middle_tap_and_a_black_image_return_the_photo(network, given):
    set_constant(network.context.finish, 0.0)
    set_constant(network.predict[3], one_tap(40))
    torch.testing.assert_close(network(**given).bokeh, given["photo"], rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("tap", [0, 5, 44])
def test_the_photo_less_its_mean_is_filtered_with_zeros_around_it(network, given, tap):
    set_constant(network.context.finish, [25.5, 51.0, -25.5])
    set_constant(network.predict[3], one_tap(tap))
    photo = given["photo"].double().numpy()
    mean = photo.mean((2, 3), keepdims=True)
    kernel = np.zeros(81)
    kernel[tap] = 1
    filtered = ndimage.correlate(photo - mean, kernel.reshape(1, 1, 9, 9), mode="constant")
    image = np.array([0.1, 0.2, -0.1]).reshape(1, 3, 1, 1)
    expected = filtered + mean + image
    np.testing.assert_allclose(network.train()(**given).bokeh.numpy(), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_context_is_four_averages_enlarged_to_the_features_size(network):
    context = network.context
    features, centred = torch.rand(1, 4, 32, 48), torch.rand(1, 3, 32, 48)
    _, reduced = recorded(context.reduce)
    inputs, _ = recorded(context.finish)
    context(features, centred)
    assert torch.equal(inputs[0][:, 4:], reduced[0])
    for index, side in enumerate((16, 8, 4, 2)):
        conv = context.averages[index][1]
        means = block_reduce(reduced[0][0].double().numpy(), (1, side, side), np.mean)
        logits = np.tensordot(conv.weight[0, :, 0, 0].double().numpy(), means, axes=1) + conv.bias.item()
        expected = np.where(logits < 0, 0.2 * logits, logits).repeat(side, 0).repeat(side, 1)
        np.testing.assert_allclose(inputs[0][0, index].numpy(), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_image_decoder_also_sees_the_photo(network, given):
    inputs, _ = recorded(network.context)
    network(**given)
    photo = 255 * given["photo"]
    torch.testing.assert_close(inputs[1], photo - photo.mean((2, 3), keepdim=True), rtol=0, atol=1e-3)


@torch.no_grad()
def test_features_of_a_decoder_are_normalised_per_photo(network, given):
    inputs, _ = recorded(network.up[0].layers[0][2])
    network(**given)
    convolved = [m for m in network.up.modules() if isinstance(m, nn.Conv2d)]
    assert [conv.kernel_size[0] for conv in convolved] == [3, 3, 3, 3, 3, 1, 3]
    assert all(conv.bias is None for conv in convolved)
    assert not [m for m in network.up.modules() if isinstance(m, nn.BatchNorm2d)]
    # Rectified normal numbers: none is negative, and every channel has some zeros.
    assert inputs[0].min() == 0
    assert bool(((inputs[0] == 0).float().mean((2, 3)) > 0.1).all())


@torch.no_grad()
def test_other_sizes_repeat_the_last_row_and_column(network):
    photo, prior = torch.rand(1, 3, 33, 47), torch.rand(1, 1, 33, 47)
    inputs, _ = recorded(network.context)
    stems, _ = recorded(network.stem)
    network(photo, saliency=prior, disparity=1 - prior)
    margins = ((0, 0), (0, 0), (0, 31), (0, 17))
    colours = 255 * photo.numpy()
    centred = np.pad(colours - colours.mean((2, 3), keepdims=True), margins, mode="edge")
    np.testing.assert_allclose(inputs[1].numpy(), centred, rtol=0, atol=1e-3)
    halves = block_reduce(np.pad(255 * prior.numpy(), margins, mode="edge"), (1, 1, 2, 2), np.mean)
    np.testing.assert_allclose(stems[0].numpy()[:, 12:13], halves, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("value", "clamped"), [(2.0, 1.0), (-2.0, 0.0)])
def test_values_are_clamped_in_evaluation_and_keep_their_gradient_in_training(network, given, value, clamped):
    set_constant(network.context.finish, 255 * value)
    assert torch.equal(network(**given).bokeh, torch.full_like(given["photo"], clamped))
    bokeh = network.train()(**given).bokeh
    assert bokeh.abs().min() > 1
    bokeh.mean().backward()
    assert network.context.finish.bias.grad.sum() == pytest.approx(1 / 255, abs=1e-6)


@torch.no_grad()
def test_batch_statistics_at_test_are_those_of_training_and_change_nothing_kept(given):
    torch.manual_seed(0)
    network = DynamicFilterDense(width=2, bn_batch_stats_at_test=True)
    plain = DynamicFilterDense(width=2)
    plain.load_state_dict(network.state_dict())
    expected = plain.train()(**given).bokeh.clamp(0, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.testing.assert_close(network.eval()(**given).bokeh, expected, rtol=0, atol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    network.train()(**given)
    assert not torch.equal(network.stem[1].running_mean, before["stem.1.running_mean"])
    assert not torch.allclose(plain.eval()(**given).bokeh, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("old", [False, True], ids=["names of today", "names of the published file"])
def test_the_encoder_starts_from_torchvisions_file(tmp_path, old):
    torch.manual_seed(1)
    state = densenet(width=2).state_dict()
    renamed = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): t for name, t in state.items()}
    kept = {name: t for name, t in renamed.items() if not name.endswith("num_batches_tracked")}
    torch.save(kept if old else state, tmp_path / "densenet121.pth")
    network = DynamicFilterDense(width=2, weights=str(tmp_path / "densenet121.pth"))
    ours = network.encoder.state_dict()
    assert len(ours) > 500
    assert all(torch.equal(tensor, state[f"features.{name}"]) for name, tensor in ours.items())


def test_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    first, seventh = (f"denseblock1.denselayer{index}.norm1.weight" for index in (1, 7))
    torch.save({"classifier.weight": torch.zeros(2)}, path)
    with pytest.raises(DataError, match=rf"`features.{first}` is missing, but the encoder needs shape \[4\]; give"):
        DynamicFilterDense(width=2, weights=str(path))
    torch.save(densenet(width=1).state_dict(), path)
    with pytest.raises(DataError, match=rf"`features.{first}` has shape \[2\], but .* needs shape \[4\]; give"):
        DynamicFilterDense(width=2, weights=str(path))
    with pytest.raises(DataError, match=rf"`features.{seventh}` is missing, .* leave `width` and `report_blocks` as"):
        DynamicFilterDense(width=1, report_blocks=True, weights=str(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "positive number of features, but got 0; the published one is 32"),
        ({"width": 1, "weights": "nowhere.pth"}, "nowhere.pth, which does not exist"),
    ],
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        DynamicFilterDense(**arguments)
