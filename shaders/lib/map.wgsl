// The layout of an activation: channel-major [C][N][H][W], each row padded to whole quads
// (vec4 of four neighbouring columns), each channel to a multiple of 16 quads.
// Padding holds finite values or nothing at all; reductions must leave it out.

const WG: u32 = 64u;
const MAX_TASKS: u32 = 16u;

struct Map {
    n: u32,      // images
    h: u32,      // rows
    w: u32,      // columns that hold data
    wq: u32,     // quads per row
    pitch: u32,  // quads from one channel to the next
    quads: u32,  // quads of one channel, n * h * wq
    image: u32,  // quads of one image, h * wq
    count: u32,  // elements that hold data, n * h * w
}

// 1 where w is no multiple of four: some quads then end in padding.
override RAGGED: u32 = 1u;

// The data lanes of quad column `j`.
fn columns(m: Map, j: u32) -> vec4<bool> {
    if (RAGGED == 0u) {
        return vec4<bool>(true);
    }
    return (vec4<u32>(4u * j) + vec4<u32>(0u, 1u, 2u, 3u)) < vec4<u32>(m.w);
}

// `v` with the padding of flat quad `q` set to zero.
fn data_only(m: Map, q: u32, v: vec4<f32>) -> vec4<f32> {
    if (RAGGED == 0u) {
        return v;
    }
    return select(vec4<f32>(0.0), v, columns(m, q % m.wq));
}
