//! Pools and the subsampling of FactorizedReduce, including ties and borders.

use parsec_nas::reference::{T4, Window, adaptive_pool, avg_pool, conv, max_pool, pointwise, subsample};

use super::{SHAPES, check_input, close, noise, tensor, without_kinks};

#[test]
fn subsample_takes_even_then_odd_positions() {
    let x = T4 { c: 1, n: 1, h: 4, w: 4, data: (0..16).map(f64::from).collect() };
    assert_eq!(subsample::forward(&x).data, [0.0, 2.0, 8.0, 10.0, 5.0, 7.0, 13.0, 15.0]);
    let (x, dy) = (tensor(1, 3, 2, 6, 8), tensor(2, 6, 2, 3, 4));
    check_input("subsample", &x, &dy, &subsample::backward(&dy), subsample::forward);
}

/// The even places are the pixels that a 1x1 convolution of stride 2 reads, also for odd sides.
#[test]
fn even_positions_are_those_of_a_strided_convolution() {
    let x = T4 { c: 1, n: 1, h: 3, w: 5, data: (0..15).map(f64::from).collect() };
    assert_eq!(subsample::even(&x).data, [0.0, 2.0, 4.0, 10.0, 12.0, 14.0]);
    let point = Window { k: 1, stride: 2, pad: 0, dilation: 1 };
    for (c, n, h, w) in SHAPES {
        let (x, weight) = (tensor(1, c, n, h, w), noise(3, 2 * c));
        let y = subsample::even(&x);
        close(&pointwise::forward(&y, &weight, 2).data, &conv::forward(&x, &weight, 2, point).data, 1e-15);
        let dy = tensor(2, y.c, y.n, y.h, y.w);
        check_input("even", &x, &dy, &subsample::even_backward(&x, &dy), subsample::even);
    }
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
    let flat = T4 { c: 1, n: 1, h: 3, w: 3, data: vec![0.0; 9] };
    assert_eq!(max_pool::forward(&flat, 1).1, [0, 0, 1, 0, 0, 1, 3, 3, 4]);
    assert_eq!(max_pool::forward(&flat, 2).1, [0, 1, 3, 4]);
    // All pixels are negative, and the padding does not win as a zero.
    let x = T4 { c: 1, n: 1, h: 2, w: 2, data: vec![-4.0, -2.0, -2.0, -3.0] };
    let (y, winners) = max_pool::forward(&x, 1);
    assert_eq!((y.data, winners), (vec![-2.0; 4], vec![1; 4]));
}

#[test]
fn average_pool_gradients() {
    for (c, n, h, w) in SHAPES {
        let five = |stride| Window { k: 5, stride, pad: 0, dilation: 1 };
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
    let x = T4 { c: 1, n: 1, h: 3, w: 3, data: (1..10).map(f64::from).collect() };
    // Corners divide by 4, edges by 6, the centre by 9.
    let expected =
        [12.0 / 4.0, 21.0 / 6.0, 16.0 / 4.0, 27.0 / 6.0, 5.0, 33.0 / 6.0, 24.0 / 4.0, 39.0 / 6.0, 7.0];
    close(&avg_pool::forward(&x, avg_pool::window(1)).data, &expected, 1e-15);
    close(&avg_pool::forward(&x, avg_pool::window(2)).data, &[3.0, 4.0, 6.0, 7.0], 1e-15);
}

#[test]
fn adaptive_pool_bins_and_gradients() {
    // With five lines the bins 0..3 and 2..5 share line 2. With one line both bins hold the line.
    let x = T4 { c: 1, n: 1, h: 1, w: 5, data: vec![1.0, 2.0, 6.0, 4.0, 5.0] };
    assert_eq!(adaptive_pool::forward(&x).data, [3.0, 5.0, 3.0, 5.0]);
    for (c, n, h, w) in SHAPES {
        let (x, dy) = (tensor(1, c, n, h, w), tensor(2, c, n, 2, 2));
        check_input("adaptive", &x, &dy, &adaptive_pool::backward(&x, &dy), adaptive_pool::forward);
    }
}
