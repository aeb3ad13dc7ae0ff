// Writes a quad of `dx`, the variable of the shader, or adds to it. A kernel that writes several quads loads all of them
// first, because a load waits for earlier stores if the buffers may overlap.
fn store(at: u32, v: vec4<f32>, add: u32) {
    if (add == 1u) {
        dx[at] += v;
    } else {
        dx[at] = v;
    }
}
