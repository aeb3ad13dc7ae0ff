//! Convolutions: every window of the networks, odd sizes, one channel, batch 1.

use parsec_nas::reference::{T4, Window, conv, depthwise, pointwise};

use super::{SHAPES, check_gradient, check_input, close, dot, noise, tensor};

/// (K, stride, pad, dilation) of every convolution of the spaces, the stems and the auxiliary head.
const WINDOWS: [(usize, usize, usize, usize); 12] = [
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
    (7, 1, 3, 1),
    (7, 2, 3, 1),
];

#[test]
fn dense_convolution_gradients() {
    for (s, &(c, n, h, w)) in SHAPES.iter().enumerate() {
        for (k, stride, pad, dilation) in WINDOWS {
            let win = Window { k, stride, pad, dilation };
            let co = 1 + s;
            let (x, weight) = (tensor(1, c, n, h, w), noise(2, co * c * k * k));
            let y = conv::forward(&x, &weight, co, win);
            let dy = tensor(3, y.c, y.n, y.h, y.w);
            let (dx, dw) = conv::backward(&x, &weight, &dy, win);
            check_input("conv dx", &x, &dy, &dx, |x| conv::forward(x, &weight, co, win));
            check_gradient("conv dw", &weight, &dw, |w| dot(&conv::forward(&x, w, co, win).data, &dy.data));
        }
    }
}

#[test]
fn depthwise_convolution_gradients() {
    for (c, n, h, w) in SHAPES {
        for (k, stride, pad, dilation) in WINDOWS {
            let win = Window { k, stride, pad, dilation };
            let (x, weight) = (tensor(1, c, n, h, w), noise(2, c * k * k));
            let y = depthwise::forward(&x, &weight, win);
            let dy = tensor(3, y.c, y.n, y.h, y.w);
            let (dx, dw) = depthwise::backward(&x, &weight, &dy, win);
            check_input("depthwise dx", &x, &dy, &dx, |x| depthwise::forward(x, &weight, win));
            check_gradient("depthwise dw", &weight, &dw, |w| {
                dot(&depthwise::forward(&x, w, win).data, &dy.data)
            });
        }
    }
}

/// A depthwise convolution is a dense convolution whose weights are zero off the diagonal. A pointwise convolution is a
/// dense convolution with K = 1.
#[test]
fn depthwise_and_pointwise_are_dense_convolutions() {
    let (x, win) = (tensor(1, 3, 2, 7, 6), Window { k: 3, stride: 2, pad: 2, dilation: 2 });
    let weight = noise(2, 27);
    let mut diagonal = vec![0.0; 3 * 27];
    for c in 0..3 {
        diagonal[(c * 3 + c) * 9..][..9].copy_from_slice(&weight[c * 9..][..9]);
    }
    close(&depthwise::forward(&x, &weight, win).data, &conv::forward(&x, &diagonal, 3, win).data, 1e-15);

    let (weight, point) = (noise(3, 12), Window { k: 1, stride: 1, pad: 0, dilation: 1 });
    close(&pointwise::forward(&x, &weight, 4).data, &conv::forward(&x, &weight, 4, point).data, 1e-15);
}

#[test]
fn dense_convolution_by_hand() {
    // The image is 2x2, the kernel is 3x3 with weights 1 to 9, and the padding is 1. Weight 5 is the centre of the
    // window.
    let x = T4 { c: 1, n: 1, h: 2, w: 2, data: vec![1.0, 10.0, 100.0, 1000.0] };
    let weight: Vec<f64> = (1..10).map(f64::from).collect();
    let y = conv::forward(&x, &weight, 1, Window { k: 3, stride: 1, pad: 1, dilation: 1 });
    assert_eq!(y.data, [9865.0, 8754.0, 6532.0, 5421.0]);
}

#[test]
fn pointwise_convolution_gradients() {
    for (s, &(c, n, h, w)) in SHAPES.iter().enumerate() {
        let co = 1 + s;
        let (x, weight, dy) = (tensor(1, c, n, h, w), noise(2, co * c), tensor(3, co, n, h, w));
        let (dx, dw) = pointwise::backward(&x, &weight, &dy);
        check_input("pointwise dx", &x, &dy, &dx, |x| pointwise::forward(x, &weight, co));
        check_gradient("pointwise dw", &weight, &dw, |w| dot(&pointwise::forward(&x, w, co).data, &dy.data));
    }
}

/// With the padding of an odd kernel, stride 2 gives half of the side, rounded up.
#[test]
fn strided_depthwise_by_hand() {
    // The image is a row of seven pixels. The middle row of the kernel is 1 to 7, and its other rows are over the
    // padding.
    let x = T4 { c: 1, n: 1, h: 1, w: 7, data: vec![1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6] };
    let mut weight = vec![9.0; 49];
    weight[21..28].copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let y = depthwise::forward(&x, &weight, Window { k: 7, stride: 2, pad: 3, dilation: 1 });
    assert_eq!((y.h, y.w), (1, 4));
    assert_eq!(y.data, [7_654.0, 765_432.0, 6_543_210.0, 4_321_000.0]);
    for (k, pad) in [(3, 1), (5, 2), (7, 3)] {
        for (side, want) in [(28, 14), (14, 7), (7, 4), (4, 2), (1, 1)] {
            assert_eq!(Window { k, stride: 2, pad, dilation: 1 }.outputs(side), want);
        }
    }
}
