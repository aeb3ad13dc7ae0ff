//@use map, view, group, task, store
// A node of a mixed cell: the sum over all its paths, each with its factor (DARTS, arXiv 1806.09055).
//   forward:          z (+)= sum over terms t of f[t][n] * norm(x_t)
//   backward_factors: partial[t][channel][chunk] = sum over n, h, w of dz * norm(x_t), the gradient of a
//                     factor that all examples share
//   pass_back:        dx_t (+)= f[t][n] * dz, for terms without batch norm
// x: blocks of channels of one tensor [C..][N][H][W], one per term; z, dz: [C][N][H][W]; f: [terms][N].

struct Task {
    channel: u32,           // first channel of the block in x
    @size(12) factor: u32,  // first factor of the term
}

struct Params {
    x: Map,
    first: u32,   // first channel of coefs: that of x's first channel
    terms: u32,
    add: u32,     // 1: z or dx holds something already
    rounds: u32,  // quads per invocation
    chunks: u32,  // partial sums per channel
    channels: u32,
    @align(16) tasks: array<Task, MAX_TASKS>,  // one per term
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(3) var<storage, read_write> factors: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>; //@texture
@group(0) @binding(6) var<storage, read_write> partial: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    if (me.id.x >= params.x.quads) { return; }
    let at = me.group.y * params.x.pitch + me.id.x;
    let n = me.id.x / params.x.image;
    var total = vec4<f32>(0.0);
    if (params.add == 1u) { total = out[at]; }
    for (var t = 0u; t < params.terms; t++) {
        let task = params.tasks[t];
        let channel = task.channel + me.group.y;
        let v = norm(x[channel * params.x.pitch + me.id.x], coefficients(params.first + channel));
        total += factors[task.factor + n] * v;
    }
    out[at] = total;
}

@compute @workgroup_size(WG) fn backward_factors(me: Invocation) {
    let m = params.x;
    let channel = params.tasks[me.group.z].channel + me.group.y;
    let coef = coefficients(params.first + channel);
    let start = me.group.x * params.rounds * WG;
    var total = vec4<f32>(0.0);
    for (var round = 0u; round < params.rounds; round++) {
        let q = start + round * WG + me.lane;
        let at = min(q, m.quads - 1u);
        let g = data_only(m, at, dz[me.group.y * m.pitch + at]);
        let v = data_only(m, at, norm(x[channel * m.pitch + at], coef));
        total += select(vec4<f32>(0.0), g * v, q < m.quads);
    }
    let sum = workgroup_sum(me.lane, vec4<f32>(dot(total, vec4<f32>(1.0)), 0.0, 0.0, 0.0));
    if (me.lane == 0u) {
        partial[(me.group.z * params.channels + me.group.y) * params.chunks + me.group.x] = sum.x;
    }
}

// One term; x is not read.
@compute @workgroup_size(WG) fn pass_back(me: Invocation) {
    if (me.id.x < params.x.quads) {
        let at = me.group.y * params.x.pitch + me.id.x;
        store(at, factors[params.tasks[0].factor + me.id.x / params.x.image] * dz[at], params.add);
    }
}
