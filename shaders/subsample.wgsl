//@use map, view, task, store, group
// Every second row and column, for channel blocks ("tasks") of one tensor: the input of a 1x1 convolution of stride 2
// (OFFSETS = 1), or the two half-resolution inputs of FactorizedReduce (OFFSETS = 2).
//   y[t, c, n, i, j] = view(x)[src(t) + c, n, 2i, 2j],  y[t, C + c, n, i, j] = view(x)[src(t) + c, n, 2i + 1, 2j + 1]
// x: [C..][N][H][W], y: [T * OFFSETS * C][N][ceil(H/2)][ceil(W/2)]; with two offsets H and W are even.
// Source: FactorizedReduce of the DARTS reference: conv(x) beside conv(x[:, :, 1:, 1:]), stride 2.

override OFFSETS: u32 = 2u;

struct Task {
    @size(16) channel: u32,  // first channel of the tensor that is read: x, or dy in the backward pass
}

struct Params {
    x: Map,
    y: Map,
    channels: u32,
    @align(16) tasks: array<Task, MAX_TASKS>,
    sources: array<Source, MAX_TASKS>,  // backward
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>; //@texture
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    if (me.id.x >= params.y.quads) { return; }
    let source = params.tasks[me.group.z].channel + me.group.y;
    let coef = coefs[source];
    let p = place(params.y, me.id.x);
    let row = source * params.x.pitch + p.n * params.x.image + 2u * p.i * params.x.wq;
    let left = 2u * p.j;
    let right = min(left + 1u, params.x.wq - 1u);
    let a = view(x[row + left], coef);
    let b = view(x[row + right], coef);
    let first = (me.group.z * OFFSETS * params.channels + me.group.y) * params.y.pitch + me.id.x;
    if (OFFSETS == 2u) {
        let c = view(x[row + params.x.wq + left], coef);
        let d = view(x[row + params.x.wq + right], coef);
        out[first + params.channels * params.y.pitch] = vec4<f32>(c.y, c.w, d.y, d.w);
    }
    out[first] = vec4<f32>(a.x, a.z, b.x, b.z);
}

fn store_back(at: u32, g: vec4<f32>, coef: vec4<f32>, add: u32, is_there: bool) {
    if (is_there) { store(at, view_backward(g, x[at], coef), add); }
}

@compute @workgroup_size(WG) fn backward(me: Invocation) {
    if (me.id.x >= params.y.quads) { return; }
    let source = params.sources[me.group.z];
    let coef = coefs[source.channel + me.group.y];
    let p = place(params.y, me.id.x);
    var even = vec4<f32>(0.0);
    var odd = vec4<f32>(0.0);
    for (var t = source.first; t < source.first + source.n; t++) {
        let first = (params.tasks[t].channel + me.group.y) * params.y.pitch + me.id.x;
        even += dy[first];
        if (OFFSETS == 2u) { odd += dy[first + params.channels * params.y.pitch]; }
    }
    let row = (source.channel + me.group.y) * params.x.pitch + p.n * params.x.image + 2u * p.i * params.x.wq + 2u * p.j;
    let below = row + params.x.wq;
    let has_right = 2u * p.j + 1u < params.x.wq;
    store_back(row, vec4<f32>(even.x, 0.0, even.y, 0.0), coef, source.add, true);
    store_back(row + 1u, vec4<f32>(even.z, 0.0, even.w, 0.0), coef, source.add, has_right);
    // With one offset odd rows have no gradient. An odd number of rows has no row below the last one.
    let has_below = OFFSETS == 2u || (source.add == 0u && 2u * p.i + 1u < params.x.h);
    store_back(below, vec4<f32>(0.0, odd.x, 0.0, odd.y), coef, source.add, has_below);
    store_back(below + 1u, vec4<f32>(0.0, odd.z, 0.0, odd.w), coef, source.add, has_below && has_right);
}
