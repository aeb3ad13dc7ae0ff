"""The DARTS search space in plain PyTorch, from genotype text to logits.

An independent second opinion on `parsec`: it shares no code with the Rust side, only the definition of the space. It has

* `Genotype`, `parse_genotype`, `Genotype.text`: the text form users exchange;
* `SearchParent`: every path of the over-parameterised network, one weight set per (cell, edge, primitive);
  `forward(x, genotype)` runs one child of it;
* `FinalNetwork`: one genotype as a network of its own, CIFAR or ImageNet stem, auxiliary head, drop-path.

Parameter names are those of the DARTS reference implementation's modules, so that files can be exchanged.
`python tests/pytorch/darts.py` checks the parameter counts against the published networks.
"""

import ast
from dataclasses import dataclass

import torch
from torch import nn
import torch.nn.functional as F

PRIMITIVES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect",
              "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
N_NODES = 4
AUX_WEIGHT = 0.4


# ---- genotypes -------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Genotype:
    """Two cells; pairs 2i and 2i+1 feed node i+2; input 0 is the output of cell k-2, 1 that of cell k-1."""
    normal: tuple
    reduce: tuple
    normal_concat: tuple = (2, 3, 4, 5)
    reduce_concat: tuple = (2, 3, 4, 5)

    def text(self):
        pairs = lambda cell: "[" + ", ".join(f"('{p}', {i})" for p, i in cell) + "]"
        ints = lambda concat: "[" + ", ".join(map(str, concat)) + "]"
        return (f"Genotype(normal={pairs(self.normal)}, normal_concat={ints(self.normal_concat)}, "
                f"reduce={pairs(self.reduce)}, reduce_concat={ints(self.reduce_concat)})")


def parse_genotype(text):
    """Reads `Genotype(normal=[...], normal_concat=[...] or range(2, 6), reduce=[...], reduce_concat=...)`."""
    call = ast.parse(text.strip(), mode="eval").body
    if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Genotype"):
        raise ValueError("expected Genotype(...)")
    found = {}
    for keyword in call.keywords:
        value = keyword.value
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "range":
            found[keyword.arg] = tuple(range(*map(ast.literal_eval, value.args)))
        else:
            found[keyword.arg] = tuple(ast.literal_eval(value))
    for kind in ("normal", "reduce"):
        if len(found[kind]) != 2 * N_NODES:
            raise ValueError(f"{kind}: expected {2 * N_NODES} pairs, found {len(found[kind])}")
        for m, (name, source) in enumerate(found[kind]):
            if name not in PRIMITIVES or not 0 <= source < 2 + m // 2:
                raise ValueError(f"{kind}: pair {m} is ({name}, {source})")
    return Genotype(**found)


def genotype_from_alpha(alpha, primitives):
    """alpha: integers [2 cell kinds, 4 nodes, 2 slots], each input * P + position in `primitives`."""
    def cell(kind):
        return tuple((primitives[int(a) % len(primitives)], int(a) // len(primitives))
                     for node in kind for a in node)
    return Genotype(normal=cell(alpha[0]), reduce=cell(alpha[1]))


def random_genotype(rng, none_probability=0.0, duplicate_probability=0.15):
    """`rng` is a `random.Random`. Some nodes get the same pair in both slots."""
    def cell():
        pairs = []
        for node in range(N_NODES):
            draw = lambda: ("none" if rng.random() < none_probability else rng.choice(PRIMITIVES[1:]),
                            rng.randrange(node + 2))
            first = draw()
            pairs += [first, first if rng.random() < duplicate_probability else draw()]
        return tuple(pairs)
    return Genotype(normal=cell(), reduce=cell())


# ---- primitives ------------------------------------------------------------------------------------------------------

class Zero(nn.Module):
    """`none`: zeros of the size that the edge's stride gives."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.zeros_like(x[:, :, ::self.stride, ::self.stride])


class ReLUConvBN(nn.Module):
    def __init__(self, c_in, c_out, affine):
        super().__init__()
        self.op = nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False),
                                nn.BatchNorm2d(c_out, affine=affine))

    def forward(self, x):
        return self.op(x)


class FactorizedReduce(nn.Module):
    """Halves the map: one 1x1 convolution reads the even pixels, the other the odd ones."""

    def __init__(self, c_in, c_out, affine):
        super().__init__()
        assert c_out % 2 == 0
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x):
        assert x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0, f"odd map {tuple(x.shape)}"
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


def _depthwise(c, k, stride, pad, dilation=1):
    return nn.Conv2d(c, c, k, stride=stride, padding=pad, dilation=dilation, groups=c, bias=False)


class SepConv(nn.Module):
    def __init__(self, c, k, stride, affine):
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(), _depthwise(c, k, stride, k // 2), nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c, affine=affine),
            nn.ReLU(), _depthwise(c, k, 1, k // 2), nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c, affine=affine))

    def forward(self, x):
        return self.op(x)


class DilConv(nn.Module):
    def __init__(self, c, k, stride, affine):
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(), _depthwise(c, k, stride, k - 1, dilation=2), nn.Conv2d(c, c, 1, bias=False),
            nn.BatchNorm2d(c, affine=affine))

    def forward(self, x):
        return self.op(x)


def primitive(name, c, stride, search):
    """One primitive; `search` gives the affine-free form with BN after the pools."""
    if name == "none":
        return Zero(stride)
    if name in ("max_pool_3x3", "avg_pool_3x3"):
        pool = (nn.MaxPool2d(3, stride, 1) if name == "max_pool_3x3"
                else nn.AvgPool2d(3, stride, 1, count_include_pad=False))
        return nn.Sequential(pool, nn.BatchNorm2d(c, affine=False)) if search else pool
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine=not search)
    block = SepConv if name.startswith("sep_conv") else DilConv
    return block(c, int(name[-1]), stride, affine=not search)


# ---- the search parent -----------------------------------------------------------------------------------------------

def is_reduction(cell, layers):
    return cell in (layers // 3, 2 * layers // 3)


class MixedOp(nn.Module):
    def __init__(self, c, stride, primitives):
        super().__init__()
        # Primitives outside the list keep their place, so that indices in names do not move.
        self._ops = nn.ModuleList(primitive(p if p in primitives else "none", c, stride, search=True)
                                  for p in PRIMITIVES)


class SearchCell(nn.Module):
    def __init__(self, c_prev_prev, c_prev, c, reduction, reduction_prev, primitives):
        super().__init__()
        self.reduction = reduction
        self.preprocess0 = (FactorizedReduce if reduction_prev else ReLUConvBN)(c_prev_prev, c, affine=False)
        self.preprocess1 = ReLUConvBN(c_prev, c, affine=False)
        self._ops = nn.ModuleList(MixedOp(c, 2 if reduction and source < 2 else 1, primitives)
                                  for node in range(N_NODES) for source in range(node + 2))

    def modules_used(self, genotype):
        """(node, source, op) of both slots of every node, in genotype order."""
        pairs = genotype.reduce if self.reduction else genotype.normal
        first_edge = (0, 2, 5, 9)
        for m, (name, source) in enumerate(pairs):
            yield m // 2, source, self._ops[first_edge[m // 2] + source]._ops[PRIMITIVES.index(name)]

    def forward(self, s0, s1, genotype):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        used = list(self.modules_used(genotype))
        for (_, i, op_i), (_, j, op_j) in zip(used[::2], used[1::2]):
            a = op_i(states[i])
            states.append(2 * a if op_i is op_j else a + op_j(states[j]))
        return torch.cat(states[2:], dim=1)


    def forward_mixed(self, s0, s1, factors, primitives):
        """All paths; factors [14 edges, len(primitives)]."""
        states, edge = [self.preprocess0(s0), self.preprocess1(s1)], 0
        for node in range(N_NODES):
            total = 0
            for state in states[:node + 2]:
                for p, name in enumerate(primitives):
                    total = total + factors[edge, p] * self._ops[edge]._ops[PRIMITIVES.index(name)](state)
                edge += 1
            states.append(total)
        return torch.cat(states[2:], dim=1)


class SearchParent(nn.Module):
    """All weights of the over-parameterised network; batch statistics always."""

    def __init__(self, layers, channels, classes, in_channels=3, primitives=PRIMITIVES):
        super().__init__()
        c_stem = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, c_stem, 3, padding=1, bias=False), nn.BatchNorm2d(c_stem))
        self.cells = nn.ModuleList()
        c_prev_prev, c_prev, c, reduction_prev = c_stem, c_stem, channels, False
        for i in range(layers):
            reduction = is_reduction(i, layers)
            c *= 2 if reduction else 1
            self.cells.append(SearchCell(c_prev_prev, c_prev, c, reduction, reduction_prev, primitives))
            c_prev_prev, c_prev, reduction_prev = c_prev, N_NODES * c, reduction
        self.classifier = nn.Linear(c_prev, classes)

    def train(self, mode=True):
        return super().train(True)  # running statistics would mix architectures

    def forward(self, x, genotype):
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1, genotype)
        return self.classifier(s1.mean(dim=(2, 3)))

    def forward_mixed(self, x, alphas, primitives):
        """Eq. 2: alphas [2 kinds, 14 edges, len(primitives)], each path weighted by the softmax over its edge."""
        s0 = s1 = self.stem(x)
        factors = alphas.softmax(dim=2)
        for cell in self.cells:
            s0, s1 = s1, cell.forward_mixed(s0, s1, factors[int(cell.reduction)], primitives)
        return self.classifier(s1.mean(dim=(2, 3)))

    def child_names(self, genotype):
        """Names of the parameters that the child runs through (both preprocessings of every cell included)."""
        used = {id(p) for m in (self.stem, self.classifier) for p in m.parameters()}
        for cell in self.cells:
            for module in (cell.preprocess0, cell.preprocess1, *(op for _, _, op in cell.modules_used(genotype))):
                used |= {id(p) for p in module.parameters()}
        return [name for name, p in self.named_parameters() if id(p) in used]


# ---- the final network -----------------------------------------------------------------------------------------------

class FinalCell(nn.Module):
    def __init__(self, genotype, c_prev_prev, c_prev, c, reduction, reduction_prev):
        super().__init__()
        self.preprocess0 = (FactorizedReduce if reduction_prev else ReLUConvBN)(c_prev_prev, c, affine=True)
        self.preprocess1 = ReLUConvBN(c_prev, c, affine=True)
        self.pairs = genotype.reduce if reduction else genotype.normal
        self.concat = genotype.reduce_concat if reduction else genotype.normal_concat
        self._ops = nn.ModuleList(primitive(name, c, 2 if reduction and source < 2 else 1, search=False)
                                  for name, source in self.pairs)

    def forward(self, s0, s1, masks):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for node in range(N_NODES):
            terms = []
            for m in (2 * node, 2 * node + 1):
                y = self._ops[m](states[self.pairs[m][1]])
                if m in masks and not isinstance(self._ops[m], nn.Identity):
                    y = y * masks[m].reshape(-1, 1, 1, 1)
                terms.append(y)
            states.append(terms[0] + terms[1])
        return torch.cat([states[i] for i in self.concat], dim=1)


class AuxiliaryHead(nn.Module):
    """`map_side`: side(s) of the incoming maps; outside the preset's an adaptive pool to 2x2 stands in for the pool."""

    def __init__(self, c, classes, stem, map_side):
        super().__init__()
        preset, stride = ((8, 8), 3) if stem == "cifar" else ((7, 7), 2)
        pool = (nn.AvgPool2d(5, stride, 0, count_include_pad=False) if tuple(map_side) == preset
                else nn.AdaptiveAvgPool2d(2))
        tail = [nn.BatchNorm2d(768)] if stem == "cifar" else []
        self.features = nn.Sequential(
            nn.ReLU(), pool, nn.Conv2d(c, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False), *tail, nn.ReLU())
        self.classifier = nn.Linear(768, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class FinalNetwork(nn.Module):
    """`forward(x, masks)` gives (logits, auxiliary logits or None); masks: {(cell, op): [N]}, already divided by the
    keep probability, applied in training only. `size`: image sides (needed for the auxiliary head's pool)."""

    def __init__(self, genotype, layers, channels, classes, in_channels=3, stem="cifar", auxiliary=False, size=(32, 32)):
        super().__init__()
        self.imagenet = stem == "imagenet"
        if self.imagenet:
            half = channels // 2
            self.stem0 = nn.Sequential(
                nn.Conv2d(in_channels, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
                nn.Conv2d(half, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels))
            self.stem1 = nn.Sequential(
                nn.ReLU(), nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels))
            c_stem, down = channels, 8
        else:
            self.stem = nn.Sequential(nn.Conv2d(in_channels, 3 * channels, 3, padding=1, bias=False),
                                      nn.BatchNorm2d(3 * channels))
            c_stem, down = 3 * channels, 1
        self.cells = nn.ModuleList()
        c_prev_prev, c_prev, c, reduction_prev = c_stem, c_stem, channels, self.imagenet
        for i in range(layers):
            reduction = is_reduction(i, layers)
            c, down = (2 * c, 2 * down) if reduction else (c, down)
            self.cells.append(FinalCell(genotype, c_prev_prev, c_prev, c, reduction, reduction_prev))
            concat = genotype.reduce_concat if reduction else genotype.normal_concat
            c_prev_prev, c_prev, reduction_prev = c_prev, len(concat) * c, reduction
            if i == 2 * layers // 3 and auxiliary:
                self.auxiliary_head = AuxiliaryHead(c_prev, classes, stem, [-(-s // down) for s in size])
        self.classifier = nn.Linear(c_prev, classes)

    def forward(self, x, masks=None):
        if self.imagenet:
            s0 = self.stem0(x)
            s1 = self.stem1(s0)
        else:
            s0 = s1 = self.stem(x)
        aux_logits = None
        for i, cell in enumerate(self.cells):
            mine = {m: mask for (k, m), mask in (masks or {}).items() if k == i} if self.training else {}
            s0, s1 = s1, cell(s0, s1, mine)
            if i == 2 * len(self.cells) // 3 and self.training and hasattr(self, "auxiliary_head"):
                aux_logits = self.auxiliary_head(s1)
        return self.classifier(s1.mean(dim=(2, 3))), aux_logits


# ---- one forward and backward, in replay's terms ---------------------------------------------------------------------

def log_likelihood(logits, labels):
    """log p(y_n | x_n) [N], natural logarithm."""
    return F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]


def replay(network, images, labels, genotype=None, masks=None, train=True, class_weights=None):
    """What `parsec replay` writes: logits, log_likelihood and, in train mode, grad.<name> of the mean cross-entropy
    (plus 0.4 times the auxiliary one). With class weights the sum of the weighted cross-entropies is divided by N, not by
    the sum of the weights as in reduction='mean'. Parameters that cannot reach the loss get zeros."""
    network.train(train)
    network.zero_grad(set_to_none=True)
    search = isinstance(network, SearchParent)
    with torch.set_grad_enabled(train):
        logits, aux = (network(images, genotype), None) if search else network(images, masks)
        weight = None if class_weights is None else class_weights.to(logits.dtype)
        mean = lambda z: nn.CrossEntropyLoss(weight=weight, reduction="sum")(z, labels) / len(labels)
        loss = mean(logits)
        if aux is not None:
            loss = loss + AUX_WEIGHT * mean(aux)
    out = {"logits": logits.detach(), "log_likelihood": log_likelihood(logits.detach(), labels)}
    if aux is not None:
        out["aux_logits"] = aux.detach()
    if train:
        loss.backward()
        names = network.child_names(genotype) if search else [n for n, _ in network.named_parameters()]
        params = dict(network.named_parameters())
        for name in names:
            grad = params[name].grad
            out["grad." + name] = torch.zeros_like(params[name]) if grad is None else grad.clone()
    if not search:
        for name, buffer in network.named_buffers():
            if "running_" in name:
                out["after." + name] = buffer.clone()
    return out


# ---- published genotypes and the self-check --------------------------------------------------------------------------

DARTS_V2 = parse_genotype("""Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0),
 ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
 normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
 ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
 reduce_concat=[2, 3, 4, 5])""")
DARTS_V1 = parse_genotype("""Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0),
 ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)],
 normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
 ('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)],
 reduce_concat=range(2, 6))""")
PC_DARTS_CIFAR = parse_genotype("""Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0),
 ('dil_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1)],
 normal_concat=[2, 3, 4, 5], reduce=[('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1),
 ('sep_conv_5x5', 2), ('sep_conv_3x3', 0), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)],
 reduce_concat=[2, 3, 4, 5])""")


def count(network, auxiliary=False):
    return sum(p.numel() for n, p in network.named_parameters() if auxiliary or not n.startswith("auxiliary_head"))


def self_check():
    cases = [
        ("search parent, 8 cells, 16 channels", 1_930_618, count(SearchParent(8, 16, 10))),
        ("DARTS_V2, 20 cells, 36 channels", 3_349_342, count(FinalNetwork(DARTS_V2, 20, 36, 10, auxiliary=True))),
        ("  with CIFAR auxiliary head", 3_825_768, count(FinalNetwork(DARTS_V2, 20, 36, 10, auxiliary=True), True)),
        ("DARTS_V1, same", 3_169_414, count(FinalNetwork(DARTS_V1, 20, 36, 10))),
        ("PC_DARTS_cifar, same", 3_634_678, count(FinalNetwork(PC_DARTS_CIFAR, 20, 36, 10))),
        ("DARTS_V2, ImageNet, 14 cells, 48 channels", 4_718_752,
         count(FinalNetwork(DARTS_V2, 14, 48, 1000, stem="imagenet", auxiliary=True, size=(224, 224)))),
    ]
    for name, expected, found in cases:
        print(f"{'ok  ' if expected == found else 'FAIL'} {name:45s} expected {expected:>9,} found {found:>9,}")
    assert parse_genotype(DARTS_V1.text()) == DARTS_V1

    # A child that draws one pair twice equals the sum of two runs of the op; finite differences check the whole child.
    torch.manual_seed(0)
    pair = ("sep_conv_3x3", 0)
    genotype = Genotype(normal=(pair, pair) + DARTS_V2.normal[2:], reduce=DARTS_V2.reduce)
    parent = SearchParent(1, 2, 3, in_channels=1).double()
    images, labels = torch.randn(3, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    cell = parent.cells[0]
    cell.reduction = False  # run the normal pairs at the reduction cell's strides: only the sum is looked at
    s = parent.stem(images)
    z = cell.preprocess0(s)
    doubled = cell(s, s, genotype)[:, :4]  # node 2: twice the two channels asked for, as in any reduction cell
    op = next(iter(cell.modules_used(genotype)))[2]
    assert torch.allclose(doubled, op(z) + op(z)), "a duplicated pair is 2 o(z)"
    cell.reduction = True

    # Max pools in the genotype: the point is generic, so central differences are smooth there.
    out = replay(parent, images, labels, genotype)
    worst = 0.0
    for name, p in parent.named_parameters():
        if "grad." + name not in out:
            continue
        i = p.numel() // 2
        with torch.no_grad():
            flat, loss = p.view(-1), []
            for delta in (1e-6, -2e-6):
                flat[i] += delta
                loss.append(F.cross_entropy(parent(images, genotype), labels).item())
            flat[i] += 1e-6
        worst = max(worst, abs((loss[0] - loss[1]) / 2e-6 - out["grad." + name].view(-1)[i].item()))
    print(f"{'ok  ' if worst < 1e-6 else 'FAIL'} finite differences of a child: worst {worst:.1e}")
    return all(e == f for _, e, f in cases) and worst < 1e-6


if __name__ == "__main__":
    raise SystemExit(0 if self_check() else 1)
