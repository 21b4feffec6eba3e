import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lensblend.ops.constants import constant
from lensblend.ops.depth import paired_differences
from lensblend.ops.gradients import sobel


def counted(built):
    """A builder that says when it builds."""

    def build(length):
        built.append(length)
        return torch.arange(length)

    return build


def test_a_constant_is_made_once_for_each_argument_and_dtype():
    built = []
    build = counted(built)
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    made = [constant(build, 3, image=image) for image in (single, single, double)]
    assert [tensor.dtype for tensor in made] == [torch.float32, torch.float32, torch.float64]
    assert made[0] is made[1]
    assert constant(build, 4, image=single, dtype=torch.int64).tolist() == [0, 1, 2, 3]
    assert built == [3, 3, 4]


def test_what_is_kept_in_inference_mode_serves_training():
    with torch.inference_mode():
        sobel(torch.rand(1, 1, 7, 8, dtype=torch.float64))
        paired_differences(torch.rand(1, 1, 7, 8), 9)
    image = torch.rand(1, 1, 7, 8, dtype=torch.float64, requires_grad=True)
    (sobel(image).square().sum() + paired_differences(image, 9).sum()).backward()
    assert image.grad.any()


def test_no_fake_is_kept():
    built = []
    build = counted(built)
    with FakeTensorMode():
        constant(build, 3, image=torch.zeros(1))
    assert type(constant(build, 3, image=torch.zeros(1))) is torch.Tensor
    assert built == [3, 3]
