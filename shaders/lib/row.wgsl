// A row of x or dy in registers, as numbers. Register arrays are indexed by constants once loops are written out:
// elements that a form leaves out take no register.

const MAX_ROW: u32 = 24u;

// Quad `q` of the row.
fn put(v: ptr<function, array<f32, MAX_ROW>>, q: u32, quad: vec4<f32>) {
    (*v)[4u * q] = quad.x;
    (*v)[4u * q + 1u] = quad.y;
    (*v)[4u * q + 2u] = quad.z;
    (*v)[4u * q + 3u] = quad.w;
}
