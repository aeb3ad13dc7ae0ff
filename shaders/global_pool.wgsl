//@use map, view
// Global average pool: pooled[c, n] = mean over (i, j) of x[c, n, i, j], or of view(x) (forward_view, backward_view).
// x: [C][N][H][W], pooled: [C][N]; coefs: quads by channel of x.

struct Params {
    x: Map,
    accumulate: u32,
    first: u32,  // channel of pooled that is channel 0 of x
}

@group(0) @binding(0) var<uniform> params: Params;
//@texture
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> pooled: array<f32>;
@group(0) @binding(3) var<storage, read_write> dpooled: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> coefs: array<vec4<f32>, 4096>;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    if (gid.x >= params.x.n) {
        return;
    }
    let base = group.y * params.x.pitch + gid.x * params.x.image;
    var total = vec4<f32>(0.0);
    for (var q = 0u; q < params.x.image; q++) {
        total += data_only(params.x, q, x[base + q]);
    }
    pooled[(params.first + group.y) * params.x.n + gid.x] = dot(total, vec4<f32>(1.0)) / f32(params.x.h * params.x.w);
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    if (gid.x >= params.x.quads) {
        return;
    }
    let n = gid.x / params.x.image;
    let at = group.y * params.x.pitch + gid.x;
    var v = vec4<f32>(dpooled[(params.first + group.y) * params.x.n + n] / f32(params.x.h * params.x.w));
    if (params.accumulate == 1u) {
        v += dx[at];
    }
    dx[at] = v;
}

@compute @workgroup_size(64)
fn forward_view(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    if (gid.x >= params.x.n) {
        return;
    }
    let base = group.y * params.x.pitch + gid.x * params.x.image;
    let coef = coefs[group.y];
    var total = vec4<f32>(0.0);
    for (var q = 0u; q < params.x.image; q++) {
        total += data_only(params.x, q, view(x[base + q], coef));
    }
    pooled[(params.first + group.y) * params.x.n + gid.x] = dot(total, vec4<f32>(1.0)) / f32(params.x.h * params.x.w);
}

@compute @workgroup_size(64)
fn backward_view(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    if (gid.x >= params.x.quads) {
        return;
    }
    let n = gid.x / params.x.image;
    let at = group.y * params.x.pitch + gid.x;
    let mean = dpooled[(params.first + group.y) * params.x.n + n] / f32(params.x.h * params.x.w);
    var v = view_backward(vec4<f32>(mean), x[at], coefs[group.y]);
    if (params.accumulate == 1u) {
        v += dx[at];
    }
    dx[at] = v;
}
