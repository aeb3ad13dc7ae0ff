// y[i] = value, for i in 0 .. 4 * n_quads.
//
// y: f32 [4 * n_quads]. One invocation per quad, grid [ceil(n_quads / 256), 1, 1].

struct Params {
    n_quads: u32,
    value: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn fill(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.n_quads {
        y[id.x] = vec4<f32>(params.value);
    }
}
