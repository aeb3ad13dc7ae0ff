"""An image classifier found by parsec, as a PyTorch module; needs torch and safetensors, nothing of parsec.

    python THIS_FILE.py WEIGHTS.safetensors

Modules are named as in the published implementations of the search space, so that weight files load strictly.
"""

import sys

import torch
from safetensors.torch import load_file
from torch import nn

# The architecture in the search space "@SPACE@".
GENOTYPE = "@GENOTYPE@"
CLASSES = @CLASSES@
IMAGE = (@IMAGE@)  # channels, height, width
#@if normalisation
MEAN, STD = @MEAN@, @STD@  # of pixel / 255, per channel
#@end
#@if class_names
CLASS_NAMES = @CLASS_NAMES@
#@end


def relu(x):
    return x.relu()


def add(*terms):
    return sum(terms)


def concat(*parts):
    return torch.cat(parts, dim=1)


def mean(x):
    return x.mean(dim=(2, 3), keepdim=True)


def zeros(c, h, w):
    return lambda images: images.new_zeros(len(images), c, h, w)


class FactorizedReduce(nn.Module):
    """Halves the map: one convolution reads the even pixels, the other the odd ones."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)

    def forward(self, x):
        return concat(self.conv_1(x), self.conv_2(x[:, :, 1:, 1:]))


class Linear(nn.Linear):
    """Of maps of one pixel."""

    def forward(self, x):
        return super().forward(x.flatten(1))


def conv(c_in, c_out, side, stride=1, pad=0, dilation=1, groups=1):
    return nn.Conv2d(c_in, c_out, side, stride, pad, dilation, groups, bias=False)


def layers():
    """Each layer: its name, if it has weights; what it computes; the numbers of the layers it reads (0: the images).
#@if auxiliary
    "auxiliary": of the second classifier, whose loss helps training; inference leaves it out.
#@end
    """
    return [
        None,
@LAYERS@
    ]


def attach(module, name, child):
    """Makes `child` the module called `name`, which has dots, below `module`."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, nn.Module())
        module = getattr(module, part)
    module.add_module(last, child)


class Network(nn.Module):
    """Normalised images [N, C, H, W] -> logits [N, CLASSES]."""

    def __init__(self):
        super().__init__()
        self.plan = layers()
        for layer in self.plan[1:]:
            if layer[0]:
                attach(self, layer[0], layer[1])

    def forward(self, images):
        values = [images]
#@if auxiliary
        for _, compute, inputs, *what in self.plan[1:]:
            skipped = "auxiliary" in what and not self.training
            values.append(None if skipped else compute(*(values[i] for i in inputs)))
#@end
#@if plain
        for _, compute, inputs in self.plan[1:]:
            values.append(compute(*(values[i] for i in inputs)))
#@end
#@if auxiliary
        if self.training:
            return values[@LOGITS@], values[@AUXILIARY_LOGITS@]
#@end
        return values[@LOGITS@]


def load(path):
    """The network with the weights of a safetensors file, ready to classify."""
    network = Network()
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()


#@if normalisation
def normalise(pixels):
    """Bytes [N, C, H, W] -> what the network takes."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


#@end
if __name__ == "__main__":
    network = load(sys.argv[1])
#@if normalisation
    images = normalise(torch.randint(256, (2, *IMAGE)))  # random pixels in the place of two images
#@end
#@if no_normalisation
    images = torch.randn(2, *IMAGE)  # random numbers in the place of two normalised images
#@end
    with torch.no_grad():
        probabilities = network(images).softmax(dim=1)
    for row in probabilities:
#@if class_names
        print(f"{CLASS_NAMES[row.argmax()]} {row.max():.3f}")
#@end
#@if no_class_names
        print(f"class {row.argmax()} {row.max():.3f}")
#@end
