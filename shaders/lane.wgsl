//@use group
// Sums of the gradients of lanes. `grad` has the complete gradient of a lane, and `sum` has a partial sum.
// grad, sum: f32 [4 * quads]. One invocation per quad, grid [ceil(quads / 64), 1, 1].

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> grad: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> sum: array<vec4<f32>>;

// sum = grad, and the next lane begins with grad = 0.
@compute @workgroup_size(WG) fn put(me: Invocation) {
    let q = me.id.x;
    if (q < params.quads) {
        sum[q] = grad[q];
        grad[q] = vec4<f32>(0.0);
    }
}

// grad = sum + grad.
@compute @workgroup_size(WG) fn add(me: Invocation) {
    let q = me.id.x;
    if (q < params.quads) { grad[q] = sum[q] + grad[q]; }
}
