// Numbers of a step.

struct Scalars {
    weight: f32,    // of the child that runs
    lr: f32,        // of the update: learning rate, momentum, weight decay, the largest norm of the gradient
    mu: f32,
    decay: f32,
    max_norm: f32,
    clip: f32,      // written by the update: what the gradient was multiplied by, and its norm
    norm: f32,
}
