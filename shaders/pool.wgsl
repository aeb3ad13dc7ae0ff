//@use map, view, grad
// Max and average pool 3x3, pad 1, stride S, of channel blocks ("tasks") of one tensor.
//   max: the first maximum in row-major order; padding never wins; its tap (0..9) is kept in `index`,
//        one byte per output, for the backward pass
//   avg: padding is not counted in the divisor
// x: [C..][N][H][W], y: [C..][N][OH][OW], index: [C of this dispatch][quads] u32.
// Source: PyTorch's max_pool2d and avg_pool2d(count_include_pad=False).

override MAX: u32 = 1u;
override S: u32 = 1u;
override R: u32 = 2u;
override ROWS: u32 = (R - 1u) * S + 3u;
override QUADS: u32 = 2u + S;
override ROWS_BACK: u32 = R / 2u + 4u;

const LOWEST: f32 = -3.4e38;

struct Params {
    x: Map,
    y: Map,
    channels: u32,
    tiles: u32,
    row_tiles: u32,
    // forward: (source channel, channel of y, -, -) per task.
    // backward: (source channel, first entry, entries, 1 to accumulate) per source.
    tasks: array<vec4<u32>, MAX_TASKS>,
    // backward: (channel of dz, channel of y, first channel of index, first drop-path factor) per entry.
    entries: array<vec4<u32>, MAX_TASKS>,
}

@group(0) @binding(0) var<uniform> params: Params;
//@texture
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, 4096>;
//@texture
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> index: array<u32>;
//@texture
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> grad_coefs: array<vec4<f32>, 4096>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> drop: array<f32>;

fn load_x(base: u32, n: u32, i: i32, j: i32, coef: vec4<f32>) -> vec4<f32> {
    let m = params.x;
    let inside = i >= 0 && i < i32(m.h) && j >= 0 && j < i32(m.wq);
    let row = u32(clamp(i, 0, i32(m.h) - 1));
    let col = u32(clamp(j, 0, i32(m.wq) - 1));
    let v = view(x[base + n * m.image + row * m.wq + col], coef);
    let outside = select(0.0, LOWEST, MAX == 1u);
    return select(vec4<f32>(outside), v, columns(m, col) & vec4<bool>(inside));
}

// 1 / (elements under the window) for the outputs of row i, quad j.
fn share(i: u32, j: u32) -> vec4<f32> {
    let rows = min(i * S + 2u, params.x.h) + 1u - max(i * S, 1u);
    let col = (vec4<u32>(4u * j) + vec4<u32>(0u, 1u, 2u, 3u)) * S;
    let cols = max(min(col + 2u, vec4<u32>(params.x.w)) + 1u, max(col, vec4<u32>(1u)) + 1u) - max(col, vec4<u32>(1u));
    return 1.0 / (f32(rows) * vec4<f32>(cols));
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let task = params.tasks[group.z];
    let coef = coefs[task.x + group.y];
    let tile = min(gid.x, params.tiles - 1u);
    let j = tile % params.y.wq;
    let row0 = (tile / params.y.wq) % params.row_tiles * R;
    let n = tile / (params.y.wq * params.row_tiles);
    let base = (task.x + group.y) * params.x.pitch;

    var acc: array<vec4<f32>, 4>;
    var tap: array<vec4<u32>, 4>;
    //@unroll
    for (var o = 0u; o < R; o++) {
        acc[o] = vec4<f32>(select(0.0, LOWEST, MAX == 1u));
        tap[o] = vec4<u32>(0u);
    }
    //@unroll
    for (var r = 0u; r < ROWS; r++) {
        let i = i32(row0 * S + r) - 1;
        var v: array<f32, 16>;
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
            for (var kh = 0u; kh < 3u; kh++) {
                if (o * S + kh == r) {
                    //@unroll
                    for (var kw = 0u; kw < 3u; kw++) {
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
    if (gid.x < params.tiles) {
        let within = n * params.y.image + j;
        let start = (task.y + group.y) * params.y.pitch + within;
        let taps = (group.z * params.channels + group.y) * params.y.pitch + within;
        //@unroll
        for (var o = 0u; o < R; o++) {
            if (row0 + o < params.y.h) {
                let at = (row0 + o) * params.y.wq;
                if (MAX == 1u) {
                    let t = tap[o];
                    out[start + at] = acc[o];
                    index[taps + at] = t.x | (t.y << 8u) | (t.z << 16u) | (t.w << 24u);
                } else {
                    out[start + at] = acc[o] * share(row0 + o, j);
                }
            }
        }
    }
}

// Quad j of row i of the gradient of the pool's output, zero outside.
fn load_dy(entry: vec4<u32>, channel: u32, n: u32, i: i32, j: i32, g: vec4<f32>) -> vec4<f32> {
    let m = params.y;
    let inside = i >= 0 && i < i32(m.h) && j >= 0 && j < i32(m.wq);
    let row = u32(clamp(i, 0, i32(m.h) - 1));
    let col = u32(clamp(j, 0, i32(m.wq) - 1));
    let at = n * m.image + row * m.wq + col;
    var v = dz[(entry.x + channel) * m.pitch + at];
    if (DROP == 1u) {
        v *= drop[entry.w + n];
    }
    if (BN == 1u) {
        v = batch_norm_backward(v, y[(entry.y + channel) * m.pitch + at], g);
    }
    if (MAX == 0u) {
        v *= share(row, col);
    }
    return select(vec4<f32>(0.0), v, columns(m, col) & vec4<bool>(inside));
}

fn load_index(entry: vec4<u32>, channel: u32, n: u32, i: i32, j: i32) -> vec4<u32> {
    let m = params.y;
    let row = u32(clamp(i, 0, i32(m.h) - 1));
    let col = u32(clamp(j, 0, i32(m.wq) - 1));
    let t = index[(entry.z + channel) * m.pitch + n * m.image + row * m.wq + col];
    return (vec4<u32>(t) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}

fn grad_coef(entry: vec4<u32>, channel: u32) -> vec4<f32> {
    if (BN == 1u) {
        return grad_coefs[entry.y + channel];
    }
    return vec4<f32>(0.0);
}

// Stride 1: dx[i, j] = sum over taps (u, v) of dy[i + 1 - u, j + 1 - v] where that output chose the
// tap (max), or divided by its window's size (avg).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let source = params.tasks[group.z];
    let tile = min(gid.x, params.tiles - 1u);
    let j = tile % params.y.wq;
    let row0 = (tile / params.y.wq) % params.row_tiles * R;
    let n = tile / (params.y.wq * params.row_tiles);

    var acc: array<vec4<f32>, 4>;
    for (var e = source.y; e < source.y + source.z; e++) {
        let entry = params.entries[e];
        let g = grad_coef(entry, group.y);
        //@unroll
        for (var r = 0u; r < R + 2u; r++) {
            let i = i32(row0 + r) - 1;
            var v: array<f32, 12>;
            var taps: array<u32, 12>;
            //@unroll
            for (var q = 0u; q < 3u; q++) {
                let quad = load_dy(entry, group.y, n, i, i32(j + q) - 1, g);
                v[4u * q] = quad.x;
                v[4u * q + 1u] = quad.y;
                v[4u * q + 2u] = quad.z;
                v[4u * q + 3u] = quad.w;
                if (MAX == 1u) {
                    let t = load_index(entry, group.y, n, i, i32(j + q) - 1);
                    taps[4u * q] = t.x;
                    taps[4u * q + 1u] = t.y;
                    taps[4u * q + 2u] = t.z;
                    taps[4u * q + 3u] = t.w;
                }
            }
            //@unroll
            for (var o = 0u; o < R; o++) {
                //@unroll
                for (var kh = 0u; kh < 3u; kh++) {
                    // Row o takes row r - 1 of dy through tap row kh.
                    if (o + 2u == r + kh) {
                        //@unroll
                        for (var kw = 0u; kw < 3u; kw++) {
                            let k = 5u - kw;
                            let dy = vec4<f32>(v[k], v[k + 1u], v[k + 2u], v[k + 3u]);
                            if (MAX == 1u) {
                                let t = vec4<u32>(taps[k], taps[k + 1u], taps[k + 2u], taps[k + 3u]);
                                acc[o] += select(vec4<f32>(0.0), dy, t == vec4<u32>(kh * 3u + kw));
                            } else {
                                acc[o] += dy;
                            }
                        }
                    }
                }
            }
        }
    }
    // Every load comes before the first store: where buffers may overlap, a load waits for the stores before it.
    let start = (source.x + group.y) * params.x.pitch + n * params.x.image + j;
    if (source.w == 1u) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            acc[o] += dx[start + min(row0 + o, params.x.h - 1u) * params.x.wq];
        }
    }
    if (gid.x < params.tiles) {
        //@unroll
        for (var o = 0u; o < R; o++) {
            if (row0 + o < params.x.h) {
                dx[start + (row0 + o) * params.x.wq] = acc[o];
            }
        }
    }
}

// Stride 2: R rows (an even number) of eight columns of dx from the quad of dy in their middle.
@compute @workgroup_size(64)
fn backward_strided(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let source = params.tasks[group.z];
    let tile = min(gid.x, params.tiles - 1u);
    let j = tile % params.y.wq;
    let row0 = (tile / params.y.wq) % params.row_tiles * R;
    let n = tile / (params.y.wq * params.row_tiles);

    var acc: array<vec4<f32>, 8>;
    for (var e = source.y; e < source.y + source.z; e++) {
        let entry = params.entries[e];
        let g = grad_coef(entry, group.y);
        //@unroll
        for (var r = 0u; r < ROWS_BACK; r++) {
            let i = i32(row0 / 2u + r) - 2;
            var v: array<f32, 12>;
            var taps: array<u32, 12>;
            //@unroll
            for (var q = 0u; q < 3u; q++) {
                let quad = load_dy(entry, group.y, n, i, i32(j + q) - 1, g);
                v[4u * q] = quad.x;
                v[4u * q + 1u] = quad.y;
                v[4u * q + 2u] = quad.z;
                v[4u * q + 3u] = quad.w;
                if (MAX == 1u) {
                    let t = load_index(entry, group.y, n, i, i32(j + q) - 1);
                    taps[4u * q] = t.x;
                    taps[4u * q + 1u] = t.y;
                    taps[4u * q + 2u] = t.z;
                    taps[4u * q + 3u] = t.w;
                }
            }
            //@unroll
            for (var o = 0u; o < R; o++) {
                //@unroll
                for (var kh = 0u; kh < 3u; kh++) {
                    if (o + 5u == kh + 2u * r) {
                        //@unroll
                        for (var par = 0u; par < 2u; par++) {
                            //@unroll
                            for (var kw = 0u; kw < 3u; kw++) {
                                if ((par + 9u - kw) % 2u == 0u) {
                                    let k = (par + 9u - kw) / 2u;
                                    let dy = vec4<f32>(v[k], v[k + 1u], v[k + 2u], v[k + 3u]);
                                    if (MAX == 1u) {
                                        let t = vec4<u32>(taps[k], taps[k + 1u], taps[k + 2u], taps[k + 3u]);
                                        acc[2u * o + par] += select(vec4<f32>(0.0), dy, t == vec4<u32>(kh * 3u + kw));
                                    } else {
                                        acc[2u * o + par] += dy;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    // Columns 0 to 3 and 4 to 7 of each row. Every load comes before the first store, as at stride 1.
    let start = (source.x + group.y) * params.x.pitch + n * params.x.image;
    let bottom = params.x.h - 1u;
    let right = params.x.wq - 1u;
    //@unroll
    for (var o = 0u; o < R; o++) {
        let even = acc[2u * o];
        let odd = acc[2u * o + 1u];
        acc[2u * o] = vec4<f32>(even.x, odd.x, even.y, odd.y);
        acc[2u * o + 1u] = vec4<f32>(even.z, odd.z, even.w, odd.w);
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
