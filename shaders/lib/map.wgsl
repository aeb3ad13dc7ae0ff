// The layout of an activation: channel-major [C][N][H][W], each row padded to whole quads
// (vec4 of four neighbouring columns), each channel to a multiple of 16 quads.
// Padding holds finite values or nothing at all; reductions must leave it out.

// Quads of a uniform array: 64 KiB, which every adapter of WebGPU binds.
const UNIFORM: u32 = 4096u;

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

// Where a quad is, or where a tile of quads begins: image, row, quad of the row.
struct Place {
    n: u32,
    i: u32,
    j: u32,
}

// The place of flat quad `q` of a channel.
fn place(m: Map, q: u32) -> Place {
    return Place(q / m.image, q % m.image / m.wq, q % m.wq);
}

// The columns of quad `j` of a row.
fn columns(j: u32) -> vec4<u32> {
    return vec4<u32>(4u * j) + vec4<u32>(0u, 1u, 2u, 3u);
}

// Which elements of quad `j` of a row hold data.
fn in_row(m: Map, j: u32) -> vec4<bool> {
    if (RAGGED == 0u) { return vec4<bool>(true); }
    return columns(j) < vec4<u32>(m.w);
}

// Which elements of quad `j` of row `i` hold data: none outside the map.
fn in_map(m: Map, i: i32, j: i32) -> vec4<bool> {
    return vec4<bool>(i >= 0 && i < i32(m.h) && j >= 0 && j < i32(m.wq)) & in_row(m, u32(j));
}

// Row `i` and quad `j` of a row, or the nearest ones in the map.
fn near_row(m: Map, i: i32) -> u32 {
    return u32(clamp(i, 0, i32(m.h) - 1));
}

fn near_quad(m: Map, j: i32) -> u32 {
    return u32(clamp(j, 0, i32(m.wq) - 1));
}

// The flat quad of row `i` and quad `j` of image `n`, or the nearest one in the image.
fn nearest(m: Map, n: u32, i: i32, j: i32) -> u32 {
    return n * m.image + near_row(m, i) * m.wq + near_quad(m, j);
}

// `v` with the padding of flat quad `q` set to zero.
fn data_only(m: Map, q: u32, v: vec4<f32>) -> vec4<f32> {
    if (RAGGED == 0u) { return v; }
    return select(vec4<f32>(0.0), v, in_row(m, q % m.wq));
}
