// Log-softmax cross-entropy per example.
//   result[n] = log p(y_n) = logits[n, y_n] - logsumexp(logits[n]), result[N + n] = 1 if the largest logit is y_n's
//   dlogits[n, k] = scale * (softmax(logits[n])[k] - [k = y_n])
// logits, dlogits: [N][K], labels: u32 [N], result: f32 [2][N].
// Source: PyTorch's cross_entropy; scale = weight / N for the mean.

struct Params {
    n: u32,
    k: u32,
    scale: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;

struct Softmax {
    top: f32,
    first: u32,
    total: f32,
}

fn softmax(n: u32) -> Softmax {
    let base = n * params.k;
    var s = Softmax(logits[base], 0u, 0.0);
    for (var k = 1u; k < params.k; k++) {
        let v = logits[base + k];
        if (v > s.top) {
            s.top = v;
            s.first = k;
        }
    }
    for (var k = 0u; k < params.k; k++) {
        s.total += exp(logits[base + k] - s.top);
    }
    return s;
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) gid: vec3<u32>) {
    if (gid.x >= params.n) {
        return;
    }
    let s = softmax(gid.x);
    let label = min(labels[gid.x], params.k - 1u);
    result[gid.x] = logits[gid.x * params.k + label] - s.top - log(s.total);
    result[params.n + gid.x] = select(0.0, 1.0, s.first == label);
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) gid: vec3<u32>) {
    if (gid.x >= params.n) {
        return;
    }
    let s = softmax(gid.x);
    let label = min(labels[gid.x], params.k - 1u);
    let base = gid.x * params.k;
    for (var k = 0u; k < params.k; k++) {
        let p = exp(logits[base + k] - s.top) / s.total;
        dlogits[base + k] = params.scale * (p - select(0.0, 1.0, k == label));
    }
}
