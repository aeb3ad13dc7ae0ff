//! Files that users of PyTorch have: CIFAR as torchvision unpacks it, and weights of `torch.save`.

use std::path::{Path, PathBuf};

use parsec_nas::data::{CIFAR10, CIFAR100, LoadOptions, load, parse_cifar, parse_python_cifar};
use parsec_nas::files::pickle::{self, Value};
use parsec_nas::files::tensors::{Metadata, Tensor, Tensors, to_bytes};
use parsec_nas::files::{torch, weights};
use parsec_nas::space::{NetworkKind, StemKind};
use parsec_nas::train::weights::{Prefixes, Weights};
use tempfile::TempDir;

use super::graph::layout_of;
use super::nets::Cells;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickle")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

fn loaded(spec: &str, dir: &Path) -> parsec_nas::Result<parsec_nas::data::Dataset> {
    load(&format!("{spec}:{}", dir.display()), &LoadOptions::default())
}

/// The same images and labels come from a pickle and from a binary file.
#[test]
fn a_pickled_cifar_file_has_the_images_of_the_binary_file() {
    for (kind, name, labels) in [
        (&CIFAR10, "cifar10_batch", vec![vec![6], vec![9]]),
        (&CIFAR100, "cifar100_train", vec![vec![11, 19], vec![0, 99]]),
    ] {
        let bytes = fixture(name);
        let Value::Array(pixels) =
            pickle::parse(&bytes, Path::new(name)).unwrap().get("data").unwrap().clone()
        else {
            panic!("{name}")
        };
        let record =
            |(i, labels): (usize, &Vec<u8>)| [labels, &pixels.data[3072 * i..3072 * (i + 1)]].concat();
        let binary: Vec<u8> = labels.iter().enumerate().flat_map(record).collect();
        let images = parse_python_cifar(kind, Path::new(name), &bytes).unwrap();
        assert_eq!(images, parse_cifar(kind, Path::new(name), &binary).unwrap());
        assert_eq!((images.n, images.labels.len()), (2, 2));
    }
}

#[test]
fn the_python_version_of_cifar_is_read_from_its_folder_and_from_the_parent_folder() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("cifar-10-batches-py");
    std::fs::create_dir(&dir).unwrap();
    for i in 1..=5 {
        std::fs::write(dir.join(format!("data_batch_{i}")), fixture("cifar10_batch")).unwrap();
    }
    std::fs::write(dir.join("test_batch"), fixture("cifar10_batch")).unwrap();
    let inside = loaded("cifar10", &dir).unwrap();
    let outside = loaded("cifar10", parent.path()).unwrap();
    assert_eq!((inside.train.n, inside.test.n, &inside.train.labels[..4]), (10, 2, &[6, 9, 6, 9][..]));
    assert_eq!(inside.identity, outside.identity);
    assert_eq!(inside.class_names[6], "frog");
    // A wrong number of names belongs to another set.
    std::fs::write(dir.join("batches.meta"), fixture("cifar10_meta")).unwrap();
    let message = loaded("cifar10", &dir).unwrap_err().to_string();
    assert!(message.contains("batches.meta") && message.contains("10 names"), "{message}");
    std::fs::remove_file(dir.join("batches.meta")).unwrap();
    // A file that would call a function is refused, and the error names the function.
    std::fs::write(dir.join("data_batch_3"), fixture("attack_system_p2.pkl")).unwrap();
    let message = loaded("cifar10", &dir).unwrap_err().to_string();
    assert!(message.contains("data_batch_3") && message.contains("posix.system"), "{message}");
    // A batch of CIFAR-100 has other labels.
    std::fs::write(dir.join("data_batch_3"), fixture("cifar100_train")).unwrap();
    let message = loaded("cifar10", &dir).unwrap_err().to_string();
    assert!(message.contains("a list `labels`"), "{message}");
}

fn net() -> Tensors {
    torch::parse(&fixture("net_zip.pt"), Path::new("net")).unwrap().into_iter().collect()
}

#[test]
fn weights_are_read_whatever_their_file() {
    let path = Path::new("w");
    let net = net();
    assert!(!net.is_empty());
    for name in ["net_zip.pt", "net_legacy.pt", "under_model.pt", "checkpoint_zip.pt"] {
        let found = weights::parse(&fixture(name), path).unwrap();
        assert!(found.values().all(|t| t.data.dtype() != "F64"), "{name}");
        if name.starts_with("net") {
            assert_eq!(found, net, "{name}");
        }
    }
    // Prefixes that wrappers put before every name, one inside the other.
    for prefix in ["module._orig_mod.", "model.", "model.module."] {
        let wrapped: Tensors = net.iter().map(|(name, t)| (format!("{prefix}{name}"), t.clone())).collect();
        let bytes = to_bytes(&wrapped, &Metadata::new(), path).unwrap();
        assert_eq!(weights::parse(&bytes, path).unwrap(), net, "{prefix}");
    }
    // A prefix that only some names have is a part of these names.
    let mut mixed = net.clone();
    mixed.insert("module.x".into(), Tensor::f32(&[1], vec![1.0]));
    let bytes = to_bytes(&mixed, &Metadata::new(), path).unwrap();
    assert_eq!(weights::parse(&bytes, path).unwrap(), mixed);
}

#[test]
fn files_of_other_kinds_and_folders_are_refused_with_advice() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("w.pt");
    let others =
        [(&b""[..], "an empty file"), (b"{\"genotype\": 1}", "another kind"), (b"\x93NUMPY", "another kind")];
    for (bytes, found) in others {
        std::fs::write(&place, bytes).unwrap();
        let message = weights::read(&place).unwrap_err().to_string();
        assert!(
            message.contains("w.pt") && message.contains(found) && message.contains("torch.save"),
            "{message}"
        );
    }
    let message = weights::read(folder.path()).unwrap_err().to_string();
    assert!(message.contains("a folder") && message.contains("parsec export"), "{message}");
    // Cut files of both formats.
    let whole = to_bytes(&net(), &Metadata::new(), &place).unwrap();
    let (zip, legacy) = (fixture("net_zip.pt"), fixture("net_legacy.pt"));
    for bytes in [&whole[..whole.len() - 1], &whole[..20], &whole[..5], &zip[..900], &legacy[..300]] {
        std::fs::write(&place, bytes).unwrap();
        assert!(weights::read(&place).unwrap_err().to_string().contains("w.pt"));
    }
}

#[test]
fn floats_of_other_widths_become_32_bit_floats() {
    let path = Path::new("w");
    let wide = Tensors::from([("a".into(), Tensor::f64(&[2], vec![0.1, -3.0]))]);
    let found = weights::parse(&to_bytes(&wide, &Metadata::new(), path).unwrap(), path).unwrap();
    assert_eq!(found["a"], Tensor::f32(&[2], vec![0.1, -3.0]));
    // Bits of 1, -2.5, the smallest denormal, and the largest number.
    for (dtype, bits, values) in [
        ("F16", [0x3c00u16, 0xc100, 0x0001, 0x7bff], [1.0, -2.5, 5.960_464_5e-8, 65504.0]),
        (
            "BF16",
            [0x3f80, 0xc020, 0x0001, 0x7f7f],
            [1.0, -2.5, f32::from_bits(0x0001_0000), f32::from_bits(0x7f7f_0000)],
        ),
    ] {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[4],"data_offsets":[0,8]}}}}"#);
        let numbers = bits.iter().flat_map(|b| b.to_le_bytes());
        let bytes: Vec<u8> =
            (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(numbers).collect();
        assert_eq!(weights::parse(&bytes, path).unwrap()["a"], Tensor::f32(&[4], values.to_vec()), "{dtype}");
    }
}

/// A weight that is no finite number is refused with the tensor's name.
#[test]
fn weights_that_are_not_finite_are_refused() {
    let path = Path::new("w");
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bad = net();
        bad.insert("cells.3.weight".into(), Tensor::f32(&[3], vec![1.0, 2.0, x]));
        let bytes = to_bytes(&bad, &Metadata::new(), path).unwrap();
        let message = weights::parse(&bytes, path).unwrap_err().to_string();
        assert!(message.contains("`cells.3.weight`") && message.contains("element 2"), "{message}");
    }
    let mut bad = net();
    bad.insert("stem.1.running_var".into(), Tensor::f32(&[2], vec![0.0, -0.5]));
    let bytes = to_bytes(&bad, &Metadata::new(), path).unwrap();
    let message = weights::parse(&bytes, path).unwrap_err().to_string();
    assert!(message.contains("`stem.1.running_var`") && message.contains("-0.5 at element 1"), "{message}");
    // A 64-bit number that is finite, and too large for 32 bits.
    let huge = Tensors::from([("a".into(), Tensor::f64(&[2], vec![1.0, 1e300]))]);
    let error =
        weights::parse(&to_bytes(&huge, &Metadata::new(), path).unwrap(), path).unwrap_err().to_string();
    assert!(
        error.contains("`a`") && error.contains("32-bit") && error.contains("1e300 at element 1"),
        "{error}"
    );
}

/// From the weights of a network with other classes, a training takes all weights except those of the classifiers. The
/// classifiers start with initial weights.
#[test]
fn weights_of_other_classes_keep_everything_but_the_classifiers() {
    let genotype = parsec_nas::selftest::child::everything();
    let layout = |n_classes| {
        let spec = Cells {
            kind: NetworkKind::Final,
            stem: StemKind::Cifar,
            in_channels: 3,
            height: 32,
            width: 32,
            n_classes,
            layers: 3,
            channels: 4,
            auxiliary: true,
        };
        layout_of(&spec, &genotype)
    };
    let (theirs, ours) = (layout(7), layout(3));
    let path = Path::new("w");
    for prefixes in [Prefixes::PLAIN, Prefixes::CHECKPOINT] {
        let given = Weights::initial(&theirs, 1).to_tensors(&theirs, prefixes);
        let mut same = given.clone();
        assert_eq!(Weights::other_classes(&mut same, &theirs, 2), None);
        assert_eq!(same, given);
        let mut tuned = given.clone();
        let error = Weights::from_tensors(&tuned, path, &ours, false).unwrap_err().to_string();
        assert!(error.contains("for 3 classes") && error.contains("for 7 classes"), "{error}");
        assert_eq!(Weights::other_classes(&mut tuned, &ours, 2), Some([7, 3]));
        Weights::from_tensors(&tuned, path, &ours, false).unwrap();
        let fresh = Weights::initial(&ours, 2).to_tensors(&ours, prefixes);
        let is_new = |name: &str| name.contains("classifier.");
        assert_eq!(tuned.keys().filter(|name| is_new(name)).count(), 4);
        for (name, tensor) in &tuned {
            assert_eq!(tensor, if is_new(name) { &fresh[name] } else { &given[name] }, "{name}");
        }
    }
    // Weights of another width belong to another network.
    let mut narrow = Weights::initial(&theirs, 1).to_tensors(&theirs, Prefixes::PLAIN);
    narrow.insert("classifier.weight".into(), Tensor::f32(&[7, 5], vec![0.0; 35]));
    assert_eq!(Weights::other_classes(&mut narrow, &ours, 2), None);
}
