//@use group
// Copies the weights that a child uses side by side, so that kernels can read a group of them as uniforms.
//   packed[dst(t) + i] = v[src(t) + i] for i < count(t), in quads

// Quads of v, and their place in packed.
struct Task {
    v: u32,
    packed: u32,
    @size(8) n: u32,
}

const MAX_TENSORS: u32 = 256u;
struct Params {
    tasks: array<Task, MAX_TENSORS>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4<f32>>;

@compute @workgroup_size(WG) fn copy(me: Invocation) {
    let task = params.tasks[me.group.y];
    if (me.id.x < task.n) { packed[task.packed + me.id.x] = v[task.v + me.id.x]; }
}
