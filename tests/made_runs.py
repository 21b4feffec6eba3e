"""Folders of runs that hold no more than what lists read: a status, a configuration, bytes."""

import json
from datetime import UTC, datetime, timedelta

import yaml

CONFIG = {
    "seed": 0,
    "data": {"_target_": "lensblend.data.embedded.Embedded"},
    "kernels": {"sizes": [25, 45, 75]},
    "model": {"_target_": "a.B", "bank": {"sizes": [25, 45, 75]}},
    "schedule": {"run": ["one", "two"], "phases": {"one": {"lr": 0.1, "max_epochs": 3}, "two": {"max_epochs": 4}}},
    "note": "a: b\nseed: 5\n",
}


def made(folder, state="done", psnr=20.0, age=0.0, seed=0, padding=0, **more):
    """Make the folder of a run of two phases, the second of which is in the state of the run."""
    folder.mkdir(parents=True)
    phases = {
        "one": {"state": "done", "step": 10, "epochs": 3, "scores": {"val/psnr": psnr - 5}, "best": {}},
        "two": {
            "state": state,
            "step": 7,
            "epochs": 4,
            "scores": {"val/psnr": psnr - 1, "val/lpips": 0.3},
            "best": {"val/psnr": psnr},
        },
    }
    updated = (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="seconds")
    content = {"state": state, "phase": "two", "phases": phases, "updated": updated, "choices": {"kernels": "g"}}
    (folder / "status.json").write_text(json.dumps({**content, **more}))
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "seed": seed}, sort_keys=False))
    (folder / "padding").write_bytes(b"x" * padding)
    return folder
