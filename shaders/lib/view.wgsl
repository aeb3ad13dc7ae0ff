// How a kernel reads an activation: view(x) = relu(norm(x)), each part optional.
// A channel's coefficients are (mean, scale, beta, rstd): norm(x) = (x - mean) * scale + beta.

override NORM: u32 = 0u;
override RELU: u32 = 0u;

fn norm(x: vec4<f32>, coef: vec4<f32>) -> vec4<f32> {
    if (NORM == 1u) { return (x - coef.x) * coef.y + coef.z; }
    return x;
}

fn view(x: vec4<f32>, coef: vec4<f32>) -> vec4<f32> {
    let z = norm(x, coef);
    if (RELU == 1u) { return max(z, vec4<f32>(0.0)); }
    return z;
}

// The gradient of norm(x) from that of view(x): ReLU's derivative at 0 is 0.
fn view_backward(g: vec4<f32>, x: vec4<f32>, coef: vec4<f32>) -> vec4<f32> {
    if (RELU == 1u) { return select(vec4<f32>(0.0), g, norm(x, coef) > vec4<f32>(0.0)); }
    return g;
}

// The coefficients of channel `c` of coefs, a variable of the shader; not read without NORM.
fn coefficients(c: u32) -> vec4<f32> {
    if (NORM == 1u) { return coefs[c]; }
    return vec4<f32>(0.0);
}
