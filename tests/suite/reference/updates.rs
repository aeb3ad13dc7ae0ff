//! Accumulation, clipping, SGD and Adam, worked out by hand.

use parsec_nas::reference::{adam, clip, sgd};

use super::close;

#[test]
fn accumulate_norm_and_clip_by_hand() {
    let mut acc = vec![1.0, 2.0];
    clip::accumulate(&mut acc, 0.5, &[4.0, -4.0]);
    assert_eq!(acc, [3.0, 0.0]);
    let tensors: [&[f64]; 2] = [&[2.0, 4.0], &[4.0]];
    assert_eq!(clip::global_norm(tensors), 6.0);
    assert_eq!(clip::clip_factor(6.0, 5.0), 5.0 / 6.000001);
    assert_eq!(clip::clip_factor(4.0, 5.0), 1.0);
}

#[test]
fn sgd_by_hand() {
    let sgd = sgd::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.01 };
    let (mut v, mut buf) = (vec![2.0], vec![0.0]);
    sgd::step(&mut v, &mut buf, &[4.0], 0.5, sgd);
    close(&[buf[0], v[0]], &[2.02, 1.798], 1e-15);
    sgd::step(&mut v, &mut buf, &[-1.0], 1.0, sgd);
    close(&[buf[0], v[0]], &[0.83598, 1.714402], 1e-15);
}

#[test]
fn adam_by_hand() {
    let adam = adam::Adam { lr: 0.1, betas: (0.5, 0.999), eps: 1e-8 };
    let (mut x, mut m, mut v) = (vec![0.0], vec![0.0], vec![0.0]);
    adam::ascend(&mut x, &mut m, &mut v, &[2.0], 1, adam);
    // After one gradient both unbiased moments follow from this gradient, and the step is lr upwards.
    close(&[m[0], v[0], x[0]], &[1.0, 0.004, 0.1 * 2.0 / (2.0 + 1e-8)], 1e-12);
    adam::ascend(&mut x, &mut m, &mut v, &[-1.0], 2, adam);
    // m = 0.5·1 − 0.5·1 = 0: the logit stays.
    close(&[m[0], v[0], x[0]], &[0.0, 0.004996, 0.1 * 2.0 / (2.0 + 1e-8)], 1e-12);
    adam::ascend(&mut x, &mut m, &mut v, &[1.0], 3, adam);
    let second: f64 = (0.004996 * 0.999 + 0.001) / (1.0 - 0.999f64.powi(3));
    close(&x, &[0.1 + 0.1 * (0.5 / 0.875) / second.sqrt()], 1e-8);
}
