"""A compiled network gives what it gives as it is, also in half precision.

Compiled in a process of its own, because the test run's checks of shapes wrap each function, and not all can be traced.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

# They compute a part in full precision, and are traced within seconds; all of them take minutes.
QUICK = ["saliency_rrdb", "edge_guided_residual", "saliency_blend"]


def tensors(rendering):
    return {"bokeh": rendering.bokeh, **{k: v for k, v in rendering.aux.items() if isinstance(v, torch.Tensor)}}


def differences(case, mode):
    """By what a network returns under autocast: both dtypes, and how far the compiled network's values are off."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    network = case.build().train(mode == "train")
    photo = torch.rand(2, 3, 64, 96)
    found = []
    # The host makes kernels of f-numbers, between two graphs.
    whole = network.f_numbers is None
    for render in (network, torch.compile(network, backend="eager", fullgraph=whole)):
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(mode == "train"):
            found.append({k: v.detach() for k, v in tensors(render(photo, **case.guidance(photo))).items()})
    pairs = {key: (value, found[1][key]) for key, value in found[0].items()}
    return {key: [str(a.dtype), str(b.dtype), float((a - b).abs().max())] for key, (a, b) in pairs.items()}


def check(names, modes):
    program = [sys.executable, __file__, *names, "--", *modes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines
    for network, mode, answers in lines:
        for name, (dtype, compiled, difference) in answers.items():
            where = (network, mode, name)
            assert (*where, dtype, compiled) == (*where, "torch.float32", "torch.float32")
            assert difference < 0.02, where


@pytest.mark.slow
def test_compiled_networks_keep_single_precision_under_autocast():
    check(QUICK, ["train"])


@pytest.mark.slow
def test_every_compiled_network_keeps_single_precision_under_autocast():
    check([], ["train", "eval"])


if __name__ == "__main__":
    from test_contract import NETWORKS

    split = sys.argv.index("--")
    for name in sys.argv[1:split] or NETWORKS:
        for mode in sys.argv[split + 1 :]:
            print(json.dumps([name, mode, differences(NETWORKS[name], mode)]), flush=True)
