//@use group
// Adds a child's weight gradients to the accumulated one:
//   grad[dst + e / row * pitch + e % row] += sum over chunks of partial[first + chunk * stride + e]
// in the order of the chunks. One task per tensor. partial: f32, grad: f32, laid out as v.

const MAX_TENSORS: u32 = 16u;
struct Params {
    tasks: array<Task, MAX_TENSORS>,
}

struct Task {
    first: u32,
    elements: u32,
    chunks: u32,
    stride: u32,
    dst: u32,
    row: u32,             // elements of a row of partial, or all elements if dst has no rows
    @size(8) pitch: u32,  // from one row to the next in grad
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(WG) fn accumulate(me: Invocation) {
    let task = params.tasks[me.group.y];
    if (me.id.x >= task.elements) { return; }
    var total = 0.0;
    for (var chunk = 0u; chunk < task.chunks; chunk++) {
        total += partial[task.first + chunk * task.stride + me.id.x];
    }
    grad[task.dst + me.id.x / task.row * task.pitch + me.id.x % task.row] += total;
}
