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

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) gid: vec3<u32>) {
    if (gid.x >= params.n * params.k) {
        return;
    }
    let n = gid.x / params.k;
    let k = gid.x % params.k;
    var total = w[params.bias + k];
    for (var c = 0u; c < params.c; c++) {
        total += w[params.weight + k * params.c + c] * x[c * params.x_channel + n * params.x_example];
    }
    y[gid.x] = total;
}

// Classes that a workgroup of `forward_by_example` computes.
const CLASSES: u32 = 16u;
var<workgroup> parts: array<f32, WG * CLASSES>;

// The same with a workgroup per example and 16 classes: each invocation takes every 64th feature, so that weights are
// read side by side, and the parts are added up in a fixed order.
@compute @workgroup_size(64)
fn forward_by_example(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = group.x;
    let k0 = group.y * CLASSES;
    var acc: array<f32, 16>;
    for (var c = lane; c < params.c; c += WG) {
        let v = x[c * params.x_channel + n * params.x_example];
        //@unroll
        for (var k = 0u; k < CLASSES; k++) {
            acc[k] += w[params.weight + min(k0 + k, params.k - 1u) * params.c + c] * v;
        }
    }
    //@unroll
    for (var k = 0u; k < CLASSES; k++) {
        parts[k * WG + (lane + k) % WG] = acc[k];
    }
    workgroupBarrier();
    if (lane < CLASSES && k0 + lane < params.k) {
        var total = 0.0;
        for (var other = 0u; other < WG; other++) {
            total += parts[lane * WG + (other + lane) % WG];
        }
        y[n * params.k + k0 + lane] = w[params.bias + k0 + lane] + total;
    }
}

@compute @workgroup_size(64)
fn backward_data(@builtin(global_invocation_id) gid: vec3<u32>) {
    if (gid.x >= params.n * params.c) {
        return;
    }
    let c = gid.x / params.n;
    let n = gid.x % params.n;
    var total = 0.0;
    for (var k = 0u; k < params.k; k++) {
        total += w[params.weight + k * params.c + c] * dy[n * params.k + k];
    }
    dx[c * params.x_channel + n * params.x_example] = total;
}

// partial: [K][C] then [K]: dw[k, c] = sum_n dy[n, k] * x[c, n], dbias[k] = sum_n dy[n, k].
@compute @workgroup_size(64)
fn backward_weight(@builtin(global_invocation_id) gid: vec3<u32>) {
    let weights = params.k * params.c;
    if (gid.x >= weights + params.k) {
        return;
    }
    var total = 0.0;
    if (gid.x < weights) {
        let k = gid.x / params.c;
        let c = gid.x % params.c;
        for (var n = 0u; n < params.n; n++) {
            total += dy[n * params.k + k] * x[c * params.x_channel + n * params.x_example];
        }
    } else {
        let k = gid.x - weights;
        for (var n = 0u; n < params.n; n++) {
            total += dy[n * params.k + k];
        }
    }
    partial[gid.x] = total;
}
