//@use map, view, grad, group, row, store
// Dense convolution, K x K, stride S, pad P, no bias (stems and the auxiliary head).
//   y[o, n, i, j] = sum_{c,u,v} w[o, c, u, v] * view(x)[c, n, i S + u - P, j S + v - P]
// Each invocation of the forward pass computes TC output channels of one quad.
// x: [CI][N][H][W], y: [CO][N][OH][OW], w: [CO][CI * K * K padded to quads].
// Source: PyTorch's conv2d.

override K: u32 = 3u;
override S: u32 = 1u;
override P: u32 = 1u;
override TC: u32 = 4u;
const MAX_CHANNELS: u32 = 8u; // the largest TC
// 1: x holds later input channels, and the output already holds the sum over the earlier channels.
override ADD: u32 = 0u;
override KK: u32 = K * K;
override QUADS: u32 = 2u + S;
override WEIGHTS: u32 = TC * KK;

struct Params {
    x: Map,
    y: Map,
    ci: u32,
    co: u32,
    rounds: u32,     // backward_weight: quads per invocation
    add: u32,        // backward_data: 1 to add to dx
    row: u32,        // elements per row of w (padded to quads)
    first: u32,      // first output channel of this piece, for finding grad_coefs
    channel: u32,    // input channel of w that is channel 0 of x, if x holds some of the channels
    part: u32,       // backward_weight: elements per row of partial (padded to quads)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(3) var<uniform> w: array<vec4<f32>, UNIFORM>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>; //@texture
@group(0) @binding(9) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>; //@texture
@group(0) @binding(6) var<uniform> grad_coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> partial: array<f32>;

fn weight(o: u32, c: u32, tap: u32) -> f32 {
    let at = o * params.row + (params.channel + c) * KK + tap;
    return w[at / 4u][at % 4u];
}

fn load_x(base: u32, n: u32, i: i32, j: i32, coef: vec4<f32>) -> vec4<f32> {
    let m = params.x;
    return select(vec4<f32>(0.0), view(x[base + nearest(m, n, i, j)], coef), in_map(m, i, j));
}

// The gradient of output channel o at flat quad q.
fn load_dy(o: u32, q: u32) -> vec4<f32> {
    let at = o * params.y.pitch + q;
    if (BN == 1u) { return batch_norm_backward(dz[at], y[at], grad_coefs[params.first + o]); }
    return dz[at];
}

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    let q = min(me.id.x, params.y.quads - 1u);
    let p = place(params.y, q);
    let o0 = me.group.y * TC;

    var acc: array<vec4<f32>, MAX_CHANNELS>;
    for (var c = 0u; c < params.ci; c++) {
        let coef = coefficients(c);
        let base = c * params.x.pitch;
        for (var kh = 0u; kh < K; kh++) { //@unroll
            var v: array<f32, MAX_ROW>;
            for (var d = 0u; d < QUADS; d++) { //@unroll
                put(&v, d, load_x(base, p.n, i32(p.i * S + kh) - i32(P), i32(p.j * S + d) - 1, coef));
            }
            for (var kw = 0u; kw < K; kw++) { //@unroll
                let e = 4u + kw - P;
                let window = vec4<f32>(v[e], v[e + S], v[e + 2u * S], v[e + 3u * S]);
                for (var t = 0u; t < TC; t++) { //@unroll
                    acc[t] += weight(min(o0 + t, params.co - 1u), c, kh * K + kw) * window;
                }
            }
        }
    }
    for (var t = 0u; t < TC; t++) { //@unroll
        if (me.id.x < params.y.quads && o0 + t < params.co) {
            let at = (o0 + t) * params.y.pitch + q;
            if (ADD == 1u) { acc[t] += out[at]; }
            out[at] = acc[t];
        }
    }
}

// One element of dy, zero outside the map.
fn dy_at(o: u32, n: u32, i: i32, j: i32) -> f32 {
    let m = params.y;
    if (i < 0 || i >= i32(m.h) || j < 0 || j >= i32(m.w)) { return 0.0; }
    return load_dy(o, n * m.image + u32(i) * m.wq + u32(j) / 4u)[u32(j) % 4u];
}

// dx[c, i, j] = sum_{o,u,v} w[o, c, u, v] * dy[o, (i + P - u) / S, (j + P - v) / S] where both divide.
@compute @workgroup_size(WG) fn backward_data(me: Invocation) {
    if (me.id.x >= params.x.quads) { return; }
    let c = me.group.y;
    let p = place(params.x, me.id.x);
    var acc = vec4<f32>(0.0);
    for (var kh = 0u; kh < K; kh++) {
        let row = i32(p.i + P) - i32(kh);
        if (row >= 0 && row % i32(S) == 0) {
            for (var kw = 0u; kw < K; kw++) {
                for (var o = 0u; o < params.co; o++) {
                    let weight = weight(o, c, kh * K + kw);
                    for (var e = 0u; e < 4u; e++) { //@unroll
                        let col = i32(4u * p.j + e + P) - i32(kw);
                        if (col >= 0 && col % i32(S) == 0) {
                            acc[e] += weight * dy_at(o, p.n, row / i32(S), col / i32(S));
                        }
                    }
                }
            }
        }
    }
    let at = c * params.x.pitch + me.id.x;
    var v = acc;
    if (RELU == 1u) { v = view_backward(v, x[at], coefficients(c)); }
    store(at, v, params.add);
}

const MAX_SUMS: u32 = 36u; // nine taps of four channels
var<workgroup> parts: array<f32, WG * MAX_SUMS>;

// dw[o, c, u, v] = sum_{n,i,j} dy[o, n, i, j] * view(x)[c, n, i S + u - P, j S + v - P]: TC output
// channels of input channel group.z per workgroup; partial: [chunks][CO][channels of x * K * K padded to quads].
@compute @workgroup_size(WG) fn backward_weight(me: Invocation) {
    let c = me.group.z;
    let o0 = me.group.y * TC;
    let coef = coefficients(c);
    let base = c * params.x.pitch;
    var acc: array<f32, MAX_SUMS>;
    for (var round = 0u; round < params.rounds; round++) {
        let flat = (me.group.x * params.rounds + round) * WG + me.lane;
        let q = min(flat, params.y.quads - 1u);
        let p = place(params.y, q);
        let inside = vec4<bool>(flat < params.y.quads) & in_row(params.y, p.j);
        var g: array<vec4<f32>, 4>;
        for (var t = 0u; t < TC; t++) { //@unroll
            g[t] = select(vec4<f32>(0.0), load_dy(min(o0 + t, params.co - 1u), q), inside);
        }
        for (var kh = 0u; kh < K; kh++) { //@unroll
            var v: array<f32, MAX_ROW>;
            for (var d = 0u; d < QUADS; d++) { //@unroll
                put(&v, d, load_x(base, p.n, i32(p.i * S + kh) - i32(P), i32(p.j * S + d) - 1, coef));
            }
            for (var kw = 0u; kw < K; kw++) { //@unroll
                let e = 4u + kw - P;
                let window = vec4<f32>(v[e], v[e + S], v[e + 2u * S], v[e + 3u * S]);
                for (var t = 0u; t < TC; t++) { //@unroll
                    acc[t * KK + kh * K + kw] += dot(g[t], window);
                }
            }
        }
    }
    for (var e = 0u; e < WEIGHTS; e++) { //@unroll
        parts[me.lane * WEIGHTS + e] = acc[e];
    }
    workgroupBarrier();
    let o = o0 + me.lane / KK;
    if (me.lane < WEIGHTS && o < params.co) {
        var total = 0.0;
        for (var other = 0u; other < WG; other++) {
            total += parts[other * WEIGHTS + me.lane];
        }
        partial[(me.group.x * params.co + o) * params.part + c * KK + me.lane % KK] = total;
        // The padding of a row stays zero.
        if (c == params.ci - 1u && me.lane % KK == KK - 1u) {
            for (var e = params.ci * KK; e < params.part; e++) {
                partial[(me.group.x * params.co + o) * params.part + e] = 0.0;
            }
        }
    }
}
