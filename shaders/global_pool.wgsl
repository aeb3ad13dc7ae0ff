//@use map, view, store, group
// Global average pool: pooled[c, n] = mean over (i, j) of view(x)[c, n, i, j].
// x: [C][N][H][W], pooled: [C][N]; coefs: quads by channel of x.

struct Params {
    x: Map,
    add: u32,    // 1 to add to dx
    first: u32,  // channel of pooled that is channel 0 of x
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<storage, read_write> pooled: array<f32>;
@group(0) @binding(3) var<storage, read_write> dpooled: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> coefs: array<vec4<f32>, UNIFORM>;

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    if (me.id.x >= params.x.n) { return; }
    let base = me.group.y * params.x.pitch + me.id.x * params.x.image;
    let coef = coefs[me.group.y];
    var total = vec4<f32>(0.0);
    for (var q = 0u; q < params.x.image; q++) {
        total += data_only(params.x, q, view(x[base + q], coef));
    }
    pooled[(params.first + me.group.y) * params.x.n + me.id.x] = dot(total, vec4<f32>(1.0)) / f32(params.x.h * params.x.w);
}

@compute @workgroup_size(WG) fn backward(me: Invocation) {
    if (me.id.x >= params.x.quads) { return; }
    let n = me.id.x / params.x.image;
    let at = me.group.y * params.x.pitch + me.id.x;
    var g = vec4<f32>(dpooled[(params.first + me.group.y) * params.x.n + n] / f32(params.x.h * params.x.w));
    if (RELU == 1u) { g = view_backward(g, x[at], coefs[me.group.y]); }
    store(at, g, params.add);
}
