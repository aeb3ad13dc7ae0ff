//@use map, view, store, group
// Stores a view of an activation as a tensor, and computes the gradient of the view.
//   forward:  y = view(x)
//   backward: dx (+)= dy through ReLU
// One block of channels per launch; x, y, dx, dy: [C][N][H][W].

struct Params {
    x: Map,
    add: u32,  // 1 to add to dx
    scale: f32,
    first: u32,  // first channel of coefs
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>; //@texture
@group(0) @binding(2) var<uniform> coefs: array<vec4<f32>, UNIFORM>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>; //@texture
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(WG) fn forward(me: Invocation) {
    let at = me.group.y * params.x.pitch + me.id.x;
    if (me.id.x < params.x.quads) {
        out[at] = view(x[at], coefficients(params.first + me.group.y));
    }
}

@compute @workgroup_size(WG) fn backward(me: Invocation) {
    let at = me.group.y * params.x.pitch + me.id.x;
    if (me.id.x < params.x.quads) {
        store(at, view_backward(dy[at], x[at], coefs[params.first + me.group.y]), params.add);
    }
}

// dx = scale * dy (+ dx): the gradient of an identity; nothing else is bound.
@compute @workgroup_size(WG) fn pass_back(me: Invocation) {
    let at = me.group.y * params.x.pitch + me.id.x;
    if (me.id.x < params.x.quads) { store(at, params.scale * dy[at], params.add); }
}

// dx = 0: the gradient of something that nothing reads.
@compute @workgroup_size(WG) fn clear(me: Invocation) {
    if (me.id.x < params.x.quads) { dx[me.group.y * params.x.pitch + me.id.x] = vec4<f32>(0.0); }
}
