//! Batch norm, ReLU, sums, concatenation and the heads.

use parsec_nas::reference::{T4, batch_norm, concat, cross_entropy, global_pool, linear, node_sum, relu};

use super::{SHAPES, check_gradient, check_input, close, dot, noise, tensor, without_kinks};

#[test]
fn batch_norm_by_hand() {
    // The values 1, 2, 3, 6 have mean 3, biased variance 3.5 and unbiased variance 14/3.
    let x = T4 { c: 1, n: 2, h: 1, w: 2, data: vec![1.0, 2.0, 3.0, 6.0] };
    let stats = batch_norm::statistics(&x);
    assert_eq!((stats.mean[0], stats.var[0]), (3.0, 3.5));
    let rstd = 1.0 / (3.5f64 + 1e-5).sqrt();
    let y = batch_norm::forward(&x, &stats, Some((&[2.0], &[0.5])));
    close(&y.data, &[0.5 - 4.0 * rstd, 0.5 - 2.0 * rstd, 0.5, 0.5 + 6.0 * rstd], 1e-15);
    let running = batch_norm::Stats { mean: vec![10.0], var: vec![2.0] };
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
        check_gradient("bn dgamma", &gamma, &grads.dgamma, |g| dot(&train(&x, g, &beta).data, &dy.data));
        check_gradient("bn dbeta", &beta, &grads.dbeta, |b| dot(&train(&x, &gamma, b).data, &dy.data));

        let plain = batch_norm::backward(&x, &batch_norm::statistics(&x), None, &dy);
        check_input("plain bn", &x, &dy, &plain.dx, |x| {
            batch_norm::forward(x, &batch_norm::statistics(x), None)
        });

        let running =
            batch_norm::Stats { mean: noise(5, c), var: noise(6, c).iter().map(|v| v + 1.5).collect() };
        let eval = |x: &T4, g: &[f64], b: &[f64]| batch_norm::forward(x, &running, Some((g, b)));
        let grads = batch_norm::backward_eval(&x, &running, Some(&gamma), &dy);
        check_input("eval bn dx", &x, &dy, &grads.dx, |x| eval(x, &gamma, &beta));
        check_gradient("eval bn dgamma", &gamma, &grads.dgamma, |g| dot(&eval(&x, g, &beta).data, &dy.data));
        check_gradient("eval bn dbeta", &beta, &grads.dbeta, |b| dot(&eval(&x, &gamma, b).data, &dy.data));
    }
}

#[test]
fn relu_gradients_and_zero() {
    for (c, n, h, w) in SHAPES {
        let (x, dy) = (without_kinks(1, c, n, h, w), tensor(2, c, n, h, w));
        check_input("relu", &x, &dy, &relu::backward(&x, &dy), relu::forward);
    }
    let x = T4 { c: 1, n: 1, h: 1, w: 3, data: vec![-1.0, 0.0, 2.0] };
    let dy = T4 { data: vec![5.0; 3], ..x };
    assert_eq!(relu::forward(&x).data, [0.0, 0.0, 2.0]);
    assert_eq!(relu::backward(&x, &dy).data, [0.0, 0.0, 5.0]);
}

#[test]
fn node_sum_with_and_without_factors() {
    let (a, b, dy) = (tensor(1, 2, 3, 3, 2), tensor(2, 2, 3, 3, 2), tensor(3, 2, 3, 3, 2));
    let mask = [0.0, 1.25, 1.25];
    for factors in [[None, None], [Some(&mask[..]), None], [Some(&mask[..]), Some(&mask[..])]] {
        let [da, db] = node_sum::backward(&dy, factors);
        check_input("term a", &a, &dy, &da, |a| node_sum::forward(a, &b, factors));
        check_input("term b", &b, &dy, &db, |b| node_sum::forward(&a, b, factors));
    }
    let y = node_sum::forward(&a, &b, [Some(&mask), None]);
    assert_eq!(y.at(1, 0, 2, 1), b.at(1, 0, 2, 1), "example 0 of term a is dropped");
    assert_eq!(y.at(1, 2, 2, 1), 1.25 * a.at(1, 2, 2, 1) + b.at(1, 2, 2, 1));
}

#[test]
fn concat_and_slice_are_inverse() {
    let (a, b) = (tensor(1, 2, 3, 3, 2), tensor(2, 4, 3, 3, 2));
    let y = concat::forward(&[&a, &b]);
    assert_eq!((y.c, concat::slice(&y, 0, 2), concat::slice(&y, 2, 4)), (6, a, b));
    let dy = tensor(3, 3, 3, 3, 2);
    check_input("slice", &y, &dy, &concat::slice_backward(&y, 1, &dy), |x| concat::slice(x, 1, 3));
}

#[test]
fn head_gradients() {
    for (c, n, h, w) in SHAPES {
        let (x, dy) = (tensor(1, c, n, h, w), tensor(2, c, n, 1, 1));
        check_input("global pool", &x, &dy, &global_pool::backward(&x, &dy), global_pool::forward);

        let (x, weight, bias, dy) =
            (tensor(1, c, n, 1, 1), noise(2, 5 * c), noise(3, 5), tensor(4, 5, n, 1, 1));
        let grads = linear::backward(&x, &weight, &dy);
        check_input("linear dx", &x, &dy, &grads.dx, |x| linear::forward(x, &weight, &bias));
        check_gradient("linear dw", &weight, &grads.dw, |w| {
            dot(&linear::forward(&x, w, &bias).data, &dy.data)
        });
        check_gradient("linear db", &bias, &grads.db, |b| {
            dot(&linear::forward(&x, &weight, b).data, &dy.data)
        });

        let (z, labels) = (tensor(5, 5, n, 1, 1), [3, 0, 4]);
        let loss = |z: &[f64]| {
            let z = T4 { c: 5, n, h: 1, w: 1, data: z.to_vec() };
            -cross_entropy::log_likelihood(&z, &labels[..n]).iter().sum::<f64>() / n as f64
        };
        check_gradient("cross entropy", &z.data, &cross_entropy::backward(&z, &labels[..n]).data, loss);
        let smoothed = |z: &[f64]| {
            let z = T4 { c: 5, n, h: 1, w: 1, data: z.to_vec() };
            -cross_entropy::smoothed(&z, &labels[..n], 0.3).iter().sum::<f64>() / n as f64
        };
        let gradient = cross_entropy::smoothed_backward(&z, &labels[..n], 0.3).data;
        check_gradient("smoothed cross entropy", &z.data, &gradient, smoothed);
    }
}

#[test]
fn log_likelihood_by_hand() {
    // One example has the probabilities 1/4 and 3/4. The exponentials of the other one's logits overflow.
    let z = T4 { c: 2, n: 2, h: 1, w: 1, data: vec![0.0, 1000.0, 3f64.ln(), 0.0] };
    close(&cross_entropy::log_likelihood(&z, &[1, 0]), &[0.75f64.ln(), 0.0], 1e-15);
    assert_eq!(cross_entropy::log_likelihood(&z, &[1, 1])[1], -1000.0);
    close(&cross_entropy::backward(&z, &[1, 0]).data, &[0.125, 0.0, -0.125, 0.0], 1e-15);
    // A tenth of the target is spread over both classes, so the classes get 0.95 and 0.05.
    let spread = 0.95 * 0.75f64.ln() + 0.05 * 0.25f64.ln();
    close(&cross_entropy::smoothed(&z, &[1, 0], 0.1), &[spread, -50.0], 1e-14);
    assert_eq!(cross_entropy::smoothed(&z, &[1, 0], 0.0), cross_entropy::log_likelihood(&z, &[1, 0]));
}
