//@use map, group
// A node of a cell: the sum of its two terms (Eq. 1).
//   y = sa * da * norm_a(a) + sb * db * norm_b(b)
// with norm optional per term (MODE_A, MODE_B: 0 absent, 1 as it is, 2 normalised), integer factors
// sa, sb (a pair drawn twice counts twice) and drop-path factors da, db per example (DROP_A, DROP_B).
// a, b, y: [C][N][H][W], one block of channels each; coefs_a, coefs_b: quads by channel.

override MODE_A: u32 = 1u;
override MODE_B: u32 = 1u;
override DROP_A: u32 = 0u;
override DROP_B: u32 = 0u;

struct Params {
    x: Map,
    drop_a: u32,
    drop_b: u32,
    scale_a: f32,
    scale_b: f32,
    first_a: u32,  // first channel of coefs_a
    first_b: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<storage, read_write> b: array<vec4<f32>>; //@texture
@group(0) @binding(3) var<uniform> coefs_a: array<vec4<f32>, UNIFORM>;
@group(0) @binding(4) var<uniform> coefs_b: array<vec4<f32>, UNIFORM>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> drop: array<f32>;

fn normalised(x: vec4<f32>, coef: vec4<f32>) -> vec4<f32> { return (x - coef.x) * coef.y + coef.z; }

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    if (me.id.x >= params.x.quads) { return; }
    let at = me.group.y * params.x.pitch + me.id.x;
    let n = me.id.x / params.x.image;
    var total = vec4<f32>(0.0);
    if (MODE_A != 0u) {
        var v = a[at];
        if (MODE_A == 2u) { v = normalised(v, coefs_a[params.first_a + me.group.y]); }
        if (DROP_A == 1u) { v *= drop[params.drop_a + n]; }
        total += params.scale_a * v;
    }
    if (MODE_B != 0u) {
        var v = b[at];
        if (MODE_B == 2u) { v = normalised(v, coefs_b[params.first_b + me.group.y]); }
        if (DROP_B == 1u) { v *= drop[params.drop_b + n]; }
        total += params.scale_b * v;
    }
    out[at] = total;
}
