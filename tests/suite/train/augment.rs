//! Random parts of images, colours and cutout. They are as specified, and depend only on seed and step.

use std::sync::Arc;

use parsec_nas::data::{Augment, BatchSource, Dataset, Images, Normalisation, Prefetch, Split};

use super::dataset;

const SIDE: usize = 24;

/// `n` copies of a colour image whose channels are the column, the row and a constant.
fn ramps(n: usize) -> Arc<Dataset> {
    let image: Vec<u8> = (0..3 * SIDE * SIDE)
        .map(|i| match (i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE) {
            (0, _, x) => 10 * x as u8,
            (1, y, _) => 10 * y as u8,
            _ => 100,
        })
        .collect();
    let train = Images {
        n,
        channels: 3,
        height: SIDE,
        width: SIDE,
        pixels: image.repeat(n).into(),
        labels: vec![0; n],
    };
    Arc::new(Dataset { train, ..(*dataset()).clone() })
}

/// The normalisation that leaves bytes unchanged.
fn bytes() -> Normalisation {
    Normalisation { mean: vec![0.0; 3], std: vec![1.0 / 255.0; 3] }
}

fn source(data: &Arc<Dataset>, augment: Augment) -> BatchSource {
    let all = (0..data.train.n as u32).collect();
    BatchSource::new(Arc::clone(data), all, Split::Train, data.train.n, 5, augment, &bytes()).unwrap()
}

#[test]
fn resized_crops_are_parts_of_the_image_scaled_up() {
    let data = ramps(200);
    let batch = source(&data, Augment { resized_crop: true, ..Augment::NONE }).batch(0).unwrap();
    let (mut areas, mut moved) = (Vec::new(), 0);
    for image in batch.images.chunks_exact(3 * SIDE * SIDE) {
        let at = |c: usize, y: usize, x: usize| image[(c * SIDE + y) * SIDE + x] / 10.0;
        assert!(image[2 * SIDE * SIDE..].iter().all(|v| (v - 100.0).abs() < 1e-3));
        // The value is the position in the input. Away from the clamped ends, one output pixel is width/SIDE input
        // pixels.
        let (mid, next) = (SIDE / 2 - 1, SIDE / 2);
        let width = (at(0, 3, next) - at(0, 3, mid)) * SIDE as f32;
        let height = (at(1, next, 3) - at(1, mid, 3)) * SIDE as f32;
        for i in 0..SIDE - 1 {
            assert!(at(0, i, i + 1) >= at(0, i, i) && at(1, i + 1, i) >= at(1, i, i));
            assert_eq!(at(0, i, 5), at(0, 0, 5), "columns stay columns");
        }
        assert!(at(0, 0, 0) >= 0.0 && at(0, 0, SIDE - 1) <= (SIDE - 1) as f32);
        areas.push(width * height / (SIDE * SIDE) as f32);
        // Rounding moves a side by half a pixel of at least six.
        let ratio = width / height;
        assert!((0.62..1.6).contains(&ratio), "{width}x{height}");
        moved += usize::from(at(0, 0, mid) != at(1, mid, 0));
    }
    assert!(areas.iter().all(|a| (0.06..=1.001).contains(a)), "{areas:?}");
    let small = areas.iter().filter(|a| **a < 0.5).count();
    assert!((50..150).contains(&small), "{small} of 200 below half of the area");
    assert!(moved > 150);
}

#[test]
fn jitter_stays_in_range_and_leaves_what_it_should() {
    let data = ramps(100);
    let batch = source(&data, Augment { jitter: 0.4, ..Augment::NONE }).batch(0).unwrap();
    let plain = source(&data, Augment::NONE).batch(0).unwrap();
    let area = SIDE * SIDE;
    let mut changed = 0;
    for (image, before) in batch.images.chunks_exact(3 * area).zip(plain.images.chunks_exact(3 * area)) {
        assert!(image.iter().all(|v| (-1e-3..=255.001).contains(v)));
        // A constant channel stays in the range that the factors allow, because every change blends with values from 0
        // to 255.
        assert!(image[2 * area..].iter().all(|v| (100.0 * 0.6f32.powi(3)..=255.001).contains(v)));
        // The order of the values in a row of a channel stays the same.
        assert!(image[..SIDE].windows(2).all(|w| w[1] >= w[0] - 1e-3));
        changed += usize::from(image != before);
    }
    assert_eq!(changed, 100);
    let seen: std::collections::BTreeSet<u32> =
        batch.images.chunks_exact(3 * area).map(|image| image[2 * area].to_bits()).collect();
    assert!(seen.len() > 90, "{} different images of 100", seen.len());

    // The mean of the factors is 1: brightness stays on average (a value of 100 is far from both ends).
    let mean = batch.images.chunks_exact(3 * area).map(|i| f64::from(i[2 * area])).sum::<f64>() / 100.0;
    assert!((mean - 100.0).abs() < 10.0, "{mean}");
}

/// Hue in degrees, saturation and value of a colour, from its definition; no hue without saturation.
fn hsv(rgb: [f32; 3]) -> (Option<f64>, f64, f64) {
    let [r, g, b] = rgb.map(f64::from);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    // The angle around the grey axis of the hexagon's sector in which the colour lies.
    let hue = (max > min).then(|| {
        let (base, up, down) = match max {
            m if m == r => (0.0, g, b),
            m if m == g => (120.0, b, r),
            _ => (240.0, r, g),
        };
        base + 60.0 * (up - down) / (max - min)
    });
    (hue, if max > 0.0 { (max - min) / max } else { 0.0 }, max)
}

#[test]
fn hue_turns_every_colour_of_an_image_alike_and_nothing_else() {
    let data = ramps(100);
    let plain = source(&data, Augment::NONE).batch(0).unwrap();
    let batch = source(&data, Augment { hue: 0.2, ..Augment::NONE }).batch(0).unwrap();
    let area = SIDE * SIDE;
    let mut turns = Vec::new();
    for (image, before) in batch.images.chunks_exact(3 * area).zip(plain.images.chunks_exact(3 * area)) {
        let mut turn = None;
        for i in 0..area {
            let at = |image: &[f32]| hsv([0, 1, 2].map(|c| image[c * area + i]));
            let ((hue, saturation, value), (old, old_saturation, old_value)) = (at(image), at(before));
            assert!((saturation - old_saturation).abs() < 1e-4 && (value - old_value).abs() < 1e-3);
            let (Some(hue), Some(old)) = (hue, old) else {
                assert_eq!(hue, old, "grey stays grey");
                continue;
            };
            let by = (hue - old + 180.0).rem_euclid(360.0) - 180.0;
            assert!((by - *turn.get_or_insert(by)).abs() < 0.02, "{by} and {turn:?} degrees in one image");
        }
        turns.push(turn.unwrap());
    }
    assert!(turns.iter().all(|t| t.abs() <= 72.02), "{turns:?}");
    for (low, high) in [(-72.1, -36.0), (-36.0, 0.0), (0.0, 36.0), (36.0, 72.1)] {
        let there = turns.iter().filter(|t| (low..high).contains(*t)).count();
        assert!((10..45).contains(&there), "{there} of 100 turns from {low} to {high} degrees");
    }
}

#[test]
fn jitter_of_grey_images_has_no_saturation() {
    let data = dataset();
    let normalisation = Normalisation { mean: vec![0.0], std: vec![1.0 / 255.0] };
    let make = |augment| {
        let all = (0..48).collect();
        BatchSource::new(Arc::clone(&data), all, Split::Train, 48, 5, augment, &normalisation).unwrap()
    };
    let (plain, changed) = (
        make(Augment::NONE).batch(0).unwrap(),
        make(Augment { jitter: 0.3, ..Augment::NONE }).batch(0).unwrap(),
    );
    for (a, b) in plain.images.chunks_exact(256).zip(changed.images.chunks_exact(256)) {
        // Brightness and contrast are affine: equal pixels stay equal.
        for i in 1..256 {
            assert!(a[i] != a[0] || b[i] == b[0]);
        }
    }
}

#[test]
fn cutout_comes_after_everything_else() {
    let data = ramps(60);
    let augment = Augment { cutout: 8, resized_crop: true, jitter: 0.2, hue: 0.1, flip: true, crop_pad: 0 };
    let normalisation = Normalisation { mean: vec![-1.0; 3], std: vec![1.0; 3] };
    let all = (0..60).collect();
    let source = BatchSource::new(data, all, Split::Train, 60, 5, augment, &normalisation).unwrap();
    for image in source.batch(3).unwrap().images.chunks_exact(3 * SIDE * SIDE) {
        // Normalised pixels are at least 1, so that all zeros come from cutout.
        let cut: Vec<usize> = (0..SIDE * SIDE).filter(|i| image[*i] == 0.0).collect();
        assert!((16..=64).contains(&cut.len()), "{}", cut.len());
        for c in 1..3 {
            let here = (0..SIDE * SIDE).filter(|i| image[c * SIDE * SIDE + i] == 0.0);
            assert!(here.eq(cut.iter().copied()));
        }
        assert!(image.iter().all(|v| *v == 0.0 || (0.999..=2.001).contains(v)));
    }
}

#[test]
fn changes_depend_on_seed_and_step_only() {
    let data = ramps(12);
    let augment = Augment { crop_pad: 2, flip: true, cutout: 4, resized_crop: true, jitter: 0.4, hue: 0.2 };
    let make = || {
        let all = (0..12).collect();
        let source = BatchSource::new(Arc::clone(&data), all, Split::Train, 4, 5, augment, &bytes());
        Arc::new(source.unwrap())
    };
    let batches = |threads| {
        let mut prefetch = Prefetch::new(vec![make()], 2, threads).unwrap();
        (0..6).map(|_| prefetch.next().unwrap().1.remove(0)).collect::<Vec<_>>()
    };
    let one = batches(1);
    assert_eq!(one, batches(4));
    assert_eq!(one[1], make().batch(3).unwrap());
    assert_ne!(one[0].images, one[1].images);
}

/// Jitter does not change the random numbers of the crop.
#[test]
fn the_shift_is_the_same_with_and_without_jitter() {
    let data = ramps(40);
    let shift = Augment { crop_pad: 3, ..Augment::NONE };
    let (plain, both) = (
        source(&data, shift).batch(0).unwrap(),
        source(&data, Augment { jitter: 1e-6, ..shift }).batch(0).unwrap(),
    );
    for (a, b) in plain.images.iter().zip(&both.images) {
        assert!((a - b).abs() < 0.01, "{a} {b}");
    }
}
