//! Every parser on damaged files: no panic, no memory for sizes that a header only claims, and errors that name the
//! file.
//!
//! The parsers are the targets of `fuzz/`, and their seeds are damaged here. The suite does this for a short time, and
//! `scripts/fuzz SECONDS` for the given time.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::with;
use image::{DynamicImage, ImageFormat, RgbImage};
use parsec_nas::config::{Config, TrainConfig};
use parsec_nas::data;
use parsec_nas::files::tensors::{self, Metadata, Tensor, Tensors};
use parsec_nas::run::Manifest;
use tempfile::TempDir;

use super::faults::Dice;
use super::run::create;

#[path = "../../fuzz/targets.rs"]
mod targets;

fn seeds_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(seeds_folder().join(target)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seeds");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Values that are typical of wrong sizes and counts.
const TELLING: [u64; 10] =
    [0, 1, 0x7F, 0xFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, 1 << 60, i64::MAX as u64, u64::MAX];

/// A seed with some damage: bytes are flipped, cut, inserted or repeated, seeds are joined, sizes are replaced, or
/// digits are repeated.
fn damaged(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..1 + dice.below(4) {
        if bytes.is_empty() {
            break;
        }
        // Half of all damage is at the beginning, where the headers are.
        let at = if dice.below(2) == 0 { dice.below(bytes.len().min(64)) } else { dice.below(bytes.len()) };
        let end = (at + 1 + dice.below(32)).min(bytes.len());
        match dice.below(9) {
            0 | 1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes[at] = dice.below(256) as u8,
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, (0..1 + dice.below(8)).map(|_| dice.below(256) as u8))),
            5 => drop(bytes.drain(at..end)),
            6 => {
                let part = bytes[at..end].repeat(1 + dice.below(200));
                drop(bytes.splice(at..at, part));
            }
            7 => {
                let (value, width) = (TELLING[dice.below(TELLING.len())], [1, 2, 4, 8][dice.below(4)]);
                let mut word = value.to_le_bytes()[..width].to_vec();
                if dice.below(2) == 0 {
                    word.reverse();
                }
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
            _ => {
                let other = &seeds[dice.below(seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len().max(1)).min(other.len())..]);
            }
        }
    }
    bytes
}

/// Runs the targets in turn on damaged seeds, as long as `more` returns true. Returns the number of runs of each
/// target.
fn run(mut more: impl FnMut(usize) -> bool, dice: &mut Dice) -> Vec<(&'static str, usize)> {
    let scratch = TempDir::new().unwrap();
    let all: Vec<_> = targets::TARGETS.iter().map(|&(name, target)| (name, target, seeds(name))).collect();
    let mut counts: Vec<(&str, usize)> = all.iter().map(|(name, ..)| (*name, 0)).collect();
    let mut rounds = 0;
    while more(rounds) {
        for ((name, target, seeds), count) in all.iter().zip(&mut counts) {
            let bytes = damaged(seeds, dice);
            let done = std::panic::catch_unwind(|| target(&bytes, scratch.path()));
            if done.is_err() {
                let kept = std::env::temp_dir().join(format!("{name}-that-panics"));
                std::fs::write(&kept, &bytes).unwrap();
                panic!("{name} panics on {}", kept.display());
            }
            count.1 += 1;
        }
        rounds += 1;
    }
    counts
}

#[test]
fn no_damage_makes_a_parser_panic() {
    run(|rounds| rounds < 150, &mut Dice(3));
}

#[test]
#[ignore = "as long as PARSEC_FUZZ_SECONDS says; scripts/fuzz runs it"]
fn for_a_while() {
    let seconds = std::env::var("PARSEC_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let started = Instant::now();
    let counts = run(|_| started.elapsed() < Duration::from_secs(seconds), &mut Dice(seconds));
    println!("\n| parser | inputs | panics |\n|---|---:|---:|");
    counts.iter().for_each(|(name, n)| println!("| {name} | {n} | 0 |"));
}

/// The undamaged seeds are accepted. Damage to a seed that is refused anyway would show nothing.
#[test]
fn seeds_are_accepted() {
    let scratch = TempDir::new().unwrap();
    for &(name, target) in targets::TARGETS {
        seeds(name).iter().for_each(|bytes| target(bytes, scratch.path()));
    }
    let made = make_seeds();
    for (target, name, bytes) in &made {
        let path = seeds_folder().join(target).join(name);
        // A new key changes the configurations. Then run: cargo test --test suite input::write_seeds -- --ignored
        assert_eq!(std::fs::read(&path).unwrap().len() > 16, bytes.len() > 16, "{}", path.display());
    }
    let read = |target: &str, name: &str| std::fs::read(seeds_folder().join(target).join(name)).unwrap();
    let path = Path::new("seed");
    assert!(tensors::parse(&read("safetensors", "several"), path).is_ok());
    assert!(data::parse_idx_images(path, &read("idx", "images.gz")).is_ok());
    assert!(data::parse_idx_labels(path, &read("idx", "labels")).is_ok());
    assert_eq!(data::parse_idx_int_labels(path, &read("idx", "int-labels")).unwrap(), (vec![0, 1, 9], 2));
    let archives = [(&data::CIFAR100, "python.tar"), (&data::CIFAR10, "binary.tar.gz")];
    for (kind, name) in archives {
        assert!(data::parse_cifar_archive(kind, path, &*read("archive", name)).is_ok(), "{name}");
    }
    assert_eq!(data::parse_npz(path, &read("npz", "medmnist.npz")).unwrap().len(), 3);
    assert!(data::parse_npz(path, &read("npz", "keras.npz")).is_ok());
    assert!(Manifest::parse(&read("manifest", "search"), path).is_ok());
    assert!(Config::read_resolved(&seeds_folder().join("config/resolved")).is_ok());
    for name in ["rgb.png", "grey.png", "rgb.jpeg", "rgb.webp", "rgb.bmp", "rgb.tiff", "rgb.gif"] {
        assert!(data::read_scaled(&seeds_folder().join("image").join(name), 3, 8, 8).is_ok(), "{name}");
    }
}

#[test]
#[ignore = "makes the files in fuzz/seeds"]
fn write_seeds() {
    for (target, name, bytes) in make_seeds() {
        let folder = seeds_folder().join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn make_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut out = vec![];
    let records = |label: &[u8], n: u8| {
        (0..n).flat_map(|i| [label, vec![40 * i; 3072].as_slice()].concat()).collect::<Vec<u8>>()
    };
    out.push(("cifar10", "two", records(&[7], 2)));
    out.push(("cifar100", "one", records(&[3, 99], 1)));

    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    let images = [words(&[0x803, 3, 4, 4]), (0..48).collect()].concat();
    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    gz.write_all(&images).unwrap();
    out.push(("idx", "images.gz", gz.finish().unwrap()));
    out.push(("idx", "images", images));
    out.push(("idx", "labels", [words(&[0x801, 3]), vec![0, 1, 9]].concat()));
    out.push(("idx", "int-labels", words(&[0xc02, 3, 2, 0, 70_000, 1, 5, 9, u32::MAX])));

    let fixture = |name: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read(root.join("tests/fixtures/sources").join(name)).unwrap()
    };
    let mut tar = vec![];
    let gz = fixture("cifar-100-python.tar.gz");
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gz[..]), &mut tar).unwrap();
    out.push(("archive", "python.tar", tar));
    out.push(("archive", "binary.tar.gz", fixture("cifar-10-binary.tar.gz")));
    out.push(("npz", "medmnist.npz", fixture("medmnist.npz")));
    out.push(("npz", "keras.npz", fixture("keras.npz")));
    let npy = |version: u8, head: &str, data: &[u8]| {
        let len = (head.len() as u32).to_le_bytes();
        let len = if version == 1 { &len[..2] } else { &len[..] };
        [b"\x93NUMPY", &[version, 0][..], len, head.as_bytes(), data].concat()
    };
    let head = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 2, 1, 3), }   \n";
    out.push(("npy", "images", npy(1, head, &(0..24).collect::<Vec<u8>>())));
    let head = "{'descr': '>i2', 'fortran_order': False, 'shape': (4, 1), }\n";
    out.push(("npy", "labels", npy(2, head, &[0, 0, 0, 1, 0, 2, 0, 1])));

    let rgb = RgbImage::from_fn(7, 5, |x, y| image::Rgb([30 * x as u8, 50 * y as u8, 99]));
    let rgb = DynamicImage::from(rgb);
    let encode = |image: &DynamicImage, format| {
        let mut bytes = Cursor::new(vec![]);
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    out.push(("image", "rgb.png", encode(&rgb, ImageFormat::Png)));
    out.push(("image", "grey.png", encode(&rgb.to_luma8().into(), ImageFormat::Png)));
    out.push(("image", "rgb.jpeg", encode(&rgb, ImageFormat::Jpeg)));
    out.push(("image", "rgb.webp", encode(&rgb, ImageFormat::WebP)));
    out.push(("image", "rgb.bmp", encode(&rgb, ImageFormat::Bmp)));
    out.push(("image", "rgb.tiff", encode(&rgb, ImageFormat::Tiff)));
    out.push(("image", "rgb.gif", encode(&rgb, ImageFormat::Gif)));

    let darts = parsec_nas::space::read_genotype("DARTS_V2").unwrap().to_string();
    out.push(("genotype", "range", darts.replace("[2, 3, 4, 5]", "range(2, 6)").into_bytes()));
    let numpy = darts.replace(", 0)", ", np.int64(0))");
    let lines =
        [&format!("genotype = {darts}"), "train 000 2.3", &format!("genotype = {numpy}"), "valid_acc 71.2"];
    let log: String = lines.iter().map(|line| format!("12/10 01:23:45 PM {line}\n")).collect();
    out.push(("genotype", "log", log.into_bytes()));
    let pairs = darts.replace("), (", "),  # a pair\r\n    (");
    out.push(("genotype", "python", format!("\u{feff}# mine\r\nBEST = {pairs}\r\n").into_bytes()));
    let result = serde_json::json!({"mode": darts, "genotype": darts.replace('\'', "\"")});
    out.push(("genotype", "json", result.to_string().into_bytes()));
    // In the form of AutoDL-Projects, with a list for each node.
    let node = ["('sep_conv_3x3', 0, 0.13), ('skip_connect', 1, 0.12)"; 4]
        .map(|pairs| format!("({pairs})"))
        .join(", ");
    let cell = |kind: &str| format!("'{kind}': [{node}], '{kind}_concat': [2, 3, 4, 5]");
    let nested = format!("<<<--->>> The 049-050-th epoch : {{{}, {}}}\n", cell("normal"), cell("reduce"));
    out.push(("genotype", "nested", nested.into_bytes()));
    out.push(("genotype", "darts", darts.into_bytes()));

    let config = with(Config::preset().unwrap(), |c| {
        c.length.steps = 12;
        c.sgd.lr = 0.1 + 0.2;
    });
    out.push(("config", "resolved", config.to_toml().unwrap().into_bytes()));
    let user = "# mine\nseed = 3\nepochs = 2\ntemper = \"ess:4\"\nprimitives = [\"skip_connect\", \"max_pool_3x3\"]\n";
    out.push(("config", "user", user.into()));
    let flags = [("genotype".to_owned(), "DARTS_V2".into())].into_iter().collect();
    let train = TrainConfig::resolve(None, None, &flags).unwrap();
    out.push(("train_config", "resolved", parsec_nas::config::to_toml(&train).unwrap().into_bytes()));

    let several = Tensors::from([
        ("pi.normal.0".into(), Tensor::f64(&[2, 3], vec![0.5; 6])),
        ("v.stem.0.weight".into(), Tensor::f32(&[2, 1, 2, 2], vec![1.5; 8])),
        ("state.n".into(), Tensor::i64(&[], vec![7])),
    ]);
    let metadata: Metadata = [("format".to_owned(), "pt".to_owned())].into();
    out.push(("safetensors", "several", tensors::to_bytes(&several, &metadata, Path::new("seed")).unwrap()));

    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    run.checkpoints().save(3, Some(0.25), &several).unwrap();
    let path = run.checkpoints().path_of(3);
    let [info, state] =
        ["state.json", "state.safetensors"].map(|name| std::fs::read(path.join(name)).unwrap());
    out.push(("checkpoint", "three", [(info.len() as u16).to_le_bytes().to_vec(), info, state].concat()));

    let data = serde_json::json!({"kind": "embedded", "n_train": 5000, "sha256": "ab"});
    let normalisation = serde_json::json!({"mean": [0.286_f32], "std": [0.353_f32]});
    let manifest = Manifest { data, normalisation, seed: 9, ..Manifest::new(&config).unwrap() };
    out.push(("manifest", "search", manifest.to_bytes().unwrap()));

    let lines: String = (1..=4)
        .map(|step| {
            let record = serde_json::json!({"step": step, "epoch": 1, "train_loss": 2.3, "accuracy": 0.1, "ess": 1.5,
                "entropy": {"normal": 20.0, "reduce": 21.5}, "mode_accuracy": 0.2});
            format!("{record}\n")
        })
        .collect();
    out.push(("metrics", "four", lines.into_bytes()));

    let by_text = r#"{"02012100": {"test_acc": [89.47, 88.94, 89.16], "mean_acc": 89.19, "params": 890666}, "11111221": {"mean_acc": 92.3}, "3": {"mean_acc": 1}}"#;
    out.push(("table", "by_text", format!("{by_text}\n").into_bytes()));
    let list = r#"[{"genotype": "02012100", "test_accuracy": {"20": 87.26, "600": 97.1}}, {"genotype": "11111221", "test_accuracy": {"600": 96.76}}, {"genotype": "DARTS_V2"}]"#;
    out.push(("table", "list", format!("{list}\n").into_bytes()));
    out
}

/// Sizes that a header only claims are refused before memory is allocated for them.
#[test]
fn claims_take_no_memory() {
    let folder = TempDir::new().unwrap();
    // A PNG file of a few bytes that claims 20,000 by 20,000 pixels. These pixels would take 1.2 GB.
    let mut png = std::fs::read(seeds_folder().join("image/rgb.png")).unwrap();
    let side = 20_000u32.to_be_bytes();
    png[16..20].copy_from_slice(&side);
    png[20..24].copy_from_slice(&side);
    let crc = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&crc);
    let path = folder.path().join("claims.png");
    std::fs::write(&path, &png).unwrap();
    let error = data::read_scaled(&path, 3, 8, 8).unwrap_err().to_string();
    assert!(error.contains("claims.png") && error.contains("20000x20000"), "{error}");
    // A JPEG file that claims 30,000 by 30,000 pixels. The sides are in the frame header.
    let mut jpeg = std::fs::read(seeds_folder().join("image/rgb.jpeg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    let side = 30_000u16.to_be_bytes();
    jpeg[frame + 5..frame + 7].copy_from_slice(&side);
    jpeg[frame + 7..frame + 9].copy_from_slice(&side);
    let path = folder.path().join("claims.jpeg");
    std::fs::write(&path, &jpeg).unwrap();
    let error = data::read_scaled(&path, 3, 8, 8).unwrap_err().to_string();
    assert!(error.contains("claims.jpeg") && error.contains("30000x30000"), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A checkpoint that names other files is refused. Only its own two files are ever read.
#[test]
fn names_in_a_checkpoint_lead_nowhere() {
    let folder = TempDir::new().unwrap();
    let run = create(&folder, "run");
    let state = Tensors::from([("x".into(), Tensor::f32(&[1], vec![1.0]))]);
    run.checkpoints().save(1, None, &state).unwrap();
    let path = run.checkpoints().path_of(1);
    let text = std::fs::read_to_string(path.join("state.json")).unwrap();
    for name in ["../../manifest.json", "/etc/passwd", "..\\state", "other"] {
        let mut info: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sum = info["files"].as_object_mut().unwrap().remove("state.safetensors").unwrap();
        info["files"][name] = sum;
        std::fs::write(path.join("state.json"), info.to_string()).unwrap();
        assert!(parsec_nas::run::checkpoint::read(&path).is_err(), "{name}");
    }
}
