//@use map, grad, group
// Batch norm over (N, H, W) per channel, eps 1e-5.
//   statistics:  mean and biased variance of each channel, from per-chunk (count, mean, M2) merged in a
//                fixed order; plain sums of x and x^2 would cancel in f32
//   coefficients (mean, scale, beta, rstd): norm(x) = (x - mean) * scale + beta, scale = rstd * gamma
//   backward:    with s1 = sum dz, s2 = sum dz * xhat, xhat = (x - mean) * rstd, M elements:
//                dx = scale * (dz - s1 / M - xhat * s2 / M), dgamma = s2, dbeta = s1,
//                kept as the coefficients (a, b, c, mean) of dx = a dz + b (x - mean) + c
// x: [C..][N][H][W], coefs and grad_coefs: [C..] quads, one block of channels per task.
// Source: Ioffe and Szegedy, arXiv 1502.03167; merging: Chan, Golub and LeVeque 1979.

const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;
const MAX_BLOCKS: u32 = 16u;
// Words in place of offsets: NOWHERE for missing parameters or running statistics, NO_NORM for a block without batch
// norm.
const NOWHERE: u32 = 0xffffffffu;
const NO_NORM: u32 = 0xfffffffeu;

// statistics, backward_sums: number of quads of a tensor that are loaded at once, at most 4. With more quads an
// invocation waits for memory less often.
override U: u32 = 1u;

// Offsets of the numbers of a block: gamma and beta in v, the running statistics in state. If gamma is NOWHERE, gamma
// is 1 and beta is 0. If gamma is NO_NORM, there is no batch norm. If the mean is NOWHERE, there are no running
// statistics.
struct Affine {
    gamma: u32,
    beta: u32,
    running_mean: u32,
    running_var: u32,
}

// backward: the gradient of a block.
struct Task {
    dz: u32,             // first channel
    multiplier: f32,
    @size(8) drop: u32,  // first drop-path factor
}

struct Params {
    x: Map,
    first: u32,     // first channel of x (and of its coefficients) served by this launch
    channels: u32,  // channels served
    block: u32,     // channels per task
    rounds: u32,    // quads per invocation
    chunks: u32,    // partial results per channel
    @align(16) affine: array<Affine, MAX_BLOCKS>,
    tasks: array<Task, MAX_BLOCKS>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> coefs: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> w: array<f32>;
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>; //@texture
@group(0) @binding(6) var<storage, read_write> grad_coefs: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dparams: array<f32>;
@group(0) @binding(8) var<storage, read_write> drop: array<f32>;
@group(0) @binding(9) var<storage, read_write> state: array<f32>;
// The computed grad_coefs.
@group(0) @binding(10) var<uniform> found: array<vec4<f32>, UNIFORM>;
@group(0) @binding(11) var<storage, read_write> dx: array<vec4<f32>>;

// Quad `at` of the gradient of a channel, which begins at quad `base`.
fn load_dz(task: Task, base: u32, at: u32) -> vec4<f32> {
    var v = dz[base + at];
    if (DROP == 1u) { v *= drop[task.drop + at / params.x.image]; }
    return v;
}

// Which numbers of quad q are summed. q is the quad of round `round` of `rounds`.
fn summed(m: Map, q: u32, round: u32, rounds: u32) -> vec4<bool> {
    return vec4<bool>(q < m.quads && (U == 1u || round < rounds)) & in_row(m, min(q, m.quads - 1u) % m.wq);
}

// (count, mean, M2) of each chunk of each channel; partial: [channels][chunks].
@compute @workgroup_size(WG) fn statistics(me: Invocation) {
    let m = params.x;
    let rounds = params.rounds;
    let last = m.quads - 1u;
    let base = (params.first + me.group.y) * params.x.pitch;
    let start = me.group.x * rounds * WG;
    // Sums are taken about one element of the chunk, so that they do not cancel.
    let shift = x[base + min(start, last)].x;
    var count = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    for (var round = 0u; round < rounds; round += U) {
        var xs: array<vec4<f32>, 4>;
        for (var u = 0u; u < U; u++) { //@unroll
            xs[u] = x[base + min(start + (round + u) * WG + me.lane, last)];
        }
        for (var u = 0u; u < U; u++) { //@unroll
            let inside = summed(m, start + (round + u) * WG + me.lane, round + u, rounds);
            let d = select(vec4<f32>(0.0), xs[u] - shift, inside);
            count += select(vec4<f32>(0.0), vec4<f32>(1.0), inside);
            s1 += d;
            s2 += d * d;
        }
    }
    let ones = vec4<f32>(1.0);
    let total = workgroup_sum(me.lane, vec4<f32>(dot(count, ones), dot(s1, ones), dot(s2, ones), 0.0));
    if (me.lane == 0u) {
        let mean = total.y / max(total.x, 1.0);
        partial[me.group.y * params.chunks + me.group.x] =
            vec4<f32>(total.x, shift + mean, max(total.z - mean * total.y, 0.0), 0.0);
    }
}

// Whether the served channel `c` has a batch norm. A channel without batch norm gets coefficients that change nothing.
fn has_norm(c: u32) -> bool {
    if (c >= params.channels) { return false; }
    let has = params.affine[c / params.block].gamma != NO_NORM;
    if (!has) { coefs[params.first + c] = vec4<f32>(0.0, 1.0, 0.0, 1.0); }
    return has;
}

// Sets the coefficients of the served channel `c`.
fn set_coefs(c: u32, mean: f32, variance: f32) {
    let affine = params.affine[c / params.block];
    let rstd = 1.0 / sqrt(variance + EPS);
    var gamma = 1.0;
    var beta = 0.0;
    if (affine.gamma != NOWHERE) {
        gamma = w[affine.gamma + c % params.block];
        beta = w[affine.beta + c % params.block];
    }
    coefs[params.first + c] = vec4<f32>(mean, rstd * gamma, beta, rstd);
}

// Merges the chunks of each channel into its coefficients, and into the running statistics where
// there are any (unbiased variance).
@compute @workgroup_size(WG) fn finalize(me: Invocation) {
    let channel = me.id.x;
    if (!has_norm(channel)) { return; }
    var count = 0.0;
    var mean = 0.0;
    var m2 = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let part = partial[channel * params.chunks + chunk];
        if (part.x > 0.0) {
            let total = count + part.x;
            let delta = part.y - mean;
            mean += delta * part.x / total;
            m2 += part.z + delta * delta * count * part.x / total;
            count = total;
        }
    }
    set_coefs(channel, mean, m2 / count);
    let affine = params.affine[channel / params.block];
    if (affine.running_mean != NOWHERE) {
        let at_mean = affine.running_mean + channel % params.block;
        let at_var = affine.running_var + channel % params.block;
        state[at_mean] += MOMENTUM * (mean - state[at_mean]);
        state[at_var] += MOMENTUM * (m2 / max(count - 1.0, 1.0) - state[at_var]);
    }
}

// Coefficients from the running statistics (evaluation of final networks).
@compute @workgroup_size(WG) fn from_running(me: Invocation) {
    if (has_norm(me.id.x)) {
        let affine = params.affine[me.id.x / params.block];
        let c = me.id.x % params.block;
        set_coefs(me.id.x, state[affine.running_mean + c], state[affine.running_var + c]);
    }
}

// (sum dz, sum dz * (x - mean)) of each chunk of each channel; partial: [channels][chunks].
@compute @workgroup_size(WG) fn backward_sums(me: Invocation) {
    let m = params.x;
    let rounds = params.rounds;
    let last = m.quads - 1u;
    let base = (params.first + me.group.y) * params.x.pitch;
    let task = params.tasks[me.group.y / params.block];
    let base_dz = (task.dz + me.group.y % params.block) * m.pitch;
    let mean = coefs[params.first + me.group.y].x;
    let start = me.group.x * rounds * WG;
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    for (var round = 0u; round < rounds; round += U) {
        var xs: array<vec4<f32>, 4>;
        var gs: array<vec4<f32>, 4>;
        for (var u = 0u; u < U; u++) { //@unroll
            let at = min(start + (round + u) * WG + me.lane, last);
            xs[u] = x[base + at];
            gs[u] = load_dz(task, base_dz, at);
        }
        for (var u = 0u; u < U; u++) { //@unroll
            let inside = summed(m, start + (round + u) * WG + me.lane, round + u, rounds);
            let g = select(vec4<f32>(0.0), gs[u], inside);
            s1 += g;
            s2 += g * select(vec4<f32>(0.0), xs[u] - mean, inside);
        }
    }
    let ones = vec4<f32>(1.0);
    let total = workgroup_sum(me.lane, vec4<f32>(dot(s1, ones), dot(s2, ones), 0.0, 0.0));
    if (me.lane == 0u) { partial[me.group.y * params.chunks + me.group.x] = total; }
}

// Coefficients of the backward pass, and dgamma, dbeta: dparams: [2][channels].
@compute @workgroup_size(WG) fn backward_finalize(me: Invocation) {
    let channel = me.id.x;
    if (channel >= params.channels) { return; }
    let multiplier = params.tasks[channel / params.block].multiplier;
    if (params.affine[channel / params.block].gamma == NO_NORM) {
        grad_coefs[params.first + channel] = vec4<f32>(multiplier, 0.0, 0.0, 0.0);
        return;
    }
    var s = vec4<f32>(0.0);
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        s += partial[channel * params.chunks + chunk];
    }
    let coef = coefs[params.first + channel];
    let count = f32(params.x.count);
    let s1 = multiplier * s.x;
    let s2 = multiplier * s.y * coef.w;
    grad_coefs[params.first + channel] =
        vec4<f32>(coef.y * multiplier, -coef.y * coef.w * s2 / count, -coef.y * s1 / count, coef.x);
    dparams[channel] = s2;
    dparams[params.channels + channel] = s1;
}

// dx = a dz + b (x - mean) + c: the gradient itself, for consumers that load it several times.
// Four quads per invocation.
@compute @workgroup_size(WG) fn backward_apply(me: Invocation) {
    let quads = params.x.quads;
    let base = (params.first + me.group.y) * params.x.pitch;
    let task = params.tasks[me.group.y / params.block];
    let base_dz = (task.dz + me.group.y % params.block) * params.x.pitch;
    let g = found[params.first + me.group.y];
    let q0 = me.group.x * 4u * WG + me.lane;
    // Every load comes before the first store (lib/store).
    var v: array<vec4<f32>, 4>;
    for (var t = 0u; t < 4u; t++) { //@unroll
        let at = min(q0 + t * WG, quads - 1u);
        v[t] = batch_norm_backward(load_dz(task, base_dz, at), x[base + at], g);
    }
    for (var t = 0u; t < 4u; t++) { //@unroll
        if (q0 + t * WG < quads) { dx[base + q0 + t * WG] = v[t]; }
    }
}
