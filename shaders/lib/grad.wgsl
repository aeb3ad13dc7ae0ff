// How a kernel reads the gradient of its output y. With BN, `dz` is the gradient of norm(y), and batch norm's backward
// is applied while loading: dy = a * dz + b * (y - mean) + c with the coefficients (a, b, c, mean) of the channel. With
// DROP, dz is first multiplied by the drop-path factor of its example.

override BN: u32 = 0u;
override DROP: u32 = 0u;

fn batch_norm_backward(dz: vec4<f32>, y: vec4<f32>, g: vec4<f32>) -> vec4<f32> {
    return g.x * dz + (g.y * (y - g.w) + g.z);
}

// The coefficients of channel `c` of grad_coefs, a variable of the shader; not read without BN.
fn grad_coefficients(c: u32) -> vec4<f32> {
    if (BN == 1u) { return grad_coefs[c]; }
    return vec4<f32>(0.0);
}
