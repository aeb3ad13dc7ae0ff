//@use map, view, grad, task, row, tile, group
// Max and average pool 3x3, pad 1, stride S, of channel blocks ("tasks") of one tensor.
//   max: the first maximum in row-major order; padding never wins; its tap (0..9) is kept in `index`,
//        one byte per output, for the backward pass
//   avg: padding is not counted in the divisor
// x: [C..][N][H][W], y: [C..][N][OH][OW], index: [C of this launch][quads] u32.
// Source: PyTorch's max_pool2d and avg_pool2d(count_include_pad=False).

override MAX: u32 = 1u;
override S: u32 = 1u;
override R: u32 = 2u;
// Rows and quads of x under a tile of y.
override ROWS: u32 = (R - 1u) * S + 3u;
override QUADS: u32 = 2u + S;
// backward: quads of a row of a tile of dx; rows of dy that the tile reads, with S rows above and S rows below.
override XQ: u32 = S;
override ROWS_BACK: u32 = R / S + 2u * S;

const LOWEST: f32 = -3.4e38;

struct Task {
    channel: u32,  // first channel of the tensor that is read: x, or dz in the backward pass
    y: u32,        // first channel
    index: u32,    // first channel
    drop: u32,     // backward: first drop-path factor
}

struct Params {
    x: Map,
    y: Map,
    tiles: u32,      // invocations that have work, per channel
    row_tiles: u32,  // tiles per image column
    @align(16) tasks: array<Task, MAX_TASKS>,
    sources: array<Source, MAX_TASKS>,  // backward
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; //@texture
@group(0) @binding(9) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> index: array<u32>;
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>; //@texture
@group(0) @binding(6) var<uniform> grad_coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> drop: array<f32>;

fn load_x(base: u32, n: u32, i: i32, j: i32, coef: vec4<f32>) -> vec4<f32> {
    let m = params.x;
    let outside = vec4<f32>(select(0.0, LOWEST, MAX == 1u));
    return select(outside, view(x[base + nearest(m, n, i, j)], coef), in_map(m, i, j));
}

// 1 / (elements under the window) for the outputs of row i, quad j.
fn share(i: u32, j: u32) -> vec4<f32> {
    let rows = min(i * S + 2u, params.x.h) + 1u - max(i * S, 1u);
    let col = columns(j) * S;
    let cols = max(min(col + 2u, vec4<u32>(params.x.w)) + 1u, max(col, vec4<u32>(1u)) + 1u) - max(col, vec4<u32>(1u));
    return 1.0 / (f32(rows) * vec4<f32>(cols));
}

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    let task = params.tasks[me.group.z];
    let coef = coefs[task.channel + me.group.y];
    let tile = tile_place(min(me.id.x, params.tiles - 1u), params.row_tiles, params.y.wq, 1u);
    let base = (task.channel + me.group.y) * params.x.pitch;

    var acc: array<vec4<f32>, MAX_TILE>;
    var tap: array<vec4<u32>, MAX_TILE>;
    for (var o = 0u; o < R; o++) { //@unroll
        acc[o] = vec4<f32>(select(0.0, LOWEST, MAX == 1u));
    }
    for (var r = 0u; r < ROWS; r++) { //@unroll
        var v: array<f32, MAX_ROW>;
        for (var q = 0u; q < QUADS; q++) { //@unroll
            put(&v, q, load_x(base, tile.n, i32(tile.i * S + r) - 1, i32(tile.j * S + q) - 1, coef));
        }
        for (var o = 0u; o < R; o++) { //@unroll
            for (var kh = 0u; kh < 3u; kh++) { //@unroll
                if (o * S + kh == r) {
                    for (var kw = 0u; kw < 3u; kw++) { //@unroll
                        let e = 3u + kw;
                        let c = vec4<f32>(v[e], v[e + S], v[e + 2u * S], v[e + 3u * S]);
                        if (MAX == 1u) {
                            tap[o] = select(tap[o], vec4<u32>(kh * 3u + kw), c > acc[o]);
                            acc[o] = max(acc[o], c);
                        } else {
                            acc[o] += c;
                        }
                    }
                }
            }
        }
    }
    if (me.id.x < params.tiles) {
        let first = (task.y + me.group.y) * params.y.pitch;
        let taps = (task.index + me.group.y) * params.y.pitch;
        for (var o = 0u; o < R; o++) { //@unroll
            if (in_tile(params.y, tile, o, 0u)) {
                let at = tile_quad(params.y, tile, o, 0u);
                if (MAX == 1u) {
                    let t = tap[o];
                    out[first + at] = acc[o];
                    index[taps + at] = t.x | (t.y << 8u) | (t.z << 16u) | (t.w << 24u);
                } else {
                    out[first + at] = acc[o] * share(tile.i + o, tile.j);
                }
            }
        }
    }
}

// Quad j of row i of the gradient of the pool's output, zero outside.
fn load_dy(task: Task, channel: u32, n: u32, i: i32, j: i32, g: vec4<f32>) -> vec4<f32> {
    let m = params.y;
    let at = nearest(m, n, i, j);
    var v = dz[(task.channel + channel) * m.pitch + at];
    if (DROP == 1u) { v *= drop[task.drop + n]; }
    if (BN == 1u) { v = batch_norm_backward(v, y[(task.y + channel) * m.pitch + at], g); }
    if (MAX == 0u) { v *= share(near_row(m, i), near_quad(m, j)); }
    return select(vec4<f32>(0.0), v, in_map(m, i, j));
}

// dx[i, j] = sum over taps (u, v) of dy[(i + 1 - u) / S, (j + 1 - v) / S] where both divide. max: only outputs that
// chose the tap are added. avg: dy is divided by the size of its window. A tile has R rows, a multiple of S, of S quads
// of dx, around a quad of dy.
@compute @workgroup_size(WG) fn backward(me: Invocation) {
    let source = params.sources[me.group.z];
    let tile = tile_place(min(me.id.x, params.tiles - 1u), params.row_tiles, params.y.wq, 1u);

    // acc[S o + par]: the columns of dx that are par beyond a multiple of S.
    var acc: array<vec4<f32>, MAX_TILE>;
    for (var t = source.first; t < source.first + source.n; t++) {
        let task = params.tasks[t];
        let g = grad_coefficients(task.y + me.group.y);
        for (var r = 0u; r < ROWS_BACK; r++) { //@unroll
            var v: array<f32, MAX_ROW>;
            var taps: array<u32, 3u * 4u>;
            for (var q = 0u; q < 3u; q++) { //@unroll
                let i = i32(tile.i / S + r) - i32(S);
                let j = i32(tile.j + q) - 1;
                put(&v, q, load_dy(task, me.group.y, tile.n, i, j, g));
                if (MAX == 1u) {
                    let four = index[(task.index + me.group.y) * params.y.pitch + nearest(params.y, tile.n, i, j)];
                    for (var e = 0u; e < 4u; e++) { //@unroll
                        taps[4u * q + e] = (four >> (8u * e)) & 255u;
                    }
                }
            }
            for (var o = 0u; o < R; o++) { //@unroll
                for (var kh = 0u; kh < 3u; kh++) { //@unroll
                    // Row o of dx takes row r - S of dy through tap row kh.
                    if (o + 1u + S * S == kh + S * r) {
                        for (var par = 0u; par < S; par++) { //@unroll
                            for (var kw = 0u; kw < 3u; kw++) { //@unroll
                                if ((par + 1u + 4u * S - kw) % S == 0u) {
                                    let k = (par + 1u + 4u * S - kw) / S;
                                    var dy = vec4<f32>(v[k], v[k + 1u], v[k + 2u], v[k + 3u]);
                                    if (MAX == 1u) {
                                        let t = vec4<u32>(taps[k], taps[k + 1u], taps[k + 2u], taps[k + 3u]);
                                        dy = select(vec4<f32>(0.0), dy, t == vec4<u32>(kh * 3u + kw));
                                    }
                                    acc[S * o + par] += dy;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    if (S == 2u) { interleave(&acc); }
    let first = (source.channel + me.group.y) * params.x.pitch;
    store_tile(first, Place(tile.n, tile.i, S * tile.j), &acc, source.add, me.id.x < params.tiles);
}
