"""An image classifier found by parsec, as a PyTorch module; needs torch and safetensors, nothing of parsec.

    python THIS_FILE.py WEIGHTS.safetensors

Modules are named as in the DARTS implementation, so that its weight files load strictly.
"""

import sys
from collections import namedtuple

import torch
from safetensors.torch import load_file
from torch import nn

Genotype = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")

# Pairs 2i and 2i+1 are summed by node i+2; input 0 is the output of cell k-2, input 1 that of cell k-1.
GENOTYPE = @GENOTYPE@
LAYERS, CHANNELS, CLASSES = @LAYERS@, @CHANNELS@, @CLASSES@
IMAGE = (@IMAGE@)  # channels, height, width
#@if normalisation
MEAN, STD = @MEAN@, @STD@  # of pixel / 255, per channel
#@end
#@if class_names
CLASS_NAMES = @CLASS_NAMES@
#@end


class ReLUConvBN(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.op = nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        return self.op(x)


class FactorizedReduce(nn.Module):
    """Halves the map: one convolution reads the even pixels, the other the odd ones."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = x.relu()
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


class Conv(nn.Module):
    """ReLU, depthwise, pointwise, batch norm: once with dilation 2, or twice without."""

    def __init__(self, c, side, stride, dilation):
        super().__init__()

        def part(stride):
            pad = dilation * (side // 2)
            return [nn.ReLU(), nn.Conv2d(c, c, side, stride, pad, dilation, groups=c, bias=False),
                    nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)]

        self.op = nn.Sequential(*part(stride), *(part(1) if dilation == 1 else []))

    def forward(self, x):
        return self.op(x)


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.zeros_like(x[:, :, ::self.stride, ::self.stride])


def operation(name, c, stride):
    if name == "none":
        return Zero(stride)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
    kind, _, window = name.split("_")
    return Conv(c, int(window[0]), stride, {"sep": 1, "dil": 2}[kind])


class Cell(nn.Module):
    def __init__(self, c_prev_prev, c_prev, c, reduction, reduction_prev):
        super().__init__()
        self.preprocess0 = (FactorizedReduce if reduction_prev else ReLUConvBN)(c_prev_prev, c)
        self.preprocess1 = ReLUConvBN(c_prev, c)
        pairs = GENOTYPE.reduce if reduction else GENOTYPE.normal
        self.inputs = [source for _, source in pairs]
        self._ops = nn.ModuleList(operation(name, c, 2 if reduction and source < 2 else 1) for name, source in pairs)

    def forward(self, s0, s1):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for i in range(0, 8, 2):
            states.append(sum(self._ops[m](states[self.inputs[m]]) for m in (i, i + 1)))
        return torch.cat(states[2:], dim=1)


#@if auxiliary
class AuxiliaryHead(nn.Module):
    """A second classifier on the maps of a cell; its loss helps training, and inference leaves it out."""

    def __init__(self, c):
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(), @AUXILIARY_POOL@, nn.Conv2d(c, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
#@if cifar
            nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU())
#@end
#@if imagenet
            nn.Conv2d(128, 768, 2, bias=False), nn.ReLU())
#@end
        self.classifier = nn.Linear(768, CLASSES)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


#@end
class Network(nn.Module):
    """Normalised images [N, C, H, W] -> logits [N, CLASSES]."""

    def __init__(self):
        super().__init__()
        channels = CHANNELS
#@if cifar
        c = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(IMAGE[0], c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
        reduction_prev = False
#@end
#@if imagenet
        c = channels
        self.stem0 = nn.Sequential(
            nn.Conv2d(IMAGE[0], c // 2, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c // 2), nn.ReLU(),
            nn.Conv2d(c // 2, c, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c))
        self.stem1 = nn.Sequential(
            nn.ReLU(), nn.Conv2d(c, c, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c))
        reduction_prev = True
#@end
        c_prev_prev = c_prev = c
        self.cells = nn.ModuleList()
        for i in range(LAYERS):
            reduction = i in (LAYERS // 3, 2 * LAYERS // 3)
            channels *= 2 if reduction else 1
            self.cells.append(Cell(c_prev_prev, c_prev, channels, reduction, reduction_prev))
            c_prev_prev, c_prev, reduction_prev = c_prev, 4 * channels, reduction
#@if auxiliary
            if i == 2 * LAYERS // 3:
                self.auxiliary_head = AuxiliaryHead(c_prev)
#@end
        self.classifier = nn.Linear(c_prev, CLASSES)

    def forward(self, images):
#@if cifar
        s0 = s1 = self.stem(images)
#@end
#@if imagenet
        s0 = self.stem0(images)
        s1 = self.stem1(s0)
#@end
#@if auxiliary
        auxiliary_logits = None
        for i, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1)
            if i == 2 * LAYERS // 3 and self.training:
                auxiliary_logits = self.auxiliary_head(s1)
        logits = self.classifier(s1.mean(dim=(2, 3)))
        return (logits, auxiliary_logits) if self.training else logits
#@end
#@if no_auxiliary
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.classifier(s1.mean(dim=(2, 3)))
#@end


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
