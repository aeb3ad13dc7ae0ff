// Numbers of a step.

struct Scalars {
    weight: f32,    // weight of the child that runs
    lr: f32,        // settings of the update: learning rate, momentum, weight decay, the largest norm of the gradient
    mu: f32,
    decay: f32,
    max_norm: f32,
    clip: f32,      // written by the update: factor of the gradient, and norm of the gradient
    norm: f32,
}
