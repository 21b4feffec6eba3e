"""Authors' files forged with random weights, and the graphs that their names describe, by plain functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]


class File:
    """Random tensors under the names of an authors' file, and the operations that these tensors are for."""

    gain = 2.0

    def __init__(self) -> None:
        self.state: State = {}

    def add_conv(self, name: str, inputs: int, outputs: int, side: int = 3, bias: bool = True, turned: bool = False):
        shape = (inputs, outputs) if turned else (outputs, inputs)
        self.state[f"{name}.weight"] = torch.randn(*shape, side, side) * (self.gain / (inputs * side**2)) ** 0.5
        if bias:
            self.state[f"{name}.bias"] = 0.1 * torch.randn(outputs)

    def add_norm(self, name: str, channels: int, affine: bool = True) -> None:
        leaves = [("running_mean", -0.3), ("running_var", 0.7)]
        for leaf, low in [*leaves, ("weight", 0.7), ("bias", -0.3)] if affine else leaves:
            self.state[f"{name}.{leaf}"] = low + 0.6 * torch.rand(channels)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def conv(self, name: str, x: Tensor, **options) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = options.get("dilation", 1) * (weight.shape[-1] // 2)
        return functional.conv2d(x, weight, self.state.get(f"{name}.bias"), padding=padding, **options)

    def up(self, name: str, x: Tensor, **options) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return functional.conv_transpose2d(x, weight, bias, stride=2, padding=1, **options)

    def norm(self, name: str, x: Tensor, batch: bool = False) -> Tensor:
        mean, var, weight, bias = (
            self.state.get(f"{name}.{leaf}") for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean.clone(), var.clone(), weight, bias, training=batch)


class Dmshn(File):
    """Section 13b of the fact sheet; numbers of layers as in the file."""

    gain = 0.3  # more, and 60 residual blocks in series leave nothing of the photo
    ENCODER = ((1, (2, 3), 1), (5, (6, 7), 2), (9, (10, 11), 4))
    DECODER = (((13, 14), 16, 4), ((17, 18), 20, 2), ((21, 22), 24, 1))

    def __init__(self, width: int, nets: tuple[str, ...] = ("",)) -> None:
        super().__init__()
        self.nets = nets
        for net in nets:
            for part in ("encoder", "decoder"):
                for level in (1, 2, 3):
                    self._add(f"{net}{part}_lv{level}", part, width)

    def _add(self, name: str, part: str, width: int) -> None:
        inputs = 3
        for conv, blocks, times in self.ENCODER if part == "encoder" else ():
            self.add_conv(f"{name}.layer{conv}", inputs, times * width)
            inputs = times * width
            for block in blocks:
                self._add_block(f"{name}.layer{block}", inputs)
        for blocks, conv, times in self.DECODER if part == "decoder" else ():
            for block in blocks:
                self._add_block(f"{name}.layer{block}", times * width)
            last = times == 1
            outputs = 3 if last else times * width // 2
            self.add_conv(f"{name}.layer{conv}", times * width, outputs, side=3 if last else 4, turned=not last)

    def _add_block(self, name: str, width: int) -> None:
        self.add_conv(f"{name}.0", width, width)
        self.add_conv(f"{name}.2", width, width)

    def block(self, name: str, x: Tensor) -> Tensor:
        return x + self.conv(f"{name}.2", self.conv(f"{name}.0", x).relu())

    def encode(self, name: str, x: Tensor) -> Tensor:
        for conv, blocks, times in self.ENCODER:
            x = self.conv(f"{name}.layer{conv}", x, stride=1 if times == 1 else 2)
            for block in blocks:
                x = self.block(f"{name}.layer{block}", x)
        return x

    def decode(self, name: str, x: Tensor) -> Tensor:
        for blocks, conv, times in self.DECODER:
            for block in blocks:
                x = self.block(f"{name}.layer{block}", x)
            x = self.conv(f"{name}.layer{conv}", x) if times == 1 else self.up(f"{name}.layer{conv}", x)
        return x

    def render(self, photo: Tensor) -> Tensor:
        for net in self.nets:
            images = {1: photo}
            for level in (2, 3):
                images[level] = functional.interpolate(images[level - 1], scale_factor=0.5, mode="bilinear")
            feature = self.encode(f"{net}encoder_lv3", images[3])
            residual = self.decode(f"{net}decoder_lv3", feature)
            for level in (2, 1):
                up, below = (
                    functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
                    for x in (residual, feature)
                )
                feature = self.encode(f"{net}encoder_lv{level}", images[level] + up)
                residual = self.decode(f"{net}decoder_lv{level}", feature + below)
            photo = residual
        return photo


class Bokehnets(File):
    """Section 7 of the fact sheet with its corrections: the released fusion, the third memory block used twice."""

    gain = 0.5  # more, and the tangents know nothing but −1 and 1

    def __init__(self, width: int) -> None:
        super().__init__()
        for net in ("model1", "model2"):
            self._add_net(net, width)
        half = width // 2
        self.add_conv("fuse.0", 6, half)
        self.add_conv("fuse.2", half, half)
        for i in (4, 5, 6, 7):
            self._add_block(f"fuse.{i}", half)
        self.add_conv("fuse.8", half, 3)

    def _add_block(self, name: str, width: int) -> None:
        self.add_conv(f"{name}.body.0", width, width)
        self.add_conv(f"{name}.body.2", width, width)

    def _add_net(self, net: str, width: int) -> None:
        self.add_conv(f"{net}.conv1", 3, width, side=7)
        for name in ("conv2", "conv3"):
            self.add_conv(f"{net}.{name}.0", width, width)
            self._add_block(f"{net}.{name}.1", width)
        for i in (1, 2, 3, 4):
            self._add_memory(f"{net}.lm{i}.recursive_unit", width)
            self.add_conv(f"{net}.t{i}.conv1", width + 3, width, bias=False)
            self.add_conv(f"{net}.t{i}.conv2", width, width, bias=False)
        for i in (1, 2):
            self.add_conv(f"{net}.upconv{i}", width, 4 * width)
            self._add_block(f"{net}.upsamp{i}.1", width)
        self.add_conv(f"{net}.conv4", 2 * width, width)
        self.add_conv(f"{net}.end_conv1.0", 2 * width, width)
        self.add_conv(f"{net}.end_conv1.2", width, 3)
        self.state |= {f"{net}.fc.0.weight": torch.randn(2, width), f"{net}.fc.0.bias": torch.randn(2)}

    def _add_memory(self, name: str, width: int) -> None:
        for i in (0, 1, 3, 4):
            self._add_block(f"{name}.{i}", width)
        for stage in (1, 2, 3):
            self.add_conv(f"{name}.2.b0_{stage}", width, width // 4, side=1, bias=False)
            for branch in (1, 2, 3, 4):
                self.add_conv(f"{name}.2.conv{branch}_{stage}.0", width // 4, width // 4, bias=False)
        for stage in (1, 2, 3, 4):
            self.add_conv(f"{name}.2.b_{stage}", width, width, side=1, bias=False)
        self.add_conv(f"{name}.5", width, width)

    def block(self, name: str, x: Tensor) -> Tensor:
        return x + self.conv(f"{name}.body.2", self.conv(f"{name}.body.0", x).relu())

    def pyramid(self, name: str, x: Tensor) -> Tensor:
        stage, total = x, x
        for i in (1, 2, 3):
            narrow = self.conv(f"{name}.b0_{i}", stage).relu()
            parts = [self.conv(f"{name}.conv{b}_{i}.0", narrow, dilation=2 * b).relu() for b in (1, 2, 3, 4)]
            stage = self.conv(f"{name}.b_{i}", torch.cat(parts, dim=1))
            total = total + stage
        return total

    def memory(self, name: str, x: Tensor) -> Tensor:
        y = self.pyramid(f"{name}.2", self.block(f"{name}.1", self.block(f"{name}.0", x)))
        return (x + self.conv(f"{name}.5", self.block(f"{name}.4", self.block(f"{name}.3", y)))).relu()

    def bokehnet(self, net: str, photo: Tensor) -> Tensor:
        small = functional.avg_pool2d(photo, 4)
        full = self.conv(f"{net}.conv1", photo).relu()
        half, x = full, full
        for name in ("conv2", "conv3"):
            half, x = x, self.block(f"{net}.{name}.1", self.conv(f"{net}.{name}.0", x, stride=2)).relu()
        for transition, memory in ((1, 1), (2, 2), (3, 3), (4, 3)):
            x = self.memory(f"{net}.lm{memory}.recursive_unit", x)
            joined = self.conv(f"{net}.t{transition}.conv1", torch.cat([x, small], dim=1)).relu()
            x = x + self.conv(f"{net}.t{transition}.conv2", joined)
        for i, skip, conv in ((1, half, "conv4"), (2, full, "end_conv1.0")):
            x = self.block(f"{net}.upsamp{i}.1", functional.pixel_shuffle(self.conv(f"{net}.upconv{i}", x), 2))
            x = self.conv(f"{net}.{conv}", torch.cat([skip, x], dim=1)).relu()
        return photo + self.conv(f"{net}.end_conv1.2", x).tanh().tanh()

    def render(self, photo: Tensor) -> Tensor:
        half = functional.interpolate(photo, scale_factor=0.5)
        far = functional.interpolate(self.bokehnet("model2", half), scale_factor=2)
        x = self.conv("fuse.0", torch.cat([self.bokehnet("model1", photo), far], dim=1)).relu()
        x = self.conv("fuse.2", x).relu()
        for i in (4, 5, 6, 7):
            x = self.block(f"fuse.{i}", x)
        return self.conv("fuse.8", x).tanh()


class DenseFilter(File):
    """Section 5 of the fact sheet; widths are multiples of DenseNet's growth."""

    BLOCKS = (6, 12, 24)
    DECODERS = (("4", 16, 8, 4), ("6", 8, 4, 2), ("7", 4, 2, 2), ("62", 8, 4, 2), ("72", 4, 2, 2))

    def __init__(self, growth: int) -> None:
        super().__init__()
        self.growth = growth
        self.add_conv("conv0", 18, 2 * growth)
        self.add_norm("norm0", 2 * growth)
        channels = 2 * growth
        for number, layers in enumerate(self.BLOCKS, start=1):
            for i in range(1, layers + 1):
                name = f"dense_block{number}.denselayer{i}"
                self.add_norm(f"{name}.norm1", channels)
                self.add_conv(f"{name}.conv1", channels, 4 * growth, side=1, bias=False)
                self.add_norm(f"{name}.norm2", 4 * growth)
                self.add_conv(f"{name}.conv2", 4 * growth, growth, bias=False)
                channels += growth
            norm, conv = ("trans_block31", "trans_block33") if number == 3 else self._transition(number)
            self.add_norm(norm, channels)
            self.add_conv(conv, channels, channels // 2, side=1, bias=False)
            channels //= 2
        for number, inputs, added, outputs in self.DECODERS:
            name = f"dense_block{number}"
            for i in range(5):
                self.add_conv(f"{name}.conv{i + 1}", (inputs + i) * growth, growth, bias=False)
            self.add_conv(f"{name}.conv6", (inputs + 5) * growth, 4 * added * growth, side=1, bias=False)
            self.add_conv(f"{name}.conv7", 4 * added * growth, added * growth, bias=False)
            self.add_conv(f"trans_block{number}.conv1", (inputs + added) * growth, outputs * growth, turned=True)
        self.add_conv("conv_refin", 2 * growth + 3, 20)
        for i in (1, 2, 3, 4):
            self.add_conv(f"conv10{i}0", 20, 1, side=1)
        self.add_conv("refine3", 24, 3)
        self.add_conv("conv_f1", 2 * growth, 4 * growth)
        self.add_conv("conv_f2", 4 * growth, 81, side=1)

    @staticmethod
    def _transition(number: int) -> tuple[str, str]:
        return f"trans_block{number}.norm", f"trans_block{number}.conv"

    def dense(self, number: int, x: Tensor, batch: bool) -> Tensor:
        for i in range(1, self.BLOCKS[number - 1] + 1):
            name = f"dense_block{number}.denselayer{i}"
            y = self.conv(f"{name}.conv1", self.norm(f"{name}.norm1", x, batch).relu())
            x = torch.cat([x, self.conv(f"{name}.conv2", self.norm(f"{name}.norm2", y, batch).relu())], dim=1)
        norm, conv = ("trans_block31", "trans_block33") if number == 3 else self._transition(number)
        x = self.conv(conv, self.norm(norm, x, batch).relu())
        return x if number == 3 else functional.avg_pool2d(x, 2)

    def decode(self, number: str, x: Tensor) -> Tensor:
        grown = x
        for i in range(1, 8):
            y = self.conv(f"dense_block{number}.conv{i}", functional.instance_norm(grown).relu())
            grown = torch.cat([grown, y], dim=1) if i < 6 else y
        grown = functional.instance_norm(torch.cat([x, grown], dim=1)).relu()
        return self.up(f"trans_block{number}.conv1", grown, output_padding=1)

    def render(self, photo: Tensor, saliency: Tensor, disparity: Tensor, batch: bool = False) -> Tensor:
        height, width = photo.shape[-2:]
        mean = (255 * photo).mean(dim=(2, 3), keepdim=True)
        centred = 255 * photo - mean
        # Space to depth as TensorFlow orders it: row, column, colour.
        places = [centred[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        maps = [functional.avg_pool2d(255 * each.repeat(1, 3, 1, 1), 2) for each in (saliency, disparity)]
        x0 = self.norm("norm0", self.conv("conv0", torch.cat([*places, *maps], dim=1)), batch).relu()
        x1 = self.dense(1, x0, batch)
        x3 = self.dense(3, self.dense(2, x1, batch), batch)
        shared = torch.cat([self.decode("4", x3), x1], dim=1)
        x7, filters = (
            self.decode(f"7{copy}", torch.cat([self.decode(f"6{copy}", shared), x0], dim=1)) for copy in ("", "2")
        )
        x9 = functional.leaky_relu(self.conv("conv_refin", torch.cat([x7, centred], dim=1)), 0.2)
        context = []
        for i, side in ((1, 16), (2, 8), (3, 4), (4, 2)):
            small = functional.leaky_relu(self.conv(f"conv10{i}0", functional.avg_pool2d(x9, side)), 0.2)
            context.append(functional.interpolate(small, size=(height, width)))
        image = self.conv("refine3", torch.cat([*context, x9], dim=1))
        logits = functional.leaky_relu(self.conv("conv_f1", functional.leaky_relu(filters, 0.2)), 0.2)
        taps = self.conv("conv_f2", logits).softmax(dim=1)
        patches = functional.unfold(centred, 9, padding=4).view(len(photo), 3, 81, height, width)
        return (image + (patches * taps[:, None]).sum(dim=2) + mean) / 255


class Spade(File):
    """Section 9 of the fact sheet: the generator, its spectral norms as PyTorch's own module keeps them."""

    PLAN = (
        ("head_0", 16, 16, 1), ("G_middle_0", 16, 16, 2), ("G_middle_1", 16, 16, 1), ("up_0", 16, 8, 2),
        ("up_1", 8, 4, 2), ("up_2", 4, 2, 2), ("up_3", 2, 1, 2),
    )  # fmt: skip

    def __init__(self, width: int) -> None:
        super().__init__()
        self.add_conv("fc", 4, 16 * width)
        self.add_conv("conv_img", width, 4)
        self.spectral: dict[str, nn.Module] = {}
        for block, inputs, outputs, _ in self.PLAN:
            narrow = min(inputs, outputs)
            plan = {"0": (inputs, narrow, 3, True), "1": (narrow, outputs, 3, True), "s": (inputs, outputs, 1, False)}
            for place, (before, after, side, bias) in plan.items():
                if place == "s" and inputs == outputs:
                    continue
                self._add_spade(f"{block}.norm_{place}", before * width)
                self._add_spectral(f"{block}.conv_{place}", before * width, after * width, side, bias)

    def _add_spade(self, name: str, channels: int) -> None:
        self.add_norm(f"{name}.param_free_norm", channels, affine=False)
        self.add_conv(f"{name}.mlp_shared.0", 4, 128)
        self.add_conv(f"{name}.mlp_gamma", 128, channels)
        self.add_conv(f"{name}.mlp_beta", 128, channels)

    def _add_spectral(self, name: str, inputs: int, outputs: int, side: int, bias: bool) -> None:
        conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)
        self.spectral[name] = nn.utils.spectral_norm(conv).eval()
        self.state |= {f"{name}.{leaf}": tensor for leaf, tensor in conv.state_dict().items()}

    def spade(self, name: str, x: Tensor, condition: Tensor) -> Tensor:
        seen = functional.interpolate(condition, size=x.shape[-2:])
        hidden = self.conv(f"{name}.mlp_shared.0", seen).relu()
        scale, shift = (self.conv(f"{name}.mlp_{part}", hidden) for part in ("gamma", "beta"))
        return self.norm(f"{name}.param_free_norm", x) * (1 + scale) + shift

    def render(self, photo: Tensor, saliency: Tensor) -> Tensor:
        """Of a photo of the working size, whose mask is left in [−1, 1]."""
        condition = torch.cat([2 * photo - 1, saliency], dim=1)
        x = self.conv("fc", functional.interpolate(condition, scale_factor=1 / 32))
        for block, inputs, outputs, factor in self.PLAN:
            x = functional.interpolate(x, scale_factor=factor)
            kept, y = x, x
            if inputs != outputs:
                kept = self.spectral[f"{block}.conv_s"](self.spade(f"{block}.norm_s", x, condition))
            for place in "01":
                y = functional.leaky_relu(self.spade(f"{block}.norm_{place}", y, condition), 0.2)
                y = self.spectral[f"{block}.conv_{place}"](y)
            x = kept + y
        raw = self.conv("conv_img", functional.leaky_relu(x, 0.2)).tanh()
        mask, generated = raw[:, 3:], raw[:, :3]
        return ((2 * photo - 1) * mask + generated * (1 - mask) + 1) / 2
