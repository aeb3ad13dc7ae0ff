//! Whole steps on an adapter: the update against the oracle, resuming with the same bits, evaluation.

use std::sync::Arc;

use crate::with;
use parsec_nas::config::Memory;
use parsec_nas::data::{Augment, BatchSource, Normalisation, Split, eval_batches};
use parsec_nas::files::tensors::Tensors;
use parsec_nas::gpu::Child;
use parsec_nas::graph::{Lowering, Mode};
use parsec_nas::kernel::Buf;
use parsec_nas::reference::T4;
use parsec_nas::reference::cross_entropy;
use parsec_nas::reference::network::{self, evaluate};
use parsec_nas::train::weights::Prefixes;
use parsec_nas::train::{Phases, TrainRecord, Trained, Training, network_spec, schedule};
use toml::Value;

use super::super::replay::{close, numbers, open};
use super::{batch_in_f64, config, dataset, in_f64, net, training};

fn run(training: &mut Training, steps: usize) -> Vec<TrainRecord> {
    let timeless = |r: TrainRecord| TrainRecord { seconds: Phases::default(), ..r };
    (0..steps).map(|_| timeless(training.step().unwrap())).collect()
}

#[test]
fn the_loss_falls() {
    let Some(mut training) = training(config(&[("steps", 60.into())])) else { return };
    let records = run(&mut training, 60);
    let mean = |part: &[TrainRecord]| part.iter().map(|r| r.loss).sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&records[..6]), mean(&records[54..]));
    assert!(last < 0.6 * first, "{first} -> {last}");
    let steps: Vec<u64> = records.iter().map(|r| r.step).collect();
    assert_eq!(steps, (1..=60).collect::<Vec<_>>());
    assert_eq!(
        records.iter().map(|r| r.epoch).collect::<Vec<_>>(),
        (0..60).map(|s| s / 6 + 1).collect::<Vec<u64>>()
    );
    // Held-out images are evaluated at the end of every epoch, and only there.
    for r in &records {
        assert_eq!(r.held_out_accuracy.is_some(), r.step % 6 == 0, "step {}", r.step);
    }
    assert_eq!(training.score_now(), records[59].held_out_accuracy);
}

/// One step with momentum, drop-path, auxiliary head, weight decay and clipping, against the oracle.
#[test]
fn a_step_is_the_reference_s() {
    let c = config(&[
        ("drop_path", 0.5.into()),
        ("auxiliary", 0.4.into()),
        ("weight_decay", 0.01.into()),
        ("grad_clip", 0.5.into()),
    ]);
    let Some(mut training) = training(c.clone()) else { return };
    // The second epoch drops paths.
    run(&mut training, 6);
    let before = training.snapshot().unwrap();
    let weights = training.weights().unwrap();
    let weights = in_f64(&mut training, &weights);
    let record = run(&mut training, 1).remove(0);
    let after = training.snapshot().unwrap();

    let data = dataset();
    let all = (0..48).collect();
    let normalisation = Normalisation::of(&data.train);
    let source = BatchSource::new(
        Arc::clone(&data),
        all,
        Split::Train,
        8,
        c.session.seed,
        Augment::NONE,
        &normalisation,
    )
    .unwrap();
    let mut batch = batch_in_f64(&source.batch(6).unwrap());
    assert_eq!(record.drop_path, 0.25);
    let factors = schedule::drop_path_factors(0.25, c.session.seed, 6, 3 * 8, 8);
    for (i, mask) in factors.chunks_exact(8).enumerate() {
        batch.drop_path.insert(i, mask.iter().map(|f| f64::from(*f)).collect());
    }
    let outcome = evaluate(&net(&c), &weights, &batch, network::Mode::Train, true).unwrap();
    close("loss", &[record.loss], &[-outcome.log_likelihood.iter().sum::<f64>() / 8.0], 1e-4);
    let norm = outcome.grads.values().flat_map(|(_, g)| g).map(|g| g * g).sum::<f64>().sqrt();
    close("norm of the gradient", &[record.grad_norm], &[norm], 1e-3);
    let clip = (0.5 / (norm + 1e-6)).min(1.0);
    assert!(clip < 1.0, "the test is to clip: {norm}");
    close("clip factor", &[record.clip_factor], &[clip], 1e-3);

    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for (name, (_, gradient)) in &outcome.grads {
        let v = numbers(&before, &format!("v.{name}"));
        let momentum = numbers(&before, &format!("momentum.{name}"));
        let moved = numbers(&after, &format!("v.{name}"));
        for (i, g) in gradient.iter().enumerate() {
            found.push(moved[i] - v[i]);
            expected.push(-record.lr * (0.9 * momentum[i] + clip * g + 0.01 * v[i]));
        }
    }
    let parameters = before.keys().filter(|name| name.starts_with("v.")).count();
    assert_eq!(outcome.grads.len(), parameters);
    close("update", &found, &expected, 1e-3);
    for (name, (_, running)) in &outcome.running {
        close(name, &numbers(&after, &format!("state.{name}")), running, 1e-4);
    }
    assert_eq!(numbers(&after, "state.stem.1.num_batches_tracked"), [7.0]);
}

/// The gradient of the logits is softmax − target. The test reads it from the gradients of the biases of both
/// classifiers.
#[test]
fn label_smoothing_reaches_both_heads() {
    let (smoothing, weight) = (0.2, 0.3);
    let c = config(&[("label_smoothing", smoothing.into()), ("auxiliary", weight.into())]);
    let Some(mut training) = training(c.clone()) else { return };
    run(&mut training, 2);
    let data = dataset();
    let normalisation = Normalisation::of(&data.train);
    let batch = eval_batches(&data.train, &normalisation, 8).unwrap().next().unwrap().unwrap();
    let network = training.network();
    network.upload(0, &batch.images, &batch.labels).unwrap();
    let net = net(&c);
    let child = |mode| Child::new(&net, mode, 0);
    network.run(child(Mode::Train)).unwrap();
    let result = network.last_result(0).unwrap();
    let grad = network.read_all(Buf::Grad).unwrap();
    let labels: Vec<usize> = batch.labels.iter().map(|l| *l as usize).collect();
    let heads = [("classifier.bias", 0, 1.0), ("auxiliary_head.classifier.bias", 1, weight)];
    let logits = heads.map(|(_, which, _)| {
        let z: Vec<f64> = network.logits(which, 0).unwrap().iter().map(|z| f64::from(*z)).collect();
        T4::from_nchw(8, 10, 1, 1, &z)
    });
    for ((name, _, weight), z) in heads.iter().zip(&logits) {
        let dz = cross_entropy::smoothed_backward(z, &labels, smoothing);
        let expected: Vec<f64> = dz.data.chunks_exact(8).map(|k| weight * k.iter().sum::<f64>()).collect();
        let found = network.layout().get(name).unwrap().unpack(&grad);
        close(name, &found.iter().map(|g| f64::from(*g)).collect::<Vec<_>>(), &expected, 1e-4);
    }
    let found: Vec<f64> = result.log_likelihood.iter().map(|l| f64::from(*l)).collect();
    close("smoothed", &found, &cross_entropy::smoothed(&logits[0], &labels, smoothing), 1e-5);
    // Evaluation does not use label smoothing.
    network.run(child(Mode::Likelihood)).unwrap();
    let found: Vec<f64> =
        network.last_result(0).unwrap().log_likelihood.iter().map(|l| f64::from(*l)).collect();
    close("plain", &found, &cross_entropy::log_likelihood(&logits[0], &labels), 1e-5);
}

/// Settings that turn on everything that draws random numbers.
fn everything() -> Vec<(&'static str, Value)> {
    vec![
        ("drop_path", 0.4.into()),
        ("auxiliary", 0.4.into()),
        ("label_smoothing", 0.1.into()),
        ("cutout", 6.into()),
        ("crop_pad", 2.into()),
        ("flip", true.into()),
        ("jitter", 0.4.into()),
        ("hue", 0.2.into()),
        ("resized_crop", true.into()),
    ]
}

#[test]
fn less_memory_gives_the_same_bits() {
    let low = with(config(&everything()), |c| c.session.memory = Memory::Low);
    let Some(mut low) = training(low) else { return };
    let mut normal = training(config(&everything())).unwrap();
    let arena = |records: &[TrainRecord]| records.iter().map(|r| r.arena_bytes).max().unwrap();
    let (less, more) = (run(&mut low, 3), run(&mut normal, 3));
    assert!(arena(&less) < arena(&more), "{} and {} bytes", arena(&less), arena(&more));
    assert_eq!(low.snapshot().unwrap(), normal.snapshot().unwrap());
}

#[test]
fn going_on_from_a_snapshot_is_bit_for_bit() {
    let c = config(&everything());
    let Some(mut unbroken) = training(c.clone()) else { return };
    let mut records = run(&mut unbroken, 7);
    let middle = unbroken.snapshot().unwrap();
    records.extend(run(&mut unbroken, 3));
    let end = unbroken.snapshot().unwrap();

    // Another training, which has other weights, another step and another number of threads, continues from the state.
    let mut resumed = training(with(c, |c| c.session.threads = 3)).unwrap();
    run(&mut resumed, 1);
    resumed.restore(7, &middle).unwrap();
    assert_eq!(resumed.snapshot().unwrap(), middle);
    assert_eq!(run(&mut resumed, 3), records[7..]);
    assert_eq!(resumed.snapshot().unwrap(), end);

    for name in ["v.stem.0.weight", "momentum.classifier.bias", "state.stem.1.running_var"] {
        let mut broken = middle.clone();
        broken.remove(name);
        let error = resumed.restore(7, &broken).unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn evaluation_is_the_reference_s_and_changes_nothing() {
    let c = config(&[("auxiliary", 0.4.into())]);
    let Some(mut training) = training(c.clone()) else { return };
    run(&mut training, 5);
    let before = training.snapshot().unwrap();
    let found = training.evaluate().unwrap();
    assert_eq!(training.snapshot().unwrap(), before);

    let data = dataset();
    let weights = training.weights().unwrap();
    let numbers = in_f64(&mut training, &weights);
    let net = net(&c);
    let (mut sum, mut n_correct, mut logits) = (0.0, 0, Vec::new());
    let normalisation = Normalisation::of(&data.train);
    for batch in eval_batches(&data.test, &normalisation, 8).unwrap().map(Result::unwrap) {
        let batch = batch_in_f64(&batch);
        let outcome = evaluate(&net, &numbers, &batch, network::Mode::Eval, false).unwrap();
        sum += outcome.log_likelihood.iter().sum::<f64>();
        for (z, label) in outcome.logits.chunks_exact(10).zip(&batch.labels) {
            n_correct += usize::from((0..10).all(|k| k == *label || z[k] < z[*label]));
        }
        logits.extend(outcome.logits);
    }
    assert_eq!((found.n, found.n_correct), (20, n_correct));
    close("mean log-likelihood", &[found.mean_log_likelihood], &[sum / 20.0], 1e-5);

    // A network that is made from the tensors of a file gives the same logits, also with batches of another size.
    let tensors: Tensors = weights.to_tensors(training.network().layout(), Prefixes::PLAIN);
    let super::Settings { space, alpha, .. } = super::settings(c.clone(), normalisation.clone());
    let spec = network_spec(&c, &space, &data);
    let path = std::path::Path::new("w.safetensors");
    let gpu = open().unwrap();
    let mut trained = Trained::new(spec, alpha, (&tensors, path), gpu, Lowering::default()).unwrap();
    let images: Vec<f32> =
        eval_batches(&data.test, &normalisation, 20).unwrap().next().unwrap().unwrap().images;
    let alone = trained.logits(&images).unwrap();
    close("logits", &alone.iter().map(|z| f64::from(*z)).collect::<Vec<_>>(), &logits, 1e-4);
    let (evaluation, detail) = trained.evaluate(&data.test, &normalisation, 7).unwrap();
    assert_eq!(evaluation.n_correct, n_correct);
    let matrix = detail.matrix();
    assert_eq!((0..10).map(|k| matrix[k][k]).sum::<u64>(), n_correct as u64);
    let per_class = detail.per_class();
    for (class, row) in matrix.iter().enumerate() {
        let n = data.test.labels.iter().filter(|l| usize::from(**l) == class).count() as u64;
        assert_eq!(row.iter().sum::<u64>(), n);
        assert_eq!(per_class[class], (n, row[class]));
    }
    let top5 = alone.chunks_exact(10).zip(&data.test.labels).filter(|(z, label)| {
        let mut order: Vec<usize> = (0..10).collect();
        order.sort_by(|a, b| z[*b].partial_cmp(&z[*a]).unwrap());
        order[..5].contains(&usize::from(**label))
    });
    assert_eq!(detail.n_top5, top5.count());
    let speed = trained.speed(4).unwrap();
    assert!(speed.latency_seconds > 0.0 && speed.images_per_second > 0.0 && speed.batch == 4);
}

#[test]
fn a_loss_that_is_no_number_stops_before_the_weights_change() {
    let Some(mut training) = training(config(&[])) else { return };
    run(&mut training, 1);
    let mut weights = training.weights().unwrap();
    let bias = training.network().layout().get("classifier.bias").unwrap().param;
    weights.v[bias.offset as usize] = f32::NAN;
    training.set_weights(&weights).unwrap();
    let error = training.step().unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("step 2"), "{error}");
    let after = training.weights().unwrap();
    assert!(after.v.iter().zip(&weights.v).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_eq!(training.steps_done(), 1);
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_runs() {
    let refused = |changes: &[(&str, Value)]| {
        let data = dataset();
        let normalisation = Normalisation::of(&data.train);
        let settings = super::settings(config(changes), normalisation);
        let error = Training::new(settings, data, open()?).err().unwrap();
        Some((error.exit_code(), error.to_string()))
    };
    let Some((code, message)) = refused(&[("batch", 49.into())]) else { return };
    assert!(code == 2 && message.contains("48"), "{message}");
    let (code, message) = refused(&[("stem", "imagenet".into())]).unwrap();
    assert!(code == 2 && message.contains("image size"), "{message}");
}
