//@use map, view
// Depthwise convolution, K x K, stride S, dilation D, pad D (K - 1) / 2, no bias.
//   y[t, c, n, i, j] = sum_{u,v} w[t, c, u, v] * view(x)[src(t) + c, n, i S + u D - P, j S + v D - P]
// One dispatch serves several convolutions ("tasks" t) of the same shape whose inputs are channel
// blocks of one tensor and whose outputs are adjacent. Each invocation computes R rows of Q quads.
// x: [C..][N][H][W], y: [T * C][N][OH][OW], w: [C][K * K padded to quads] per task.
// K is 3, 5 or 7, S 1 or 2, D 1 or 2 (1 where K is 7), R 1, 2 or 4, Q 1 or 2.
// Source: PyTorch's conv2d with groups = channels, as used by the DARTS primitives and MobileNetV2's blocks.

// What the register arrays have room for. They are indexed by constants once loops are written out: elements that a
// form leaves out take no register.
// Taps, K * K.
const MAX_TAPS: u32 = 49u;
// Quads of a tile, R * Q; 2 R in the backward pass at stride 2.
const MAX_TILE: u32 = 8u;
// Numbers of a row of x under a tile, 4 (2 + S * Q).
const MAX_ROW: u32 = 24u;
// Numbers of a row of dy under a tile at stride 1, 4 (2 + Q).
const MAX_ROW_BACK: u32 = 16u;
// Numbers of a row of dy under a tile at stride 2: three quads.
const ROW_STRIDED: u32 = 12u;
// Sums of an invocation that are in workgroup memory at a time.
const MAX_PART: u32 = 25u;

override K: u32 = 3u;
override S: u32 = 1u;
override D: u32 = 1u;
override R: u32 = 4u;
override Q: u32 = 1u;
override KK: u32 = K * K;
override KQ: u32 = (KK + 3u) / 4u;
override LEN: u32 = 4u * KQ;
override P: u32 = D * (K - 1u) / 2u;
override ROWS: u32 = (R - 1u) * S + (K - 1u) * D + 1u;
override QUADS: u32 = 2u + S * Q;
override QUADS_BACK: u32 = 2u + Q;
// Backward at stride 2: rows of dy that R rows of dx can touch.
override ROWS_BACK: u32 = R / 2u + 4u;
// The weights' gradient adds up its workgroup's sums in so many parts of so many taps: 49 at once would take 12 KiB of
// workgroup memory, and half as many workgroups would run side by side.
override PARTS: u32 = (KK + MAX_PART - 1u) / MAX_PART;
override PART: u32 = (KK + PARTS - 1u) / PARTS;

struct Params {
    x: Map,
    y: Map,
    channels: u32,   // per task
    tiles: u32,      // invocations that have work, per channel
    row_tiles: u32,  // tiles per image column
    rounds: u32,     // backward_weight: tiles per invocation
    chunks: u32,     // backward_weight: partial sums per weight
    elements: u32,   // backward_weight: weights (padded) of all tasks
    col_tiles: u32,  // tiles per image row
    // forward, backward_weight: (source channel, first quad of w, -, -) per task.
    // backward_data: (source channel, first entry, entries, 1 to accumulate) per source.
    tasks: array<vec4<u32>, MAX_TASKS>,
    // backward_data: (channel of dy, first quad of w, -, -) per entry.
    entries: array<vec4<u32>, MAX_TASKS>,
}

@group(0) @binding(0) var<uniform> params: Params;
//@texture
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, 4096>;
@group(0) @binding(3) var<uniform> w: array<vec4<f32>, 4096>;
@group(0) @binding(8) var<storage, read_write> out: array<vec4<f32>>;
//@texture
@group(0) @binding(5) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;

// Quad j of row i of image n of view(x), zero outside the image.
fn load_x(base: u32, n: u32, i: i32, j: i32, coef: vec4<f32>) -> vec4<f32> {
    let m = params.x;
    let inside = i >= 0 && i < i32(m.h) && j >= 0 && j < i32(m.wq);
    let row = u32(clamp(i, 0, i32(m.h) - 1));
    let col = u32(clamp(j, 0, i32(m.wq) - 1));
    let v = view(x[base + n * m.image + row * m.wq + col], coef);
    if (RAGGED == 0u) {
        return select(vec4<f32>(0.0), v, vec4<bool>(inside));
    }
    return select(vec4<f32>(0.0), v, columns(m, col) & vec4<bool>(inside));
}

fn load_dy(base: u32, n: u32, i: i32, j: i32) -> vec4<f32> {
    let m = params.y;
    let inside = i >= 0 && i < i32(m.h) && j >= 0 && j < i32(m.wq);
    let row = u32(clamp(i, 0, i32(m.h) - 1));
    let col = u32(clamp(j, 0, i32(m.wq) - 1));
    let v = dy[base + n * m.image + row * m.wq + col];
    if (RAGGED == 0u) {
        return select(vec4<f32>(0.0), v, vec4<bool>(inside));
    }
    return select(vec4<f32>(0.0), v, columns(m, col) & vec4<bool>(inside));
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let channel = group.y;
    let task = params.tasks[group.z];
    var taps: array<f32, MAX_TAPS>;
    //@unroll
    for (var t = 0u; t < KK; t++) {
        taps[t] = w[task.y + channel * KQ + t / 4u][t % 4u];
    }
    let coef = coefs[task.x + channel];
    let tile = min(gid.x, params.tiles - 1u);
    let j = tile % params.col_tiles * Q;
    let row0 = (tile / params.col_tiles) % params.row_tiles * R;
    let n = tile / (params.col_tiles * params.row_tiles);
    let base = (task.x + channel) * params.x.pitch;

    var acc: array<vec4<f32>, MAX_TILE>;
    //@unroll
    for (var r = 0u; r < ROWS; r++) {
        let i = i32(row0 * S + r) - i32(P);
        var v: array<f32, MAX_ROW>;
        //@unroll
        for (var q = 0u; q < QUADS; q++) {
            let quad = load_x(base, n, i, i32(j * S + q) - 1, coef);
            v[4u * q] = quad.x;
            v[4u * q + 1u] = quad.y;
            v[4u * q + 2u] = quad.z;
            v[4u * q + 3u] = quad.w;
        }
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var kh = 0u; kh < K; kh++) {
                if (o * S + kh * D == r) {
                    //@unroll
                    for (var kw = 0u; kw < K; kw++) {
                        //@unroll
                        for (var u = 0u; u < Q; u++) {
                            let e = 4u + kw * D - P + 4u * S * u;
                            acc[o * Q + u] += taps[kh * K + kw] * vec4<f32>(v[e], v[e + S], v[e + 2u * S], v[e + 3u * S]);
                        }
                    }
                }
            }
        }
    }
    if (gid.x < params.tiles) {
        let start = (group.z * params.channels + channel) * params.y.pitch + n * params.y.image + j;
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < Q; u++) {
                if (row0 + o < params.y.h && j + u < params.y.wq) {
                    out[start + (row0 + o) * params.y.wq + u] = acc[o * Q + u];
                }
            }
        }
    }
}

// Stride 1: dx[i, j] = sum_{u,v} w[u, v] * dy[i + P - u D, j + P - v D], summed over the tasks that
// read this source.
@compute @workgroup_size(64)
fn backward_data(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let channel = group.y;
    let source = params.tasks[group.z];
    let coef = coefs[source.x + channel];
    let tile = min(gid.x, params.tiles - 1u);
    let j = tile % params.col_tiles * Q;
    let row0 = (tile / params.col_tiles) % params.row_tiles * R;
    let n = tile / (params.col_tiles * params.row_tiles);

    var acc: array<vec4<f32>, MAX_TILE>;
    for (var entry = source.y; entry < source.y + source.z; entry++) {
        let task = params.entries[entry];
        var taps: array<f32, MAX_TAPS>;
        //@unroll
        for (var t = 0u; t < KK; t++) {
            taps[t] = w[task.y + channel * KQ + (KK - 1u - t) / 4u][(KK - 1u - t) % 4u];
        }
        let base = (task.x + channel) * params.y.pitch;
        //@unroll
        for (var r = 0u; r < ROWS; r++) {
            let i = i32(row0 + r) - i32(P);
            var v: array<f32, MAX_ROW_BACK>;
            //@unroll
            for (var q = 0u; q < QUADS_BACK; q++) {
                let quad = load_dy(base, n, i, i32(j + q) - 1);
                v[4u * q] = quad.x;
                v[4u * q + 1u] = quad.y;
                v[4u * q + 2u] = quad.z;
                v[4u * q + 3u] = quad.w;
            }
            //@unroll
            for (var o = 0u; o < R; o++) {
                //@unroll
                for (var kh = 0u; kh < K; kh++) {
                    if (o + kh * D == r) {
                        //@unroll
                        for (var kw = 0u; kw < K; kw++) {
                            //@unroll
                            for (var u = 0u; u < Q; u++) {
                                let e = 4u + kw * D - P + 4u * u;
                                acc[o * Q + u] += taps[kh * K + kw] * vec4<f32>(v[e], v[e + 1u], v[e + 2u], v[e + 3u]);
                            }
                        }
                    }
                }
            }
        }
    }
    // Every load comes before the first store: where buffers may overlap, a load waits for the stores before it.
    let start = (source.x + channel) * params.x.pitch + n * params.x.image;
    let bottom = params.x.h - 1u;
    let right = params.x.wq - 1u;
    if (RELU == 1u) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < Q; u++) {
                let at = start + min(row0 + o, bottom) * params.x.wq + min(j + u, right);
                acc[o * Q + u] = view_backward(acc[o * Q + u], x[at], coef);
            }
        }
    }
    if (source.w == 1u) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < Q; u++) {
                acc[o * Q + u] += dx[start + min(row0 + o, bottom) * params.x.wq + min(j + u, right)];
            }
        }
    }
    if (gid.x < params.tiles) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < Q; u++) {
                if (row0 + o <= bottom && j + u <= right) {
                    dx[start + (row0 + o) * params.x.wq + j + u] = acc[o * Q + u];
                }
            }
        }
    }
}

// Stride 2: R rows (an even number) of eight columns of dx from the quad of dy in their middle;
// acc[2 o + e] holds the columns of parity e.
@compute @workgroup_size(64)
fn backward_data_strided(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let channel = group.y;
    let source = params.tasks[group.z];
    let coef = coefs[source.x + channel];
    let tile = min(gid.x, params.tiles - 1u);
    let j = tile % params.y.wq;
    let row0 = (tile / params.y.wq) % params.row_tiles * R;
    let n = tile / (params.y.wq * params.row_tiles);

    var acc: array<vec4<f32>, MAX_TILE>;
    for (var entry = source.y; entry < source.y + source.z; entry++) {
        let task = params.entries[entry];
        var taps: array<f32, MAX_TAPS>;
        //@unroll
        for (var t = 0u; t < KK; t++) {
            taps[t] = w[task.y + channel * KQ + t / 4u][t % 4u];
        }
        let base = (task.x + channel) * params.y.pitch;
        //@unroll
        for (var r = 0u; r < ROWS_BACK; r++) {
            let i = i32(row0 / 2u + r) - 2;
            var v: array<f32, ROW_STRIDED>;
            //@unroll
            for (var q = 0u; q < 3u; q++) {
                let quad = load_dy(base, n, i, i32(j + q) - 1);
                v[4u * q] = quad.x;
                v[4u * q + 1u] = quad.y;
                v[4u * q + 2u] = quad.z;
                v[4u * q + 3u] = quad.w;
            }
            //@unroll
            for (var o = 0u; o < R; o++) {
                //@unroll
                for (var kh = 0u; kh < K; kh++) {
                    // Row o of dx takes row r - 2 of dy through tap kh.
                    if (o + P + 4u == kh * D + 2u * r) {
                        //@unroll
                        for (var par = 0u; par < 2u; par++) {
                            //@unroll
                            for (var kw = 0u; kw < K; kw++) {
                                if ((par + P + 8u - kw * D) % 2u == 0u) {
                                    let e = (par + P + 8u - kw * D) / 2u;
                                    acc[2u * o + par] += taps[kh * K + kw]
                                        * vec4<f32>(v[e], v[e + 1u], v[e + 2u], v[e + 3u]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    // Columns 0 to 3 and 4 to 7 of each row. Every load comes before the first store, as at stride 1.
    let start = (source.x + channel) * params.x.pitch + n * params.x.image;
    let bottom = params.x.h - 1u;
    let right = params.x.wq - 1u;
    //@unroll
    for (var o = 0u; o < R; o++) {
        let even = acc[2u * o];
        let odd = acc[2u * o + 1u];
        acc[2u * o] = vec4<f32>(even.x, odd.x, even.y, odd.y);
        acc[2u * o + 1u] = vec4<f32>(even.z, odd.z, even.w, odd.w);
    }
    if (RELU == 1u) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < 2u; u++) {
                let at = start + min(row0 + o, bottom) * params.x.wq + min(2u * j + u, right);
                acc[2u * o + u] = view_backward(acc[2u * o + u], x[at], coef);
            }
        }
    }
    if (source.w == 1u) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < 2u; u++) {
                acc[2u * o + u] += dx[start + min(row0 + o, bottom) * params.x.wq + min(2u * j + u, right)];
            }
        }
    }
    if (gid.x < params.tiles) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < 2u; u++) {
                if (row0 + o <= bottom && 2u * j + u <= right) {
                    dx[start + (row0 + o) * params.x.wq + 2u * j + u] = acc[2u * o + u];
                }
            }
        }
    }
}

var<workgroup> sums: array<f32, WG * MAX_PART>;

// dw[u, v] = sum_{n,i,j} dy[n, i, j] * view(x)[n, i S + u D - P, j S + v D - P]: one partial sum per
// chunk of the maps; partial: [chunks][T][C][K * K padded to quads].
@compute @workgroup_size(64)
fn backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let channel = group.y;
    let task = params.tasks[group.z];
    let coef = coefs[task.x + channel];
    let base = (task.x + channel) * params.x.pitch;
    let base_dy = (group.z * params.channels + channel) * params.y.pitch;

    var acc: array<f32, MAX_TAPS>;
    for (var round = 0u; round < params.rounds; round++) {
        let tile = (group.x * params.rounds + round) * WG + lane;
        let t = min(tile, params.tiles - 1u);
        let j = t % params.col_tiles * Q;
        let row0 = (t / params.col_tiles) % params.row_tiles * R;
        let n = t / (params.col_tiles * params.row_tiles);
        var g: array<vec4<f32>, MAX_TILE>;
        //@unroll
        for (var o = 0u; o < R; o++) {
            //@unroll
            for (var u = 0u; u < Q; u++) {
                let quad = load_dy(base_dy, n, i32(row0 + o), i32(j + u));
                g[o * Q + u] = select(vec4<f32>(0.0), quad, vec4<bool>(tile < params.tiles));
            }
        }
        //@unroll
        for (var r = 0u; r < ROWS; r++) {
            let i = i32(row0 * S + r) - i32(P);
            var v: array<f32, MAX_ROW>;
            //@unroll
            for (var q = 0u; q < QUADS; q++) {
                let quad = load_x(base, n, i, i32(j * S + q) - 1, coef);
                v[4u * q] = quad.x;
                v[4u * q + 1u] = quad.y;
                v[4u * q + 2u] = quad.z;
                v[4u * q + 3u] = quad.w;
            }
            //@unroll
            for (var o = 0u; o < R; o++) {
                //@unroll
                for (var kh = 0u; kh < K; kh++) {
                    if (o * S + kh * D == r) {
                        //@unroll
                        for (var kw = 0u; kw < K; kw++) {
                            //@unroll
                            for (var u = 0u; u < Q; u++) {
                                let e = 4u + kw * D - P + 4u * S * u;
                                acc[kh * K + kw] += dot(g[o * Q + u], vec4<f32>(v[e], v[e + S], v[e + 2u * S], v[e + 3u * S]));
                            }
                        }
                    }
                }
            }
        }
    }
    //@unroll
    for (var part = 0u; part < PARTS; part++) {
        if (part > 0u) {
            // The sums of the part before have been read.
            workgroupBarrier();
        }
        //@unroll
        for (var t = 0u; t < PART; t++) {
            if (part * PART + t < KK) {
                sums[lane * PART + t] = acc[part * PART + t];
            }
        }
        workgroupBarrier();
        let tap = part * PART + lane;
        if (tap < LEN && (lane < PART || part + 1u == PARTS)) {
            var total = 0.0;
            for (var other = 0u; other < WG; other++) {
                total += sums[other * PART + min(lane, PART - 1u)];
            }
            // The padding of a row of w stays zero.
            partial[group.x * params.elements + (group.z * params.channels + channel) * LEN + tap] =
                select(0.0, total, tap < KK);
        }
    }
}
