//@use scalars, group
// Log-softmax cross-entropy per example, with label smoothing e.
//   log p(k) = logits[n, k] - logsumexp(logits[n])
//   result[n] = (1 - e) log p(y_n) + e / K sum_k log p(k), result[N + n] = 1 if the largest logit is y_n's
//   dlogits[n, k] = scalars.weight * scale * w[y_n] * (softmax(logits[n])[k] - (1 - e) [k = y_n] - e / K)
// logits, dlogits: [N][K], labels: u32 [N], result: f32 [2][N], w = class_weights: [K]. With e = 0,
// result[n] = log p(y_n). Source: PyTorch's cross_entropy(label_smoothing = e); scale = weight / N for the mean.
// scalars.weight is the weight of the child, so that all gradients that follow from dlogits are weighted too.
// result is not weighted by class.

struct Params {
    n: u32,
    k: u32,
    scale: f32,
    smoothing: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(5) var<storage, read> scalars: Scalars;
@group(0) @binding(6) var<storage, read> class_weights: array<f32>;

struct Softmax {
    top: f32,
    first: u32,
    total: f32,
    // Sum of (logit - top) over the logits.
    sum: f32,
}

fn softmax(n: u32) -> Softmax {
    let base = n * params.k;
    var s = Softmax(logits[base], 0u, 0.0, 0.0);
    for (var k = 1u; k < params.k; k++) {
        let v = logits[base + k];
        if (v > s.top) {
            s.top = v;
            s.first = k;
        }
    }
    for (var k = 0u; k < params.k; k++) {
        let d = logits[base + k] - s.top;
        s.total += exp(d);
        s.sum += d;
    }
    return s;
}

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    if (me.id.x >= params.n) { return; }
    let s = softmax(me.id.x);
    let label = min(labels[me.id.x], params.k - 1u);
    let hard = logits[me.id.x * params.k + label] - s.top - log(s.total);
    let even = s.sum / f32(params.k) - log(s.total);
    result[me.id.x] = select(mix(hard, even, params.smoothing), hard, params.smoothing == 0.0);
    result[params.n + me.id.x] = select(0.0, 1.0, s.first == label);
}

@compute @workgroup_size(WG) fn backward(me: Invocation) {
    if (me.id.x >= params.n) { return; }
    let s = softmax(me.id.x);
    let label = min(labels[me.id.x], params.k - 1u);
    let base = me.id.x * params.k;
    let scale = scalars.weight * params.scale * class_weights[label];
    for (var k = 0u; k < params.k; k++) {
        let p = exp(logits[base + k] - s.top) / s.total;
        let target_k = select(0.0, 1.0 - params.smoothing, k == label) + params.smoothing / f32(params.k);
        dlogits[base + k] = scale * (p - target_k);
    }
}
