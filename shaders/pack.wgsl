// Copies the weights that a child uses side by side, so that kernels can read a group of them as uniforms.
//   packed[dst(t) + i] = v[src(t) + i] for i < count(t), in quads

// Quads of v, and their place in packed.
struct Task {
    v: u32,
    packed: u32,
    @size(8) n: u32,
}

struct Params {
    tasks: array<Task, 256>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4<f32>>;

@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let task = params.tasks[group.y];
    if (gid.x < task.n) {
        packed[task.packed + gid.x] = v[task.v + gid.x];
    }
}
