//@use map, view, grad, group, task
// Pointwise (1x1) convolution, no bias: one matrix product per task.
//   y[dst(t) + o, q] = sum_i w[t, o, i] * view(x)[src(t) + i, q]
// Tasks t are convolutions of the same shape whose inputs are channel blocks of one tensor and whose
// outputs are blocks of another. Each invocation computes TC channels of TQ quads in registers.
// x: [C..][N][H][W], y: [C..][N][H][W], w: [CO][4 * ci4] per task, rows padded with zeros to quads.
// Source: PyTorch's conv2d with a 1x1 kernel.

override TC: u32 = 8u;
override TQ: u32 = 2u;
const MAX_SUMS: u32 = 64u; // the largest TC TQ and 4 U TQ
const MAX_SIDE: u32 = 16u; // the largest U, TO and TI
// Number of loads that are under way at once: quads of input channels in forward, output channels in backward_data. At
// most 16 / TQ. With more loads an invocation waits for memory less often.
override U: u32 = 1u;
// forward, 1: x holds later input channels, and the outputs already hold the sums over the earlier channels.
// backward_data, 1: some task adds to the content of dx.
override ADD: u32 = 0u;
// backward_weight: a tile of TO output by TI input channels.
override TO: u32 = 8u;
override TI: u32 = 8u;
override PARTS: u32 = (TO * TI + WG - 1u) / WG;
override PART: u32 = TO * TI / PARTS;
override SUMS: u32 = PART / 4u * WG;

struct Task {
    x: u32,               // first channel
    w: u32,               // first quad
    y: u32,               // first channel
    dz: u32,              // first channel
    add: u32,             // 1 to add to dx
    @size(12) drop: u32,  // first drop-path factor
}

struct Params {
    x: Map,
    ci: u32,
    co: u32,
    ci4: u32,         // quads of x's input channels
    rounds: u32,      // backward_weight: quads per invocation
    elements: u32,    // backward_weight: weights (padded) of all tasks
    in_tiles: u32,    // backward_weight: tiles of input channels
    per_task: u32,    // backward_weight: weights (padded) of one task
    row4: u32,        // quads per row of w; more than ci4 if x holds some of the input channels
    @align(16) tasks: array<Task, MAX_TASKS>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(3) var<uniform> w: array<vec4<f32>, UNIFORM>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>; //@texture
@group(0) @binding(10) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>; //@texture
@group(0) @binding(6) var<uniform> grad_coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> drop: array<f32>;

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    let task = params.tasks[me.group.z];
    let row0 = me.group.y * TC;
    let q0 = me.group.x * WG * TQ + me.lane;
    let pitch = params.x.pitch;
    let last = params.x.quads - 1u;

    var acc: array<vec4<f32>, MAX_SUMS>;
    for (var k0 = 0u; k0 < params.ci4; k0 += U) {
        var xs: array<vec4<f32>, MAX_SUMS>;
        for (var u = 0u; u < 4u * U; u++) { //@unroll
            let channel = task.x + min(4u * k0 + u, params.ci - 1u);
            let coef = coefs[channel];
            for (var t = 0u; t < TQ; t++) { //@unroll
                xs[u * TQ + t] = view(x[channel * pitch + min(q0 + t * WG, last)], coef);
            }
        }
        for (var v = 0u; v < U; v++) { //@unroll
            if (U == 1u || k0 + v < params.ci4) {
                for (var c = 0u; c < TC; c++) { //@unroll
                    let row = w[task.w + min(row0 + c, params.co - 1u) * params.row4 + k0 + v];
                    for (var t = 0u; t < TQ; t++) { //@unroll
                        let s = 4u * v * TQ + t;
                        acc[c * TQ + t] += row.x * xs[s] + row.y * xs[s + TQ] + row.z * xs[s + 2u * TQ] + row.w * xs[s + 3u * TQ];
                    }
                }
            }
        }
    }
    for (var t = 0u; t < TC * TQ; t++) { //@unroll
        let q = q0 + t % TQ * WG;
        if (row0 + t / TQ < params.co && q <= last) {
            let at = (task.y + row0 + t / TQ) * pitch + q;
            if (ADD == 1u) { acc[t] += out[at]; }
            out[at] = acc[t];
        }
    }
}

// The gradient of output channel `o` of the task at quad q.
fn load_dy(task: Task, o: u32, q: u32, g: vec4<f32>) -> vec4<f32> {
    var v = dz[(task.dz + o) * params.x.pitch + q];
    if (DROP == 1u) { v *= drop[task.drop + q / params.x.image]; }
    if (BN == 1u) { return batch_norm_backward(v, y[(task.y + o) * params.x.pitch + q], g); }
    return v;
}

// dx[i, q] = sum_o w[o, i] * dy[o, q]
@compute @workgroup_size(WG) fn backward_data(me: Invocation) {
    let task = params.tasks[me.group.z];
    let row0 = me.group.y * TC;
    let q0 = me.group.x * WG * TQ + me.lane;
    let pitch = params.x.pitch;
    let last = params.x.quads - 1u;

    var acc: array<vec4<f32>, MAX_SUMS>;
    for (var o0 = 0u; o0 < params.co; o0 += U) {
        var dys: array<vec4<f32>, MAX_SIDE>;
        for (var v = 0u; v < U; v++) { //@unroll
            let o = min(o0 + v, params.co - 1u);
            let g = grad_coefficients(task.y + o);
            for (var t = 0u; t < TQ; t++) { //@unroll
                dys[v * TQ + t] = load_dy(task, o, min(q0 + t * WG, last), g);
            }
        }
        for (var v = 0u; v < U; v++) { //@unroll
            if (U == 1u || o0 + v < params.co) {
                for (var c4 = 0u; c4 < TC / 4u; c4++) { //@unroll
                    let row = w[task.w + (o0 + v) * params.row4 + min(row0 / 4u + c4, params.ci4 - 1u)];
                    for (var t = 0u; t < TQ; t++) { //@unroll
                        let dy = dys[v * TQ + t];
                        acc[4u * c4 * TQ + t] += row.x * dy;
                        acc[(4u * c4 + 1u) * TQ + t] += row.y * dy;
                        acc[(4u * c4 + 2u) * TQ + t] += row.z * dy;
                        acc[(4u * c4 + 3u) * TQ + t] += row.w * dy;
                    }
                }
            }
        }
    }
    // Every load comes before the first store (lib/store).
    if (RELU == 1u) {
        for (var t = 0u; t < TC * TQ; t++) { //@unroll
            let channel = task.x + min(row0 + t / TQ, params.ci - 1u);
            acc[t] = view_backward(acc[t], x[channel * pitch + min(q0 + t % TQ * WG, last)], coefs[channel]);
        }
    }
    if (ADD == 1u) {
        if (task.add == 1u) {
            for (var t = 0u; t < TC * TQ; t++) { //@unroll
                let channel = task.x + min(row0 + t / TQ, params.ci - 1u);
                acc[t] += dx[channel * pitch + min(q0 + t % TQ * WG, last)];
            }
        }
    }
    for (var t = 0u; t < TC * TQ; t++) { //@unroll
        if (row0 + t / TQ < params.ci && q0 + t % TQ * WG <= last) {
            dx[(task.x + row0 + t / TQ) * pitch + q0 + t % TQ * WG] = acc[t];
        }
    }
}

// A part of the tile of every invocation. `slot` has the order.
var<workgroup> parts: array<vec4<f32>, SUMS>;

// Position of the four weights `e` of invocation `lane`. Neighbouring invocations write neighbouring quads, and
// invocations that add up different weights read different banks.
fn slot(e: u32, lane: u32) -> u32 {
    return e * WG + (lane + e) % WG;
}

// dw[o, i] = sum_q dy[o, q] * view(x)[i, q]: one partial sum per chunk of the quads; partial: [chunks][T][CO][4 * ci4].
@compute @workgroup_size(WG) fn backward_weight(me: Invocation) {
    let task = params.tasks[me.group.z];
    let o0 = me.group.y / params.in_tiles * TO;
    let i0 = me.group.y % params.in_tiles * TI;
    let last = params.x.quads - 1u;

    var g: array<vec4<f32>, MAX_SIDE>;
    for (var a = 0u; a < TO; a++) { //@unroll
        g[a] = grad_coefficients(task.y + min(o0 + a, params.co - 1u));
    }
    var coef: array<vec4<f32>, MAX_SIDE>;
    for (var b = 0u; b < TI; b++) { //@unroll
        coef[b] = coefs[task.x + min(i0 + b, params.ci - 1u)];
    }
    var acc: array<f32, MAX_SIDE * MAX_SIDE>;
    for (var round = 0u; round < params.rounds; round++) {
        let q = (me.group.x * params.rounds + round) * WG + me.lane;
        let at = min(q, last);
        // Both factors are zero behind the end of a row, because the padding may hold any value. A position behind the
        // last quad loads the last quad again, so it is enough that one factor is zero there.
        let data = in_row(params.x, at % params.x.wq);
        let inside = vec4<bool>(q <= last) & data;
        var xs: array<vec4<f32>, MAX_SIDE>;
        for (var b = 0u; b < TI; b++) { //@unroll
            let channel = task.x + min(i0 + b, params.ci - 1u);
            xs[b] = select(vec4<f32>(0.0), view(x[channel * params.x.pitch + at], coef[b]), data);
        }
        for (var a = 0u; a < TO; a++) { //@unroll
            let dy = select(vec4<f32>(0.0), load_dy(task, min(o0 + a, params.co - 1u), at, g[a]), inside);
            for (var b = 0u; b < TI; b++) { //@unroll
                acc[a * TI + b] += dot(dy, xs[b]);
            }
        }
    }
    // The tile is summed over the workgroup in parts of at most 64 weights, four neighbours at a time.
    for (var part = 0u; part < PARTS; part++) { //@unroll
        for (var e = 0u; e < PART / 4u; e++) { //@unroll
            let first = part * PART + 4u * e;
            parts[slot(e, me.lane)] = vec4<f32>(acc[first], acc[first + 1u], acc[first + 2u], acc[first + 3u]);
        }
        workgroupBarrier();
        let o = o0 + (part * PART + 4u * me.lane) / TI;
        let i = i0 + (part * PART + 4u * me.lane) % TI;
        if (me.lane < PART / 4u && o < params.co && i < 4u * params.ci4) {
            var total = vec4<f32>(0.0);
            for (var other = 0u; other < WG; other++) {
                total += parts[slot(me.lane, other)];
            }
            // The padding of a row of w stays zero.
            let data = vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.ci);
            let at = me.group.x * params.elements + me.group.z * params.per_task + o * 4u * params.ci4 + i;
            partial[at / 4u] = select(vec4<f32>(0.0), total, data);
        }
        workgroupBarrier();
    }
}
