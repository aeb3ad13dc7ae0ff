//@use map, view
// A node of a mixed cell: the sum over all its paths, each with its factor (DARTS, arXiv 1806.09055).
//   forward:          z (+)= sum over terms t of f[t][n] * norm(x_t)
//   backward_factors: partial[t][channel][chunk] = sum over n, h, w of dz * norm(x_t), the gradient of a
//                     factor that all examples share
//   pass_back:        dx_t (+)= f[t][n] * dz, for terms that no batch norm stands before
// x: blocks of channels of one tensor [C..][N][H][W], one per term; z, dz: [C][N][H][W]; f: [terms][N].

struct Params {
    x: Map,
    first: u32,   // first channel of coefs: that of x's first channel
    terms: u32,
    add: u32,     // 1: z or dx holds something already
    rounds: u32,  // quads per invocation
    chunks: u32,  // partial sums per channel
    channels: u32,
    // (first channel of x, first factor, -, -) per term.
    tasks: array<vec4<u32>, MAX_TASKS>,
}

@group(0) @binding(0) var<uniform> params: Params;
//@texture
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, 4096>;
@group(0) @binding(3) var<storage, read_write> factors: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
//@texture
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partial: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;

var<workgroup> sums: array<f32, 64>;

// The coefficients of channel `channel` of x, where there are any.
fn coefficients(channel: u32) -> vec4<f32> {
    if (NORM == 1u) {
        return coefs[params.first + channel];
    }
    return vec4<f32>(0.0);
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    if (gid.x >= params.x.quads) {
        return;
    }
    let at = group.y * params.x.pitch + gid.x;
    let n = gid.x / params.x.image;
    var total = vec4<f32>(0.0);
    if (params.add == 1u) {
        total = out[at];
    }
    for (var t = 0u; t < params.terms; t++) {
        let task = params.tasks[t];
        let channel = task.x + group.y;
        let v = norm(x[channel * params.x.pitch + gid.x], coefficients(channel));
        total += factors[task.y + n] * v;
    }
    out[at] = total;
}

@compute @workgroup_size(64)
fn backward_factors(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = params.x;
    let channel = params.tasks[group.z].x + group.y;
    let coef = coefficients(channel);
    let start = group.x * params.rounds * WG;
    var total = vec4<f32>(0.0);
    for (var round = 0u; round < params.rounds; round++) {
        let q = start + round * WG + lane;
        let at = min(q, m.quads - 1u);
        let g = data_only(m, at, dz[group.y * m.pitch + at]);
        let v = data_only(m, at, norm(x[channel * m.pitch + at], coef));
        total += select(vec4<f32>(0.0), g * v, q < m.quads);
    }
    sums[lane] = dot(total, vec4<f32>(1.0));
    workgroupBarrier();
    if (lane == 0u) {
        var sum = 0.0;
        for (var other = 0u; other < WG; other++) {
            sum += sums[other];
        }
        partial[(group.z * params.channels + group.y) * params.chunks + group.x] = sum;
    }
}

// One term; x is not read.
@compute @workgroup_size(64)
fn pass_back(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    if (gid.x >= params.x.quads) {
        return;
    }
    let at = group.y * params.x.pitch + gid.x;
    var v = factors[params.tasks[0].y + gid.x / params.x.image] * dz[at];
    if (params.add == 1u) {
        v += dx[at];
    }
    dx[at] = v;
}
