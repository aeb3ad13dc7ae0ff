// Workgroups of 64 invocations, and a sum over a workgroup.

const WG: u32 = 64u;

struct Invocation {
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

var<workgroup> sums: array<vec4<f32>, WG>;

// The sum of `v` over the workgroup, in the order of its invocations. Only invocation 0 has it.
fn workgroup_sum(lane: u32, v: vec4<f32>) -> vec4<f32> {
    sums[lane] = v;
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    if (lane == 0u) {
        for (var other = 0u; other < WG; other++) {
            total += sums[other];
        }
    }
    return total;
}
