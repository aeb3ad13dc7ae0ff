//@use map, store, group
// Average pool over windows, no padding (auxiliary head).
//   y[c, n, i, j] = mean of relu(x[c, n]) over rows [lo(i), hi(i)) and columns [lo(j), hi(j))
// WINDOW > 0: lo(i) = i S, hi(i) = lo + WINDOW; WINDOW = 0: adaptive, lo = floor(i H / OH), hi = ceil((i + 1) H / OH).
// x: [C][N][H][W], y: [C][N][OH][OW].
// Source: PyTorch's avg_pool2d and adaptive_avg_pool2d.

override WINDOW: u32 = 5u;
override S: u32 = 3u;

struct Params {
    x: Map,
    y: Map,
    add: u32,  // 1 to add to dx
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dy: array<vec4<f32>>; //@texture
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

// The window of output `o`: (first, one past last).
fn window(o: u32, size: u32, outputs: u32) -> vec2<u32> {
    if (WINDOW > 0u) { return vec2<u32>(o * S, o * S + WINDOW); }
    return vec2<u32>(o * size / outputs, ((o + 1u) * size + outputs - 1u) / outputs);
}

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    if (me.id.x >= params.y.quads) { return; }
    let p = place(params.y, me.id.x);
    let base = me.group.y * params.x.pitch + p.n * params.x.image;
    let rows = window(p.i, params.x.h, params.y.h);
    var mean = vec4<f32>(0.0);
    for (var e = 0u; e < 4u; e++) { //@unroll
        let col = 4u * p.j + e;
        if (col < params.y.w) {
            let cols = window(col, params.x.w, params.y.w);
            var total = 0.0;
            for (var r = rows.x; r < rows.y; r++) {
                for (var c = cols.x; c < cols.y; c++) {
                    total += max(x[base + r * params.x.wq + c / 4u][c % 4u], 0.0);
                }
            }
            mean[e] = total / f32((rows.y - rows.x) * (cols.y - cols.x));
        }
    }
    out[me.group.y * params.y.pitch + me.id.x] = mean;
}

@compute @workgroup_size(WG) fn backward(me: Invocation) {
    if (me.id.x >= params.x.quads) { return; }
    let p = place(params.x, me.id.x);
    let col = columns(p.j);
    let base = me.group.y * params.y.pitch + p.n * params.y.image;
    var g = vec4<f32>(0.0);
    for (var oi = 0u; oi < params.y.h; oi++) {
        let rows = window(oi, params.x.h, params.y.h);
        if (p.i >= rows.x && p.i < rows.y) {
            for (var oj = 0u; oj < params.y.w; oj++) {
                let cols = window(oj, params.x.w, params.y.w);
                let share = dy[base + oi * params.y.wq + oj / 4u][oj % 4u]
                    / f32((rows.y - rows.x) * (cols.y - cols.x));
                g += select(vec4<f32>(0.0), vec4<f32>(share), (col >= vec4<u32>(cols.x)) & (col < vec4<u32>(cols.y)));
            }
        }
    }
    let at = me.group.y * params.x.pitch + me.id.x;
    store(at, select(vec4<f32>(0.0), g, x[at] > vec4<f32>(0.0)), params.add);
}
