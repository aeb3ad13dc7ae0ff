// Tiles: an invocation computes R rows of some quads, from rows that reach a quad beyond the tile on either side.
// In written-out loops register arrays are indexed by constants, so elements that a form does not use take no register.
// From the shader: R, XQ (quads of a row of a tile of dx), params.x (the map of dx) and dx.

// Largest number of quads of a tile.
const MAX_TILE: u32 = 8u;

// The place of tile `t` of a channel. A tile has `quads` quads in a row.
fn tile_place(t: u32, row_tiles: u32, col_tiles: u32, quads: u32) -> Place {
    return Place(t / (row_tiles * col_tiles), t / col_tiles % row_tiles * R, t % col_tiles * quads);
}

// The flat quad `u` of row `o` of the tile at `p`.
fn tile_quad(m: Map, p: Place, o: u32, u: u32) -> u32 {
    return p.n * m.image + (p.i + o) * m.wq + p.j + u;
}

// Like `tile_quad`, but a quad outside of the image is replaced by the nearest quad inside.
fn tile_near(m: Map, p: Place, o: u32, u: u32) -> u32 {
    return p.n * m.image + min(p.i + o, m.h - 1u) * m.wq + min(p.j + u, m.wq - 1u);
}

// Whether the quad of `tile_quad` is in the image.
fn in_tile(m: Map, p: Place, o: u32, u: u32) -> bool {
    return p.i + o < m.h && p.j + u < m.wq;
}

// The rows of a tile whose even columns are in acc[2 o] and odd columns in acc[2 o + 1]: columns 0 to 3, and 4 to 7.
fn interleave(acc: ptr<function, array<vec4<f32>, MAX_TILE>>) {
    for (var o = 0u; o < R; o++) { //@unroll
        let even = (*acc)[2u * o];
        let odd = (*acc)[2u * o + 1u];
        (*acc)[2u * o] = vec4<f32>(even.x, odd.x, even.y, odd.y);
        (*acc)[2u * o + 1u] = vec4<f32>(even.z, odd.z, even.w, odd.w);
    }
}

// Writes the tile of dx at `p`, or adds to it. `first` is the first quad of the channel. Every load comes before the
// first store (lib/store).
fn store_tile(first: u32, p: Place, acc: ptr<function, array<vec4<f32>, MAX_TILE>>, add: u32, has_work: bool) {
    let m = params.x;
    if (add == 1u) {
        for (var t = 0u; t < R * XQ; t++) { //@unroll
            (*acc)[t] += dx[first + tile_near(m, p, t / XQ, t % XQ)];
        }
    }
    if (has_work) {
        for (var t = 0u; t < R * XQ; t++) { //@unroll
            if (in_tile(m, p, t / XQ, t % XQ)) { dx[first + tile_quad(m, p, t / XQ, t % XQ)] = (*acc)[t]; }
        }
    }
}
