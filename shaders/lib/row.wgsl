// A row of x or dy in registers, as numbers. In written-out loops register arrays are indexed by constants, so elements
// that a form does not use take no register.

const MAX_ROW: u32 = 24u;

// Quad `q` of the row.
fn put(v: ptr<function, array<f32, MAX_ROW>>, q: u32, quad: vec4<f32>) {
    (*v)[4u * q] = quad.x;
    (*v)[4u * q + 1u] = quad.y;
    (*v)[4u * q + 2u] = quad.z;
    (*v)[4u * q + 3u] = quad.w;
}
