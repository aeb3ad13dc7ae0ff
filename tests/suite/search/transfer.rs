//! `--prior-from RUN --prior-temperature T` of the program: the prior from which a search starts.

use std::path::Path;
use std::process::Command;

use crate::with;
use parsec_nas::files::tensors::{Tensor, Tensors};
use parsec_nas::run::{Manifest, RunDir, checkpoint};
use parsec_nas::space::chain::Choice;
use parsec_nas::space::transfer::carry;
use parsec_nas::space::{Chain, Darts, Primitive, Prior};
use tempfile::TempDir;

use super::super::small;
use super::{all, config};

/// Exit code and standard error of a search of one step, whose network has another size than the origin's.
fn search(folder: &Path, run: &str, more: &[&str]) -> (i32, String) {
    let args = "search --layers 3 --channels 2 --batch 40 --search-batch 40 --samples 2 --steps 1 --eval-every 0 --threads 1 -q \
                --primitives max_pool_3x3,skip_connect,sep_conv_3x3";
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args.split_whitespace()).args(["--run", run]).args(more);
    if !more.contains(&"--data") {
        command.args(["--data", small::data()]);
    }
    let out = command.current_dir(folder).env_remove("PARSEC_DEVICE").output().unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
}

/// A run folder with a prior of uneven logits over `primitives`.
fn origin(path: &Path, primitives: Vec<Primitive>) -> Tensors {
    let config = with(config(), |c| c.algorithm.primitives = primitives);
    let run = RunDir::create(path, &config, &Manifest::new(&config).unwrap()).unwrap();
    let names = ["normal", "reduce"].into_iter().flat_map(|cell| (0..4).map(move |node| (cell, node)));
    let tensor = |node: usize| {
        let pairs = 3 * (node + 2);
        Tensor::f64(&[2, pairs], (0..2 * pairs).map(|i| (i * i % 7) as f64 - 2.5).collect())
    };
    let state: Tensors = names.map(|(cell, node)| (format!("pi.{cell}.{node}"), tensor(node))).collect();
    run.checkpoints().save(0, None, &state).unwrap();
    state
}

fn start(folder: &Path, run: &str) -> Vec<f64> {
    let run = RunDir::open(&folder.join(run)).unwrap();
    all(&checkpoint::read(&run.checkpoints().path_of(0)).unwrap().state, "pi.")
}

#[test]
fn a_prior_is_softened_on_its_way_to_another_search() {
    let folder = TempDir::new().unwrap();
    let [pool, skip, conv] = [Primitive::MaxPool3x3, Primitive::SkipConnect, Primitive::SepConv3x3];
    let learnt = all(&origin(&folder.path().join("small"), vec![pool, skip, conv]), "pi.");
    origin(&folder.path().join("others"), vec![skip, pool, conv]);

    // Without a prior there is nothing to soften, and a temperature is a positive number.
    let (code, err) = search(folder.path(), "no", &["--prior-temperature", "2"]);
    assert!(code == 2 && err.contains("--prior-from") && err.contains("prior_temperature"), "{err}");
    let (code, err) = search(folder.path(), "no", &["--prior-from", "small", "--prior-temperature", "0"]);
    assert!(code == 2 && err.contains("above 0"), "{err}");
    if !super::super::gpu::has_gpu() {
        return;
    }
    for (run, temperature) in [("whole", None), ("same", Some(1.0)), ("soft", Some(4.0))] {
        let text = temperature.unwrap_or_default().to_string();
        let more = ["--prior-from", "small", "--prior-temperature", &text];
        let (code, err) = search(folder.path(), run, &more[..if temperature.is_some() { 4 } else { 2 }]);
        assert_eq!(code, 0, "{err}");
        let expected: Vec<f64> = learnt.iter().map(|logit| logit / temperature.unwrap_or(1.0)).collect();
        assert_eq!(start(folder.path(), run), expected);
    }
    // The transfer works with other data: colour images of another size in two classes.
    for class in ["a", "b"] {
        let images = folder.path().join("images").join(class);
        std::fs::create_dir_all(&images).unwrap();
        for i in 0..100u8 {
            let image = image::RgbImage::from_fn(8, 8, |x, y| {
                image::Rgb([i.wrapping_mul(x as u8), y as u8, class.as_bytes()[0]])
            });
            image.save(images.join(format!("{i}.png"))).unwrap();
        }
    }
    let more = ["--prior-from", "small", "--data", "folder:images", "--size", "8"];
    let (code, err) = search(folder.path(), "elsewhere", &more);
    assert_eq!(code, 0, "{err}");
    assert_eq!(start(folder.path(), "elsewhere"), learnt);
    // The origin has the same primitives in another order. Each logit goes to its primitive.
    let (code, err) = search(folder.path(), "swapped", &["--prior-from", "others"]);
    assert_eq!(code, 0, "{err}");
    let swapped = |logits: &[f64]| logits.chunks(3).flat_map(|p| [p[1], p[0], p[2]]).collect::<Vec<_>>();
    assert_eq!(start(folder.path(), "swapped"), swapped(&learnt));
    // A prior without common primitives is refused.
    origin(
        &folder.path().join("pools"),
        vec![Primitive::AvgPool3x3, Primitive::DilConv5x5, Primitive::DilConv3x3],
    );
    let (code, err) = search(folder.path(), "no", &["--prior-from", "pools"]);
    assert!(code == 1 && err.contains("pools") && err.contains("a slot and a choice"), "{err}");
    assert!(!folder.path().join("no").exists());
}

/// Transfers to spaces with the choices in another order, with fewer choices, and with more choices.
#[test]
fn choices_are_found_by_name() {
    let chain = |stages: &[usize], names: &[&str]| {
        let choices: Vec<Choice> = names.iter().map(|name| name.parse().unwrap()).collect();
        Chain::over(stages, &choices, None)
    };
    let from = chain(&[1, 2], &["identity", "mb3_k3", "mb6_k5"]);
    let mut prior = Prior::uniform(&from);
    prior.logits = vec![vec![0.0, 1.0, 2.0], vec![3.0, 1.0, 0.5], vec![-1.0, 0.0, 1.0]];
    let p = prior.probabilities();

    // In the same space the bits are the same.
    let same = carry(&from, &prior, &from).unwrap();
    assert_eq!((same.prior, same.n_slots, same.n_choices), (prior.clone(), [3, 3], [9, 9]));

    // With longer stages a layer is found by its stage and place, and the other layers are uniform.
    let longer = carry(&from, &prior, &chain(&[2, 2, 1], &["mb6_k5", "identity", "mb3_k3"])).unwrap();
    assert_eq!((longer.n_slots, longer.n_choices), ([3, 5], [9, 9]));
    let expected =
        [vec![2.0, 0.0, 1.0], vec![0.0; 3], vec![0.5, 3.0, 1.0], vec![1.0, -1.0, 0.0], vec![0.0; 3]];
    assert_eq!(longer.prior.logits, expected);

    // An additional choice gets its share of a uniform prior, and the others keep their ratios.
    let more = carry(&from, &prior, &chain(&[1, 2], &["identity", "mb3_k3", "mb6_k5", "mb6_k7"])).unwrap();
    assert_eq!((more.n_slots, more.n_choices), ([3, 3], [9, 12]));
    for (found, p) in more.prior.probabilities().iter().zip(&p) {
        assert!((found[3] - 0.25).abs() < 1e-12);
        (0..3).for_each(|i| assert!((found[i] - 0.75 * p[i]).abs() < 1e-12));
    }
    // If a choice is missing, the others share its probability.
    let less = carry(&from, &prior, &chain(&[1, 2], &["mb3_k3", "mb6_k5"])).unwrap();
    for (found, p) in less.prior.probabilities().iter().zip(&p) {
        assert!((found[0] - p[1] / (p[1] + p[2])).abs() < 1e-12);
    }
    assert_eq!(carry(&from, &prior, &chain(&[1, 2], &["mb4_k7"])), None);
    assert_eq!(carry(&from, &prior, &Darts::over(&[Primitive::SkipConnect])), None);

    // In cells a pair is found by its input and its primitive.
    let [few, many] =
        [&[Primitive::SkipConnect, Primitive::SepConv3x3][..], &Primitive::ALL[..]].map(Darts::over);
    let mut prior = Prior::uniform(&few);
    prior.logits.iter_mut().flatten().enumerate().for_each(|(i, logit)| *logit = (i as f64).sin());
    let there = carry(&few, &prior, &many).unwrap();
    assert_eq!(there.n_slots, [16, 16]);
    let back = carry(&many, &there.prior, &few).unwrap().prior;
    for (a, b) in back.probabilities().concat().iter().zip(prior.probabilities().concat()) {
        assert!((a - b).abs() < 1e-12);
    }
}
