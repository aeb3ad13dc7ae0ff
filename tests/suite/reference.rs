//! The f64 references against central finite differences and numbers worked out by hand.

use parsec_nas::reference::{
    T4, Window, adam, adaptive_pool, avg_pool, batch_norm, clip, concat, conv, cross_entropy, depthwise,
    global_pool, linear, max_pool, node_sum, pointwise, relu, sgd, subsample,
};
use parsec_nas::rng::{Purpose, stream};
use rand::RngExt;

mod networks;

/// `len` numbers in (−1, 1), always the same for one `key`.
fn noise(key: u64, len: usize) -> Vec<f64> {
    let mut rng = stream(7, Purpose::Test, 0, key);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn tensor(key: u64, c: usize, n: usize, h: usize, w: usize) -> T4 {
    T4 {
        c,
        n,
        h,
        w,
        data: noise(key, c * n * h * w),
    }
}

/// A tensor whose elements are all different by at least 0.01 and nowhere within 0.005 of 0.
fn without_kinks(key: u64, c: usize, n: usize, h: usize, w: usize) -> T4 {
    let mut order: Vec<usize> = (0..c * n * h * w).collect();
    let keys = noise(key, order.len());
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
    let middle = order.len() as f64 / 2.0;
    let mut x = T4::zeros(c, n, h, w);
    for (rank, element) in order.into_iter().enumerate() {
        x.data[element] = 0.01 * (rank as f64 - middle.floor() + 0.5);
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Fails unless `gradient` is that of `f` at `x` by central differences.
fn check_gradient(name: &str, x: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{name}: one derivative per element");
    let step = 1e-5;
    let mut moved = x.to_vec();
    for e in 0..x.len() {
        moved[e] = x[e] + step;
        let above = f(&moved);
        moved[e] = x[e] - step;
        let below = f(&moved);
        moved[e] = x[e];
        let numeric = (above - below) / (2.0 * step);
        let error = (numeric - gradient[e]).abs();
        assert!(
            error <= 1e-7 * (1.0 + numeric.abs()),
            "{name}, element {e}: {} against {numeric} by finite differences",
            gradient[e]
        );
    }
}

/// The gradient of `Σ y·dy` in `x`, for an operation `forward` with the given `dx`.
fn check_input(name: &str, x: &T4, dy: &T4, dx: &T4, forward: impl Fn(&T4) -> T4) {
    check_gradient(name, &x.data, &dx.data, |data| {
        dot(
            &forward(&T4 {
                data: data.to_vec(),
                ..*x
            })
            .data,
            &dy.data,
        )
    });
}

fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * (1.0 + b.abs()),
            "element {i}: {a} against {b}"
        );
    }
}

/// (channels, batch, height, width): odd sizes, one channel, batch 1.
const SHAPES: [(usize, usize, usize, usize); 4] = [(1, 1, 5, 5), (3, 2, 7, 4), (2, 3, 6, 9), (4, 1, 8, 8)];

/// (K, stride, pad, dilation) of every convolution of the space, the stems and the auxiliary head.
const WINDOWS: [(usize, usize, usize, usize); 10] = [
    (1, 1, 0, 1),
    (1, 2, 0, 1),
    (2, 1, 0, 1),
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (3, 1, 2, 2),
    (3, 2, 2, 2),
    (5, 1, 2, 1),
    (5, 2, 2, 1),
    (5, 2, 4, 2),
];

#[test]
fn dense_convolution_gradients() {
    for (s, &(c, n, h, w)) in SHAPES.iter().enumerate() {
        for (k, stride, pad, dilation) in WINDOWS {
            let win = Window {
                k,
                stride,
                pad,
                dilation,
            };
            let co = 1 + s;
            let (x, weight) = (tensor(1, c, n, h, w), noise(2, co * c * k * k));
            let y = conv::forward(&x, &weight, co, win);
            let dy = tensor(3, y.c, y.n, y.h, y.w);
            let (dx, dw) = conv::backward(&x, &weight, &dy, win);
            check_input("conv dx", &x, &dy, &dx, |x| conv::forward(x, &weight, co, win));
            check_gradient("conv dw", &weight, &dw, |w| {
                dot(&conv::forward(&x, w, co, win).data, &dy.data)
            });
        }
    }
}

#[test]
fn depthwise_convolution_gradients() {
    for (c, n, h, w) in SHAPES {
        for (k, stride, pad, dilation) in WINDOWS {
            let win = Window {
                k,
                stride,
                pad,
                dilation,
            };
            let (x, weight) = (tensor(1, c, n, h, w), noise(2, c * k * k));
            let y = depthwise::forward(&x, &weight, win);
            let dy = tensor(3, y.c, y.n, y.h, y.w);
            let (dx, dw) = depthwise::backward(&x, &weight, &dy, win);
            check_input("depthwise dx", &x, &dy, &dx, |x| {
                depthwise::forward(x, &weight, win)
            });
            check_gradient("depthwise dw", &weight, &dw, |w| {
                dot(&depthwise::forward(&x, w, win).data, &dy.data)
            });
        }
    }
}

/// A depthwise convolution is a dense one whose weights are zero off the diagonal; a pointwise one is a
/// dense one with K = 1.
#[test]
fn depthwise_and_pointwise_are_dense_convolutions() {
    let (x, win) = (
        tensor(1, 3, 2, 7, 6),
        Window {
            k: 3,
            stride: 2,
            pad: 2,
            dilation: 2,
        },
    );
    let weight = noise(2, 27);
    let mut diagonal = vec![0.0; 3 * 27];
    for c in 0..3 {
        diagonal[(c * 3 + c) * 9..][..9].copy_from_slice(&weight[c * 9..][..9]);
    }
    close(
        &depthwise::forward(&x, &weight, win).data,
        &conv::forward(&x, &diagonal, 3, win).data,
        1e-15,
    );

    let (weight, point) = (
        noise(3, 12),
        Window {
            k: 1,
            stride: 1,
            pad: 0,
            dilation: 1,
        },
    );
    close(
        &pointwise::forward(&x, &weight, 4).data,
        &conv::forward(&x, &weight, 4, point).data,
        1e-15,
    );
}

#[test]
fn dense_convolution_by_hand() {
    // A 2x2 image, a 3x3 kernel 1..9, pad 1: the centre of the window is weight 5.
    let x = T4 {
        c: 1,
        n: 1,
        h: 2,
        w: 2,
        data: vec![1.0, 10.0, 100.0, 1000.0],
    };
    let weight: Vec<f64> = (1..10).map(f64::from).collect();
    let y = conv::forward(
        &x,
        &weight,
        1,
        Window {
            k: 3,
            stride: 1,
            pad: 1,
            dilation: 1,
        },
    );
    assert_eq!(y.data, [9865.0, 8754.0, 6532.0, 5421.0]);
}

#[test]
fn pointwise_convolution_gradients() {
    for (s, &(c, n, h, w)) in SHAPES.iter().enumerate() {
        let co = 1 + s;
        let (x, weight, dy) = (tensor(1, c, n, h, w), noise(2, co * c), tensor(3, co, n, h, w));
        let (dx, dw) = pointwise::backward(&x, &weight, &dy);
        check_input("pointwise dx", &x, &dy, &dx, |x| {
            pointwise::forward(x, &weight, co)
        });
        check_gradient("pointwise dw", &weight, &dw, |w| {
            dot(&pointwise::forward(&x, w, co).data, &dy.data)
        });
    }
}

#[test]
fn subsample_takes_even_then_odd_positions() {
    let x = T4 {
        c: 1,
        n: 1,
        h: 4,
        w: 4,
        data: (0..16).map(f64::from).collect(),
    };
    assert_eq!(
        subsample::forward(&x).data,
        [0.0, 2.0, 8.0, 10.0, 5.0, 7.0, 13.0, 15.0]
    );
    let (x, dy) = (tensor(1, 3, 2, 6, 8), tensor(2, 6, 2, 3, 4));
    check_input(
        "subsample",
        &x,
        &dy,
        &subsample::backward(&dy),
        subsample::forward,
    );
}

#[test]
fn max_pool_gradients() {
    for (c, n, h, w) in SHAPES {
        for stride in [1, 2] {
            let x = without_kinks(1, c, n, h, w);
            let (y, winners) = max_pool::forward(&x, stride);
            let dy = tensor(2, y.c, y.n, y.h, y.w);
            let dx = max_pool::backward(&x, &winners, &dy);
            check_input("max pool", &x, &dy, &dx, |x| max_pool::forward(x, stride).0);
        }
    }
}

#[test]
fn max_pool_gives_a_tie_to_the_first() {
    let flat = T4 {
        c: 1,
        n: 1,
        h: 3,
        w: 3,
        data: vec![0.0; 9],
    };
    assert_eq!(max_pool::forward(&flat, 1).1, [0, 0, 1, 0, 0, 1, 3, 3, 4]);
    assert_eq!(max_pool::forward(&flat, 2).1, [0, 1, 3, 4]);
    // All negative: the padding is not a zero that wins.
    let x = T4 {
        c: 1,
        n: 1,
        h: 2,
        w: 2,
        data: vec![-4.0, -2.0, -2.0, -3.0],
    };
    let (y, winners) = max_pool::forward(&x, 1);
    assert_eq!((y.data, winners), (vec![-2.0; 4], vec![1; 4]));
}

#[test]
fn average_pool_gradients() {
    for (c, n, h, w) in SHAPES {
        let five = |stride| Window {
            k: 5,
            stride,
            pad: 0,
            dilation: 1,
        };
        for win in [avg_pool::window(1), avg_pool::window(2), five(2), five(3)] {
            if h.min(w) < win.k - 2 * win.pad {
                continue;
            }
            let x = tensor(1, c, n, h, w);
            let y = avg_pool::forward(&x, win);
            let dy = tensor(2, y.c, y.n, y.h, y.w);
            check_input("avg pool", &x, &dy, &avg_pool::backward(&x, &dy, win), |x| {
                avg_pool::forward(x, win)
            });
        }
    }
}

#[test]
fn average_pool_does_not_count_padding() {
    let x = T4 {
        c: 1,
        n: 1,
        h: 3,
        w: 3,
        data: (1..10).map(f64::from).collect(),
    };
    // Corners divide by 4, edges by 6, the centre by 9.
    let expected = [
        12.0 / 4.0,
        21.0 / 6.0,
        16.0 / 4.0,
        27.0 / 6.0,
        5.0,
        33.0 / 6.0,
        24.0 / 4.0,
        39.0 / 6.0,
        7.0,
    ];
    close(&avg_pool::forward(&x, avg_pool::window(1)).data, &expected, 1e-15);
    close(
        &avg_pool::forward(&x, avg_pool::window(2)).data,
        &[3.0, 4.0, 6.0, 7.0],
        1e-15,
    );
}

#[test]
fn adaptive_pool_bins_and_gradients() {
    // Five lines: bins 0..3 and 2..5 share line 2. One line: both bins hold it.
    let x = T4 {
        c: 1,
        n: 1,
        h: 1,
        w: 5,
        data: vec![1.0, 2.0, 6.0, 4.0, 5.0],
    };
    assert_eq!(adaptive_pool::forward(&x).data, [3.0, 5.0, 3.0, 5.0]);
    for (c, n, h, w) in SHAPES {
        let (x, dy) = (tensor(1, c, n, h, w), tensor(2, c, n, 2, 2));
        check_input(
            "adaptive",
            &x,
            &dy,
            &adaptive_pool::backward(&x, &dy),
            adaptive_pool::forward,
        );
    }
}

#[test]
fn batch_norm_by_hand() {
    // Values 1, 2, 3, 6: mean 3, biased variance 3.5, unbiased 14/3.
    let x = T4 {
        c: 1,
        n: 2,
        h: 1,
        w: 2,
        data: vec![1.0, 2.0, 3.0, 6.0],
    };
    let stats = batch_norm::statistics(&x);
    assert_eq!((stats.mean[0], stats.var[0]), (3.0, 3.5));
    let rstd = 1.0 / (3.5f64 + 1e-5).sqrt();
    let y = batch_norm::forward(&x, &stats, Some((&[2.0], &[0.5])));
    close(
        &y.data,
        &[0.5 - 4.0 * rstd, 0.5 - 2.0 * rstd, 0.5, 0.5 + 6.0 * rstd],
        1e-15,
    );
    let running = batch_norm::Stats {
        mean: vec![10.0],
        var: vec![2.0],
    };
    let after = batch_norm::update_running(&running, &stats, 4);
    close(&after.mean, &[9.0 + 0.3], 1e-15);
    close(&after.var, &[1.8 + 0.1 * 14.0 / 3.0], 1e-15);
}

#[test]
fn batch_norm_gradients() {
    for (c, n, h, w) in SHAPES {
        let (x, dy) = (tensor(1, c, n, h, w), tensor(2, c, n, h, w));
        let (gamma, beta) = (noise(3, c), noise(4, c));
        let train =
            |x: &T4, g: &[f64], b: &[f64]| batch_norm::forward(x, &batch_norm::statistics(x), Some((g, b)));
        let grads = batch_norm::backward(&x, &batch_norm::statistics(&x), Some(&gamma), &dy);
        check_input("bn dx", &x, &dy, &grads.dx, |x| train(x, &gamma, &beta));
        check_gradient("bn dgamma", &gamma, &grads.dgamma, |g| {
            dot(&train(&x, g, &beta).data, &dy.data)
        });
        check_gradient("bn dbeta", &beta, &grads.dbeta, |b| {
            dot(&train(&x, &gamma, b).data, &dy.data)
        });

        let plain = batch_norm::backward(&x, &batch_norm::statistics(&x), None, &dy);
        check_input("plain bn", &x, &dy, &plain.dx, |x| {
            batch_norm::forward(x, &batch_norm::statistics(x), None)
        });

        let running = batch_norm::Stats {
            mean: noise(5, c),
            var: noise(6, c).iter().map(|v| v + 1.5).collect(),
        };
        let eval = |x: &T4, g: &[f64], b: &[f64]| batch_norm::forward(x, &running, Some((g, b)));
        let grads = batch_norm::backward_eval(&x, &running, Some(&gamma), &dy);
        check_input("eval bn dx", &x, &dy, &grads.dx, |x| eval(x, &gamma, &beta));
        check_gradient("eval bn dgamma", &gamma, &grads.dgamma, |g| {
            dot(&eval(&x, g, &beta).data, &dy.data)
        });
        check_gradient("eval bn dbeta", &beta, &grads.dbeta, |b| {
            dot(&eval(&x, &gamma, b).data, &dy.data)
        });
    }
}

#[test]
fn relu_gradients_and_zero() {
    for (c, n, h, w) in SHAPES {
        let (x, dy) = (without_kinks(1, c, n, h, w), tensor(2, c, n, h, w));
        check_input("relu", &x, &dy, &relu::backward(&x, &dy), relu::forward);
    }
    let x = T4 {
        c: 1,
        n: 1,
        h: 1,
        w: 3,
        data: vec![-1.0, 0.0, 2.0],
    };
    let dy = T4 {
        data: vec![5.0; 3],
        ..x
    };
    assert_eq!(relu::forward(&x).data, [0.0, 0.0, 2.0]);
    assert_eq!(relu::backward(&x, &dy).data, [0.0, 0.0, 5.0]);
}

#[test]
fn node_sum_with_and_without_factors() {
    let (a, b, dy) = (
        tensor(1, 2, 3, 3, 2),
        tensor(2, 2, 3, 3, 2),
        tensor(3, 2, 3, 3, 2),
    );
    let mask = [0.0, 1.25, 1.25];
    for factors in [
        [None, None],
        [Some(&mask[..]), None],
        [Some(&mask[..]), Some(&mask[..])],
    ] {
        let [da, db] = node_sum::backward(&dy, factors);
        check_input("term a", &a, &dy, &da, |a| node_sum::forward(a, &b, factors));
        check_input("term b", &b, &dy, &db, |b| node_sum::forward(&a, b, factors));
    }
    let y = node_sum::forward(&a, &b, [Some(&mask), None]);
    assert_eq!(
        y.at(1, 0, 2, 1),
        b.at(1, 0, 2, 1),
        "example 0 of term a is dropped"
    );
    assert_eq!(y.at(1, 2, 2, 1), 1.25 * a.at(1, 2, 2, 1) + b.at(1, 2, 2, 1));
}

#[test]
fn concat_and_slice_are_inverse() {
    let (a, b) = (tensor(1, 2, 3, 3, 2), tensor(2, 4, 3, 3, 2));
    let y = concat::forward(&[&a, &b]);
    assert_eq!((y.c, concat::slice(&y, 0, 2), concat::slice(&y, 2, 4)), (6, a, b));
    let dy = tensor(3, 3, 3, 3, 2);
    check_input("slice", &y, &dy, &concat::slice_backward(&y, 1, &dy), |x| {
        concat::slice(x, 1, 3)
    });
}

#[test]
fn head_gradients() {
    for (c, n, h, w) in SHAPES {
        let (x, dy) = (tensor(1, c, n, h, w), tensor(2, c, n, 1, 1));
        check_input(
            "global pool",
            &x,
            &dy,
            &global_pool::backward(&x, &dy),
            global_pool::forward,
        );

        let (x, weight, bias, dy) = (
            tensor(1, c, n, 1, 1),
            noise(2, 5 * c),
            noise(3, 5),
            tensor(4, 5, n, 1, 1),
        );
        let grads = linear::backward(&x, &weight, &dy);
        check_input("linear dx", &x, &dy, &grads.dx, |x| {
            linear::forward(x, &weight, &bias)
        });
        check_gradient("linear dw", &weight, &grads.dw, |w| {
            dot(&linear::forward(&x, w, &bias).data, &dy.data)
        });
        check_gradient("linear db", &bias, &grads.db, |b| {
            dot(&linear::forward(&x, &weight, b).data, &dy.data)
        });

        let (z, labels) = (tensor(5, 5, n, 1, 1), [3, 0, 4]);
        let loss = |z: &[f64]| {
            let z = T4 {
                c: 5,
                n,
                h: 1,
                w: 1,
                data: z.to_vec(),
            };
            -cross_entropy::log_likelihood(&z, &labels[..n])
                .iter()
                .sum::<f64>()
                / n as f64
        };
        check_gradient(
            "cross entropy",
            &z.data,
            &cross_entropy::backward(&z, &labels[..n]).data,
            loss,
        );
    }
}

#[test]
fn log_likelihood_by_hand() {
    // Probabilities 1/4 and 3/4; and logits whose exponentials overflow.
    let z = T4 {
        c: 2,
        n: 2,
        h: 1,
        w: 1,
        data: vec![0.0, 1000.0, 3f64.ln(), 0.0],
    };
    close(
        &cross_entropy::log_likelihood(&z, &[1, 0]),
        &[0.75f64.ln(), 0.0],
        1e-15,
    );
    assert_eq!(cross_entropy::log_likelihood(&z, &[1, 1])[1], -1000.0);
    close(
        &cross_entropy::backward(&z, &[1, 0]).data,
        &[0.125, 0.0, -0.125, 0.0],
        1e-15,
    );
}

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
    let sgd = sgd::Sgd {
        lr: 0.1,
        momentum: 0.9,
        weight_decay: 0.01,
    };
    let (mut v, mut buf) = (vec![2.0], vec![0.0]);
    sgd::step(&mut v, &mut buf, &[4.0], 0.5, sgd);
    close(&[buf[0], v[0]], &[2.02, 1.798], 1e-15);
    sgd::step(&mut v, &mut buf, &[-1.0], 1.0, sgd);
    close(&[buf[0], v[0]], &[0.83598, 1.714402], 1e-15);
}

#[test]
fn adam_by_hand() {
    let adam = adam::Adam {
        lr: 0.1,
        betas: (0.5, 0.999),
        eps: 1e-8,
    };
    let (mut x, mut m, mut v) = (vec![0.0], vec![0.0], vec![0.0]);
    adam::ascend(&mut x, &mut m, &mut v, &[2.0], 1, adam);
    // Both moments unbiased are those of the only gradient: a step of lr upwards.
    close(
        &[m[0], v[0], x[0]],
        &[1.0, 0.004, 0.1 * 2.0 / (2.0 + 1e-8)],
        1e-12,
    );
    adam::ascend(&mut x, &mut m, &mut v, &[-1.0], 2, adam);
    // m = 0.5·1 − 0.5·1 = 0: the logit stays.
    close(
        &[m[0], v[0], x[0]],
        &[0.0, 0.004996, 0.1 * 2.0 / (2.0 + 1e-8)],
        1e-12,
    );
    adam::ascend(&mut x, &mut m, &mut v, &[1.0], 3, adam);
    let second: f64 = (0.004996 * 0.999 + 0.001) / (1.0 - 0.999f64.powi(3));
    close(&x, &[0.1 + 0.1 * (0.5 / 0.875) / second.sqrt()], 1e-8);
}
