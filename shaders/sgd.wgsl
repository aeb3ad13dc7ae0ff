// The update of the shared weights: global norm, clipping, SGD with momentum and weight decay.
//   clip = min(1, max_norm / (norm(grad) + 1e-6))
//   momentum = mu * momentum + clip * grad + decay * v,  v -= lr * momentum,  grad = 0
// scalars: (-, lr, mu, decay, max_norm, clip (out), norm (out), -); all buffers f32, laid out as v.
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
@group(0) @binding(4) var<storage, read_write> scalars: array<f32>;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

const WG: u32 = 64u;
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn norm_chunks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var total = 0.0;
    for (var round = 0u; round < params.rounds; round++) {
        let q = (group.x * params.rounds + round) * WG + lane;
        if (q < params.quads) {
            total += dot(grad[q], grad[q]);
        }
    }
    sums[lane] = total;
    workgroupBarrier();
    if (lane == 0u) {
        var all = 0.0;
        for (var other = 0u; other < WG; other++) {
            all += sums[other];
        }
        partial[group.x] = all;
    }
}

@compute @workgroup_size(64)
fn clip(@builtin(local_invocation_index) lane: u32) {
    if (lane == 0u) {
        var all = 0.0;
        for (var chunk = 0u; chunk < params.chunks; chunk++) {
            all += partial[chunk];
        }
        let norm = sqrt(all);
        scalars[5] = min(1.0, scalars[4] / (norm + 1e-6));
        scalars[6] = norm;
    }
}

@compute @workgroup_size(64)
fn step(@builtin(global_invocation_id) gid: vec3<u32>) {
    let q = gid.x;
    if (q >= params.quads) {
        return;
    }
    // A gradient that is no finite number is thrown away, and the host is told by its norm. The bits are
    // looked at because implementations may assume that there is no NaN and no infinity.
    if ((bitcast<u32>(scalars[6]) & 0x7f800000u) == 0x7f800000u) {
        grad[q] = vec4<f32>(0.0);
        return;
    }
    let buf = scalars[2] * momentum[q] + scalars[5] * grad[q] + scalars[3] * v[q];
    momentum[q] = buf;
    v[q] -= scalars[1] * buf;
    grad[q] = vec4<f32>(0.0);
}
