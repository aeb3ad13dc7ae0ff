//@use map, grad
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
const NOWHERE: u32 = 0xffffffffu;

// statistics, backward_sums: how many quads of a tensor are loaded at once, so that an invocation waits for memory less
// often; at most 4.
override U: u32 = 1u;

struct Params {
    x: Map,
    first: u32,     // first channel of x (and of its coefficients) served by this dispatch
    channels: u32,  // channels served
    block: u32,     // channels per task
    rounds: u32,    // quads per invocation
    chunks: u32,    // partial results per channel
    // (offset of gamma in v or NOWHERE, offset of beta, offset of the running mean in state or NOWHERE,
    //  of the running variance); gamma NOWHERE: 1 and 0. Block without norm: first word NOWHERE - 1.
    affine: array<vec4<u32>, MAX_TASKS>,
    // backward: (first channel of dz, multiplier (f32 bits), first drop-path factor, -)
    tasks: array<vec4<u32>, MAX_TASKS>,
}

@group(0) @binding(0) var<uniform> params: Params;
//@texture
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> coefs: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> w: array<f32>;
//@texture
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> grad_coefs: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dparams: array<f32>;
@group(0) @binding(8) var<storage, read_write> drop: array<f32>;
@group(0) @binding(9) var<storage, read_write> state: array<f32>;
// grad_coefs, once they are found.
@group(0) @binding(10) var<uniform> found: array<vec4<f32>, 4096>;
@group(0) @binding(11) var<storage, read_write> dx: array<vec4<f32>>;

var<workgroup> sums: array<vec4<f32>, 64>;

// (count, mean, M2) of each chunk of each channel; partial: [channels][chunks].
@compute @workgroup_size(64)
fn statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = params.x;
    let base = (params.first + group.y) * m.pitch;
    let start = group.x * params.rounds * WG;
    // Sums are taken about one element of the chunk, so that they do not cancel.
    let shift = x[base + min(start, m.quads - 1u)].x;
    var count = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    for (var round = 0u; round < params.rounds; round += U) {
        var xs: array<vec4<f32>, 4>;
        //@unroll
        for (var u = 0u; u < U; u++) {
            xs[u] = x[base + min(start + (round + u) * WG + lane, m.quads - 1u)];
        }
        //@unroll
        for (var u = 0u; u < U; u++) {
            let q = start + (round + u) * WG + lane;
            let counts = q < m.quads && (U == 1u || round + u < params.rounds);
            let inside = vec4<bool>(counts) & columns(m, min(q, m.quads - 1u) % m.wq);
            let d = select(vec4<f32>(0.0), xs[u] - shift, inside);
            count += select(vec4<f32>(0.0), vec4<f32>(1.0), inside);
            s1 += d;
            s2 += d * d;
        }
    }
    sums[lane] = vec4<f32>(dot(count, vec4<f32>(1.0)), dot(s1, vec4<f32>(1.0)), dot(s2, vec4<f32>(1.0)), 0.0);
    workgroupBarrier();
    if (lane == 0u) {
        var total = vec4<f32>(0.0);
        for (var other = 0u; other < WG; other++) {
            total += sums[other];
        }
        let mean = total.y / max(total.x, 1.0);
        partial[group.y * params.chunks + group.x] =
            vec4<f32>(total.x, shift + mean, max(total.z - mean * total.y, 0.0), 0.0);
    }
}

// Merges the chunks of each channel into its coefficients, and into the running statistics where
// there are any (momentum 0.1, unbiased variance).
@compute @workgroup_size(64)
fn finalize(@builtin(global_invocation_id) gid: vec3<u32>) {
    if (gid.x >= params.channels) {
        return;
    }
    let channel = gid.x;
    let affine = params.affine[channel / params.block];
    if (affine.x == NOWHERE - 1u) {
        coefs[params.first + channel] = vec4<f32>(0.0, 1.0, 0.0, 1.0);
        return;
    }
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
    let rstd = 1.0 / sqrt(m2 / count + EPS);
    var gamma = 1.0;
    var beta = 0.0;
    let c = channel % params.block;
    if (affine.x != NOWHERE) {
        gamma = w[affine.x + c];
        beta = w[affine.y + c];
    }
    coefs[params.first + channel] = vec4<f32>(mean, rstd * gamma, beta, rstd);
    if (affine.z != NOWHERE) {
        let unbiased = m2 / max(count - 1.0, 1.0);
        state[affine.z + c] += 0.1 * (mean - state[affine.z + c]);
        state[affine.w + c] += 0.1 * (unbiased - state[affine.w + c]);
    }
}

// Coefficients from the running statistics (evaluation of final networks).
@compute @workgroup_size(64)
fn from_running(@builtin(global_invocation_id) gid: vec3<u32>) {
    if (gid.x >= params.channels) {
        return;
    }
    let channel = gid.x;
    let affine = params.affine[channel / params.block];
    if (affine.x == NOWHERE - 1u) {
        coefs[params.first + channel] = vec4<f32>(0.0, 1.0, 0.0, 1.0);
        return;
    }
    let c = channel % params.block;
    let rstd = 1.0 / sqrt(state[affine.w + c] + EPS);
    var gamma = 1.0;
    var beta = 0.0;
    if (affine.x != NOWHERE) {
        gamma = w[affine.x + c];
        beta = w[affine.y + c];
    }
    coefs[params.first + channel] = vec4<f32>(state[affine.z + c], rstd * gamma, beta, rstd);
}

// (sum dz, sum dz * (x - mean)) of each chunk of each channel; partial: [channels][chunks].
@compute @workgroup_size(64)
fn backward_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = params.x;
    let task = params.tasks[group.y / params.block];
    let base = (params.first + group.y) * m.pitch;
    let base_dz = (task.x + group.y % params.block) * m.pitch;
    let mean = coefs[params.first + group.y].x;
    let start = group.x * params.rounds * WG;
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    for (var round = 0u; round < params.rounds; round += U) {
        var xs: array<vec4<f32>, 4>;
        var gs: array<vec4<f32>, 4>;
        //@unroll
        for (var u = 0u; u < U; u++) {
            let at = min(start + (round + u) * WG + lane, m.quads - 1u);
            xs[u] = x[base + at];
            gs[u] = dz[base_dz + at];
            if (DROP == 1u) {
                gs[u] *= drop[task.z + at / m.image];
            }
        }
        //@unroll
        for (var u = 0u; u < U; u++) {
            let q = start + (round + u) * WG + lane;
            let counts = q < m.quads && (U == 1u || round + u < params.rounds);
            let inside = vec4<bool>(counts) & columns(m, min(q, m.quads - 1u) % m.wq);
            let g = select(vec4<f32>(0.0), gs[u], inside);
            s1 += g;
            s2 += g * select(vec4<f32>(0.0), xs[u] - mean, inside);
        }
    }
    sums[lane] = vec4<f32>(dot(s1, vec4<f32>(1.0)), dot(s2, vec4<f32>(1.0)), 0.0, 0.0);
    workgroupBarrier();
    if (lane == 0u) {
        var total = vec4<f32>(0.0);
        for (var other = 0u; other < WG; other++) {
            total += sums[other];
        }
        partial[group.y * params.chunks + group.x] = total;
    }
}

// Coefficients of the backward pass, and dgamma, dbeta: dparams: [2][channels].
@compute @workgroup_size(64)
fn backward_finalize(@builtin(global_invocation_id) gid: vec3<u32>) {
    if (gid.x >= params.channels) {
        return;
    }
    let channel = gid.x;
    let block = channel / params.block;
    let multiplier = bitcast<f32>(params.tasks[block].y);
    if (params.affine[block].x == NOWHERE - 1u) {
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
@compute @workgroup_size(64)
fn backward_apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = params.x;
    let task = params.tasks[group.y / params.block];
    let channel = params.first + group.y;
    let base = channel * m.pitch;
    let base_dz = (task.x + group.y % params.block) * m.pitch;
    let g = found[channel];
    let q0 = group.x * 4u * WG + lane;
    // Every load comes before the first store: where buffers may overlap, a load waits for the stores before it.
    var v: array<vec4<f32>, 4>;
    //@unroll
    for (var t = 0u; t < 4u; t++) {
        let at = min(q0 + t * WG, m.quads - 1u);
        v[t] = dz[base_dz + at];
        if (DROP == 1u) {
            v[t] *= drop[task.z + at / m.image];
        }
        v[t] = batch_norm_backward(v[t], x[base + at], g);
    }
    //@unroll
    for (var t = 0u; t < 4u; t++) {
        if (q0 + t * WG < m.quads) {
            dx[base + q0 + t * WG] = v[t];
        }
    }
}
