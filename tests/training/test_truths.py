"""What losses compare with, and which maps they need for it."""

import numpy as np
import torch
from scipy.ndimage import sobel

from lensblend.training.truths import needed_maps, truths


def test_a_bokeh_loss_needs_no_map():
    assert needed_maps(["bokeh", "pyramid", "bokeh"]) == []


def test_each_map_is_asked_for_once():
    assert needed_maps(["bokeh", "saliency_logits", "edge_logits", "log_depth"], ("saliency",)) == [
        "saliency",
        "disparity",
    ]


def test_truths_are_made_of_what_the_batch_carries():
    mask = torch.zeros(1, 1, 12, 16)
    mask[..., 4:9, 5:11] = 1
    disparity = torch.rand(1, 1, 12, 16) * 0.8 + 0.2
    batch = {"target": torch.rand(1, 3, 12, 16), "saliency": mask, "disparity": disparity, "id": ["a"]}
    found = truths(batch, ["pyramid", "side_logits", "edge_logits", "log_depth"])
    assert set(found) == {"bokeh", "side_logits", "edge_logits", "log_depth"}
    assert found["bokeh"] is batch["target"]
    assert found["side_logits"] is mask
    plane = mask[0, 0].numpy()
    edges = np.hypot(sobel(plane, 0, mode="nearest"), sobel(plane, 1, mode="nearest")) > 1.5
    np.testing.assert_array_equal(found["edge_logits"][0, 0].numpy(), edges)
    np.testing.assert_allclose(found["log_depth"].numpy(), -np.log(disparity.numpy()), atol=1e-6)


def test_what_a_batch_does_not_know_is_left_out():
    assert truths({"photo": torch.zeros(1)}, ["bokeh", "saliency_logits", "mask"]) == {}
