//@use group
// What arithmetic, loads and copies cost on an adapter when nothing else is in the way.
//   arithmetic: 12 independent chains of acc = a * acc + b on quads, 8 * rounds links each; out: their sum
//   copy:       out[q] = x[q], four quads per invocation
//   load:       16 quads of x per invocation, read `rounds` quads apart; out: their sum
// x: [n_quads], for load a power of two; out: one quad per invocation, for copy [n_quads].

struct Params {
    n_quads: u32,
    rounds: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
//@texture
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn arithmetic(@builtin(global_invocation_id) gid: vec3<u32>) {
    var acc: array<vec4<f32>, 12>;
    //@unroll
    for (var i = 0u; i < 12u; i++) {
        acc[i] = vec4<f32>(f32(gid.x % 64u + i));
    }
    for (var round = 0u; round < params.rounds; round++) {
        //@unroll
        for (var link = 0u; link < 8u; link++) {
            //@unroll
            for (var i = 0u; i < 12u; i++) {
                acc[i] = acc[i] * params.a + params.b;
            }
        }
    }
    var total = vec4<f32>(0.0);
    //@unroll
    for (var i = 0u; i < 12u; i++) {
        total += acc[i];
    }
    out[gid.x] = total;
}

@compute @workgroup_size(64)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let q0 = (group.y * groups.x + group.x) * 4u * WG + lane;
    var v: array<vec4<f32>, 4>;
    //@unroll
    for (var t = 0u; t < 4u; t++) {
        v[t] = x[min(q0 + t * WG, params.n_quads - 1u)];
    }
    //@unroll
    for (var t = 0u; t < 4u; t++) {
        if (q0 + t * WG < params.n_quads) {
            out[q0 + t * WG] = v[t];
        }
    }
}

@compute @workgroup_size(64)
fn load(@builtin(global_invocation_id) gid: vec3<u32>) {
    var total = vec4<f32>(0.0);
    //@unroll
    for (var i = 0u; i < 16u; i++) {
        total += x[(gid.x + params.rounds * i) & (params.n_quads - 1u)];
    }
    out[gid.x] = total;
}
