// Copies the weights that a child uses side by side, so that kernels can read a group of them as uniforms.
//   packed[dst(t) + i] = v[src(t) + i] for i < count(t), in quads

struct Params {
    // (first quad of v, first quad of packed, quads, -) per task
    tasks: array<vec4<u32>, 256>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4<f32>>;

@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let task = params.tasks[group.y];
    if (gid.x < task.z) {
        packed[task.y + gid.x] = v[task.x + gid.x];
    }
}
