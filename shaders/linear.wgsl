//@use group
// Fully connected layer: y[n, k] = sum_c w[k, c] * x[c, n] + bias[k].
// x: element (c, n) at c * x_channel + n * x_example, y: [N][K], w: [K][C], bias: [K].
// Source: PyTorch's linear.

struct Params {
    n: u32,
    c: u32,
    k: u32,
    x_channel: u32,
    x_example: u32,
    weight: u32,  // offset of w in the bound range
    bias: u32,    // offset of bias in the bound range
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    if (me.id.x >= params.n * params.k) { return; }
    let n = me.id.x / params.k;
    let k = me.id.x % params.k;
    var total = w[params.bias + k];
    for (var c = 0u; c < params.c; c++) {
        total += w[params.weight + k * params.c + c] * x[c * params.x_channel + n * params.x_example];
    }
    y[me.id.x] = total;
}

// Classes that a workgroup of `forward_by_example` computes.
const CLASSES: u32 = 16u;
var<workgroup> parts: array<f32, WG * CLASSES>;

// Like `forward`, with a workgroup per example and 16 classes. Each invocation takes every 64th feature, so that
// neighbouring invocations read neighbouring weights. The parts are added up in a fixed order.
@compute @workgroup_size(WG) fn forward_by_example(me: Invocation) {
    let n = me.group.x;
    let k0 = me.group.y * CLASSES;
    var acc: array<f32, CLASSES>;
    for (var c = me.lane; c < params.c; c += WG) {
        let v = x[c * params.x_channel + n * params.x_example];
        for (var k = 0u; k < CLASSES; k++) { //@unroll
            acc[k] += w[params.weight + min(k0 + k, params.k - 1u) * params.c + c] * v;
        }
    }
    for (var k = 0u; k < CLASSES; k++) { //@unroll
        parts[k * WG + (me.lane + k) % WG] = acc[k];
    }
    workgroupBarrier();
    if (me.lane < CLASSES && k0 + me.lane < params.k) {
        var total = 0.0;
        for (var other = 0u; other < WG; other++) {
            total += parts[me.lane * WG + (other + me.lane) % WG];
        }
        y[n * params.k + k0 + me.lane] = w[params.bias + k0 + me.lane] + total;
    }
}

@compute @workgroup_size(WG) fn backward_data(me: Invocation) {
    if (me.id.x >= params.n * params.c) { return; }
    let c = me.id.x / params.n;
    let n = me.id.x % params.n;
    var total = 0.0;
    for (var k = 0u; k < params.k; k++) {
        total += w[params.weight + k * params.c + c] * dy[n * params.k + k];
    }
    dx[c * params.x_channel + n * params.x_example] = total;
}

// partial: [K][C] then [K]: dw[k, c] = sum_n dy[n, k] * x[c, n], dbias[k] = sum_n dy[n, k].
@compute @workgroup_size(WG) fn backward_weight(me: Invocation) {
    let weights = params.k * params.c;
    if (me.id.x >= weights + params.k) { return; }
    // The bias is a weight of a feature that is 1.
    let is_bias = me.id.x >= weights;
    let k = select(me.id.x / params.c, me.id.x - weights, is_bias);
    let first = me.id.x % params.c * params.x_channel;
    var total = 0.0;
    for (var n = 0u; n < params.n; n++) {
        total += dy[n * params.k + k] * select(x[first + n * params.x_example], 1.0, is_bias);
    }
    partial[me.id.x] = total;
}
