//@use map, view, group, task, row, tile
// Depthwise convolution, K x K, stride S, dilation D, pad P = D (K - 1) / 2, no bias.
//   y[t, c, n, i, j] = sum_{u,v} w[t, c, u, v] * view(x)[src(t) + c, n, i S + u D - P, j S + v D - P]
// One launch serves several convolutions ("tasks" t) of the same shape whose inputs are channel
// blocks of one tensor and whose outputs are adjacent. Each invocation computes R rows of Q quads.
// x: [C..][N][H][W], y: [T * C][N][OH][OW], w: [C][K * K padded to quads] per task.
// K is 3, 5 or 7, S 1 or 2, D 1 or 2 (1 where K is 7), R 1, 2 or 4, Q 1 or 2.
// Source: PyTorch's conv2d with groups = channels, as used by the DARTS primitives and MobileNetV2's blocks.

// Largest number of taps, K * K.
const MAX_TAPS: u32 = 49u;
// Largest number of sums of an invocation that are in workgroup memory at a time.
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
// Rows and quads of x under a tile of y.
override ROWS: u32 = (R - 1u) * S + (K - 1u) * D + 1u;
override QUADS: u32 = 2u + S * Q;
// backward_data: quads of a row of a tile of dx; rows of dy above and below the tile, and rows in all.
override XQ: u32 = S * Q;
override BESIDE: u32 = P * (2u - S) + 2u * (S - 1u);
override ROWS_BACK: u32 = R / S + 2u * BESIDE;
// backward_weight adds up the sums of a workgroup in PARTS parts of PART taps. 49 taps at once would take 12 KiB of
// workgroup memory, and only half as many workgroups would run side by side.
override PARTS: u32 = (KK + MAX_PART - 1u) / MAX_PART;
override PART: u32 = (KK + PARTS - 1u) / PARTS;

struct Task {
    channel: u32,      // first channel of the tensor that is read: x, or dy in backward_data
    @size(12) w: u32,  // first quad of the weights
}

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
    @align(16) tasks: array<Task, MAX_TASKS>,
    sources: array<Source, MAX_TASKS>,  // backward_data
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(3) var<uniform> w: array<vec4<f32>, UNIFORM>;
@group(0) @binding(8) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dy: array<vec4<f32>>; //@texture
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;

// Quad j of row i of image n of view(x), zero outside the image.
fn load_x(base: u32, n: u32, i: i32, j: i32, coef: vec4<f32>) -> vec4<f32> {
    let m = params.x;
    return select(vec4<f32>(0.0), view(x[base + nearest(m, n, i, j)], coef), in_map(m, i, j));
}

fn load_dy(base: u32, n: u32, i: i32, j: i32) -> vec4<f32> {
    let m = params.y;
    return select(vec4<f32>(0.0), dy[base + nearest(m, n, i, j)], in_map(m, i, j));
}

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    let channel = me.group.y;
    let task = params.tasks[me.group.z];
    var taps: array<f32, MAX_TAPS>;
    for (var t = 0u; t < KK; t++) { //@unroll
        taps[t] = w[task.w + channel * KQ + t / 4u][t % 4u];
    }
    let coef = coefs[task.channel + channel];
    let tile = tile_place(min(me.id.x, params.tiles - 1u), params.row_tiles, params.col_tiles, Q);
    let base = (task.channel + channel) * params.x.pitch;

    var acc: array<vec4<f32>, MAX_TILE>;
    for (var r = 0u; r < ROWS; r++) { //@unroll
        var v: array<f32, MAX_ROW>;
        for (var q = 0u; q < QUADS; q++) { //@unroll
            put(&v, q, load_x(base, tile.n, i32(tile.i * S + r) - i32(P), i32(tile.j * S + q) - 1, coef));
        }
        for (var o = 0u; o < R; o++) { //@unroll
            for (var kh = 0u; kh < K; kh++) { //@unroll
                if (o * S + kh * D == r) {
                    for (var kw = 0u; kw < K; kw++) { //@unroll
                        for (var u = 0u; u < Q; u++) { //@unroll
                            let e = 4u + kw * D - P + 4u * S * u;
                            acc[o * Q + u] += taps[kh * K + kw] * vec4<f32>(v[e], v[e + S], v[e + 2u * S], v[e + 3u * S]);
                        }
                    }
                }
            }
        }
    }
    if (me.id.x < params.tiles) {
        let first = (me.group.z * params.channels + channel) * params.y.pitch;
        for (var t = 0u; t < R * Q; t++) { //@unroll
            if (in_tile(params.y, tile, t / Q, t % Q)) { out[first + tile_quad(params.y, tile, t / Q, t % Q)] = acc[t]; }
        }
    }
}

// dx[i, j] = sum_{u,v} w[u, v] * dy[(i + P - u D) / S, (j + P - v D) / S] where both divide, summed over the tasks that
// read this source. A tile has R rows, a multiple of S, of XQ quads of dx, around Q quads of dy; Q is 1 where S is 2.
@compute @workgroup_size(WG) fn backward_data(me: Invocation) {
    let channel = me.group.y;
    let source = params.sources[me.group.z];
    let tile = tile_place(min(me.id.x, params.tiles - 1u), params.row_tiles, params.col_tiles, Q);

    // acc[S t + par]: the columns of dx that are par beyond a multiple of S.
    var acc: array<vec4<f32>, MAX_TILE>;
    for (var t = source.first; t < source.first + source.n; t++) {
        let task = params.tasks[t];
        var taps: array<f32, MAX_TAPS>;
        for (var t = 0u; t < KK; t++) { //@unroll
            taps[t] = w[task.w + channel * KQ + t / 4u][t % 4u];
        }
        let base = (task.channel + channel) * params.y.pitch;
        for (var r = 0u; r < ROWS_BACK; r++) { //@unroll
            var v: array<f32, MAX_ROW>;
            for (var q = 0u; q < Q + 2u; q++) { //@unroll
                put(&v, q, load_dy(base, tile.n, i32(tile.i / S + r) - i32(BESIDE), i32(tile.j + q) - 1));
            }
            for (var o = 0u; o < R; o++) { //@unroll
                for (var kh = 0u; kh < K; kh++) { //@unroll
                    // Row o of dx takes row r - BESIDE of dy through tap kh.
                    if (o + P + S * BESIDE == kh * D + S * r) {
                        for (var k = 0u; k < K; k++) { //@unroll
                            // The order of a row's taps decides the rounding: down at stride 1, up at stride 2.
                            let kw = (K - 1u - k) * (2u - S) + k * (S - 1u);
                            for (var u = 0u; u < XQ; u++) { //@unroll
                                if ((u % S + P + 4u * S - kw * D) % S == 0u) {
                                    let e = (u % S + P + 4u * S - kw * D) / S + 4u * (u / S);
                                    acc[o * XQ + u] += taps[kh * K + kw] * vec4<f32>(v[e], v[e + 1u], v[e + 2u], v[e + 3u]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    if (S == 2u) { interleave(&acc); }
    let tile_dx = Place(tile.n, tile.i, S * tile.j);
    let first = (source.channel + channel) * params.x.pitch;
    if (RELU == 1u) {
        let coef = coefs[source.channel + channel];
        for (var t = 0u; t < R * XQ; t++) { //@unroll
            acc[t] = view_backward(acc[t], x[first + tile_near(params.x, tile_dx, t / XQ, t % XQ)], coef);
        }
    }
    store_tile(first, tile_dx, &acc, source.add, me.id.x < params.tiles);
}

var<workgroup> parts: array<f32, WG * MAX_PART>;

// dw[u, v] = sum_{n,i,j} dy[n, i, j] * view(x)[n, i S + u D - P, j S + v D - P]: one partial sum per
// chunk of the maps; partial: [chunks][T][C][K * K padded to quads].
@compute @workgroup_size(WG) fn backward_weight(me: Invocation) {
    let channel = params.tasks[me.group.z].channel + me.group.y;
    let coef = coefs[channel];
    let base = channel * params.x.pitch;
    let base_dy = (me.group.z * params.channels + me.group.y) * params.y.pitch;

    var acc: array<f32, MAX_TAPS>;
    for (var round = 0u; round < params.rounds; round++) {
        let t = (me.group.x * params.rounds + round) * WG + me.lane;
        let tile = tile_place(min(t, params.tiles - 1u), params.row_tiles, params.col_tiles, Q);
        var g: array<vec4<f32>, MAX_TILE>;
        for (var u = 0u; u < R * Q; u++) { //@unroll
            let quad = load_dy(base_dy, tile.n, i32(tile.i + u / Q), i32(tile.j + u % Q));
            g[u] = select(vec4<f32>(0.0), quad, vec4<bool>(t < params.tiles));
        }
        for (var r = 0u; r < ROWS; r++) { //@unroll
            var v: array<f32, MAX_ROW>;
            for (var q = 0u; q < QUADS; q++) { //@unroll
                put(&v, q, load_x(base, tile.n, i32(tile.i * S + r) - i32(P), i32(tile.j * S + q) - 1, coef));
            }
            for (var o = 0u; o < R; o++) { //@unroll
                for (var kh = 0u; kh < K; kh++) { //@unroll
                    if (o * S + kh * D == r) {
                        for (var kw = 0u; kw < K; kw++) { //@unroll
                            for (var u = 0u; u < Q; u++) { //@unroll
                                let e = 4u + kw * D - P + 4u * S * u;
                                acc[kh * K + kw] += dot(g[o * Q + u], vec4<f32>(v[e], v[e + S], v[e + 2u * S], v[e + 3u * S]));
                            }
                        }
                    }
                }
            }
        }
    }
    for (var part = 0u; part < PARTS; part++) { //@unroll
        if (part > 0u) {
            // The sums of the part before have been read.
            workgroupBarrier();
        }
        for (var t = 0u; t < PART; t++) { //@unroll
            if (part * PART + t < KK) { parts[me.lane * PART + t] = acc[part * PART + t]; }
        }
        workgroupBarrier();
        let tap = part * PART + me.lane;
        if (tap < LEN && (me.lane < PART || part + 1u == PARTS)) {
            var total = 0.0;
            for (var other = 0u; other < WG; other++) {
                total += parts[other * PART + min(me.lane, PART - 1u)];
            }
            // The padding of a row of w stays zero.
            let element = (me.group.z * params.channels + me.group.y) * LEN + tap;
            partial[me.group.x * params.elements + element] = select(0.0, total, tap < KK);
        }
    }
}
