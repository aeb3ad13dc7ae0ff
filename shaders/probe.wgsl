//@use group
// Measures the costs of arithmetic, loads and copies on an adapter, each without other work.
//   arithmetic: 12 independent chains of acc = a * acc + b on quads, 8 * rounds links each; out: their sum
//   copy:       out[q] = x[q], four quads per invocation, `rounds` workgroups in a row of the grid
//   load:       16 quads of x per invocation, read `rounds` quads apart; out: their sum
// x: [n_quads], for load a power of two; out: one quad per invocation, for copy [n_quads].

struct Params {
    n_quads: u32,
    rounds: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(WG) fn arithmetic(me: Invocation) {
    var acc: array<vec4<f32>, 12>;
    for (var i = 0u; i < 12u; i++) { //@unroll
        acc[i] = vec4<f32>(f32(me.id.x % 64u + i));
    }
    for (var round = 0u; round < params.rounds; round++) {
        for (var link = 0u; link < 8u; link++) { //@unroll
            for (var i = 0u; i < 12u; i++) { //@unroll
                acc[i] = acc[i] * params.a + params.b;
            }
        }
    }
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < 12u; i++) { //@unroll
        total += acc[i];
    }
    out[me.id.x] = total;
}

@compute @workgroup_size(WG) fn copy(me: Invocation) {
    let q0 = (me.group.y * params.rounds + me.group.x) * 4u * WG + me.lane;
    var v: array<vec4<f32>, 4>;
    for (var t = 0u; t < 4u; t++) { //@unroll
        v[t] = x[min(q0 + t * WG, params.n_quads - 1u)];
    }
    for (var t = 0u; t < 4u; t++) { //@unroll
        if (q0 + t * WG < params.n_quads) { out[q0 + t * WG] = v[t]; }
    }
}

@compute @workgroup_size(WG) fn load(me: Invocation) {
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < 16u; i++) { //@unroll
        total += x[(me.id.x + params.rounds * i) & (params.n_quads - 1u)];
    }
    out[me.id.x] = total;
}
