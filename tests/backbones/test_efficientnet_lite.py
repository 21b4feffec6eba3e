"""EfficientNet-Lite against timm's."""

import pytest
import timm
import torch

from lensblend.backbones.efficientnet_lite import SCALES, EfficientNetLite


@pytest.mark.parametrize("name", SCALES)
def test_names_shapes_and_features_are_those_of_timm(name):
    theirs, ours = timm.create_model(name, features_only=True, pretrained=False), EfficientNetLite(name)
    state = theirs.state_dict()
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == {k: t.shape for k, t in state.items()}
    for key, tensor in ours.state_dict().items():
        if tensor.ndim == 4:  # random weights are as large
            assert tensor.std().item() == pytest.approx(state[key].std().item(), rel=0.2), key
    info = theirs.feature_info
    assert ours.channels == dict(zip(info.reduction(), info.channels(), strict=True))
    generator = torch.Generator().manual_seed(0)
    for tensor in state.values():
        if tensor.ndim == 1:  # a batch norm's: none of them is at its start
            tensor.uniform_(0.5, 1.5, generator=generator)
    ours.load_state_dict(state)
    for size in ((64, 96), (75, 101)):
        photo = torch.randn(2, 3, *size, generator=generator)
        for training in (False, True):
            with torch.no_grad():
                expected, found = theirs.train(training)(photo), ours.train(training)(photo)
            for one, other in zip(expected, found, strict=True):
                torch.testing.assert_close(other, one)
