"""KAIST-VICLAB's iterations as epochs."""

import pytest
import yaml

from lensblend.cli.config import config_folder


def test_the_rate_drops_after_half_of_the_iterations():
    file = config_folder() / "schedule" / "nonlocal_autoencoder.yaml"
    phase = yaml.safe_load(file.read_text())["phases"]["phase1"]
    per_epoch = 4400 // phase["batch_size"]
    assert phase["max_epochs"] * per_epoch == pytest.approx(2e5, abs=per_epoch)
    assert phase["lr_every"] * per_epoch == pytest.approx(1e5, abs=per_epoch)
    assert 2 * phase["lr_every"] >= phase["max_epochs"]  # so that it drops once
    assert phase["lr_final"] == pytest.approx(phase["lr"] / 10)
