//@use map, view, store
// A view of an activation made real, and its gradient.
//   forward:  y = view(x)
//   backward: dx (+)= dy through ReLU
// One block of channels per dispatch; x, y, dx, dy: [C][N][H][W].

struct Params {
    x: Map,
    add: u32,  // 1 to add to dx
    scale: f32,
    first: u32,  // first channel of coefs
}

@group(0) @binding(0) var<uniform> params: Params;
//@texture
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, 4096>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
//@texture
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let at = group.y * params.x.pitch + gid.x;
    if (gid.x < params.x.quads) {
        var coef = vec4<f32>(0.0);
        if (NORM == 1u) {
            coef = coefs[params.first + group.y];
        }
        out[at] = view(x[at], coef);
    }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let at = group.y * params.x.pitch + gid.x;
    if (gid.x < params.x.quads) {
        store(at, view_backward(dy[at], x[at], coefs[params.first + group.y]), params.add);
    }
}

// dx = scale * dy (+ dx): the gradient of an identity; nothing else is bound.
@compute @workgroup_size(64)
fn pass_back(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let at = group.y * params.x.pitch + gid.x;
    if (gid.x < params.x.quads) {
        store(at, params.scale * dy[at], params.add);
    }
}

// dx = 0: the gradient of something that nothing reads.
@compute @workgroup_size(64)
fn clear(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    if (gid.x < params.x.quads) {
        dx[group.y * params.x.pitch + gid.x] = vec4<f32>(0.0);
    }
}
