//@use group, scalars
// The update of the shared weights: global norm, clipping, SGD with momentum and weight decay.
//   clip = min(1, max_norm / (norm(grad) + 1e-6))
//   momentum = mu * momentum + clip * grad + decay * v,  v -= lr * momentum,  grad = 0
// All buffers f32, laid out as v.
// Source: PyTorch's clip_grad_norm_ and SGD.

struct Params {
    quads: u32,
    rounds: u32,
    chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> momentum: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> grad: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scalars: Scalars;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(WG) fn norm_chunks(me: Invocation) {
    var total = 0.0;
    for (var round = 0u; round < params.rounds; round++) {
        let q = (me.group.x * params.rounds + round) * WG + me.lane;
        if (q < params.quads) { total += dot(grad[q], grad[q]); }
    }
    let sum = workgroup_sum(me.lane, vec4<f32>(total, 0.0, 0.0, 0.0));
    if (me.lane == 0u) { partial[me.group.x] = sum.x; }
}

@compute @workgroup_size(WG) fn clip(me: Invocation) {
    if (me.lane == 0u) {
        var all = 0.0;
        for (var chunk = 0u; chunk < params.chunks; chunk++) {
            all += partial[chunk];
        }
        let norm = sqrt(all);
        scalars.clip = min(1.0, scalars.max_norm / (norm + 1e-6));
        scalars.norm = norm;
    }
}

@compute @workgroup_size(WG) fn step(me: Invocation) {
    let q = me.id.x;
    if (q >= params.quads) { return; }
    // A gradient that is not finite is discarded, and the host sees this by the norm. The bits are tested, because
    // implementations may assume that there is no NaN and no infinity.
    if ((bitcast<u32>(scalars.norm) & 0x7f800000u) == 0x7f800000u) {
        grad[q] = vec4<f32>(0.0);
        return;
    }
    let buf = scalars.mu * momentum[q] + scalars.clip * grad[q] + scalars.decay * v[q];
    momentum[q] = buf;
    v[q] -= scalars.lr * buf;
    grad[q] = vec4<f32>(0.0);
}
