//! Bytes → every parser of the program: none may panic, and an error names the file.
//!
//! The suite runs the parsers on damaged seeds (`tests/suite/input.rs`). `cargo fuzz` runs them on inputs of libFuzzer.
//! `scratch` is a folder that belongs to the caller, for parsers that read files.

use std::fs;
use std::path::Path;

use parsec_nas::cli::table::Table;
use parsec_nas::config::{CompareConfig, Config, TrainConfig};
use parsec_nas::data::{self, CIFAR10, CIFAR100};
use parsec_nas::files::{self, tensors};
use parsec_nas::run::{Manifest, checkpoint, metrics};
use parsec_nas::space::{Chain, Genotype, read_genotype, remark, space_of, text_of};
use parsec_nas::{Result, report};

/// A parser and its name. The folder of the parser's seeds has the same name.
pub type Target = (&'static str, fn(&[u8], &Path));

/// All parsers of files.
pub const TARGETS: &[Target] = &[
    ("cifar10", cifar10),
    ("cifar100", cifar100),
    ("archive", archive),
    ("idx", idx),
    ("npz", npz),
    ("npy", npy),
    ("parquet", parquet),
    ("tar", tar),
    ("image", image),
    ("genotype", genotype),
    ("config", config),
    ("train_config", train_config),
    ("compare", compare),
    ("safetensors", safetensors),
    ("pickle", pickle),
    ("torch", torch),
    ("checkpoint", checkpoint),
    ("manifest", manifest),
    ("metrics", metrics_lines),
    ("table", table),
];

const NAME: &str = "input-file";

/// An error that does not name the file is a bug.
fn named<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(e) => {
            assert!(e.to_string().contains(NAME), "no file is named in: {e}");
            None
        }
    }
}

fn write(scratch: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = scratch.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A pickle.
pub fn pickle(bytes: &[u8], _: &Path) {
    named(files::pickle::parse(bytes, Path::new(NAME)));
}

/// A file of `torch.save`.
pub fn torch(bytes: &[u8], _: &Path) {
    for (name, tensor) in named(files::torch::parse(bytes, Path::new(NAME))).into_iter().flatten() {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len(), "{name}");
    }
}

/// A file of CIFAR-10.
pub fn cifar10(bytes: &[u8], _: &Path) {
    if let Some(images) = named(data::parse_cifar(&CIFAR10, Path::new(NAME), bytes)) {
        assert_eq!((images.n * 3073, images.bytes().len()), (bytes.len(), images.n * 3072));
    }
}

/// A file of CIFAR-100.
pub fn cifar100(bytes: &[u8], _: &Path) {
    if let Some(images) = named(data::parse_cifar(&CIFAR100, Path::new(NAME), bytes)) {
        assert_eq!(images.n * 3074, bytes.len());
    }
}

/// An IDX file, as images and as labels, gzipped or not.
pub fn idx(bytes: &[u8], _: &Path) {
    if let Some((shape, pixels)) = named(data::parse_idx_images(Path::new(NAME), bytes)) {
        assert_eq!(shape.iter().product::<usize>(), pixels.len());
    }
    named(data::parse_idx_labels(Path::new(NAME), bytes));
    if let Some((labels, width)) = named(data::parse_idx_int_labels(Path::new(NAME), bytes)) {
        assert!(!labels.is_empty() && width > 0);
    }
}

fn check_images(images: &data::Images) {
    assert_eq!(images.bytes().len(), images.n * images.image_len());
    assert_eq!(images.labels.len(), images.n);
}

/// An archive of CIFAR, gzipped or not.
pub fn archive(bytes: &[u8], _: &Path) {
    for (kind, n_classes) in [(&CIFAR10, 10), (&CIFAR100, 100)] {
        if let Some((train, test, names)) = named(data::parse_cifar_archive(kind, Path::new(NAME), bytes)) {
            assert_eq!(names.len(), n_classes);
            [train, test].iter().for_each(check_images);
        }
    }
}

/// An `.npz` file of images.
pub fn npz(bytes: &[u8], _: &Path) {
    if let Some(parts) = named(data::parse_npz(Path::new(NAME), bytes)) {
        assert!((2..=3).contains(&parts.len()));
        parts.iter().for_each(check_images);
    }
}

/// The images and the labels of an `.npz` file, as `.npy` files. Damage in an `.npz` file is mostly found by the checksums
/// of the zip archive, so the archive is made here.
pub fn npy(bytes: &[u8], scratch: &Path) {
    for array in ["x_train", "y_train"] {
        let good = |name: &str| {
            let (shape, n_bytes) = if name.starts_with('x') { ("(4, 2, 3)", 24) } else { ("(4,)", 4) };
            let head = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
            let len = (head.len() as u16).to_le_bytes();
            [b"\x93NUMPY\x01\x00", &len[..], head.as_bytes(), &[0, 1, 2, 0].repeat(n_bytes / 4)].concat()
        };
        let names = ["x_train", "y_train", "x_test", "y_test"];
        let entries = names.map(|name| (name, if name == array { bytes.to_vec() } else { good(name) }));
        npz(&stored_zip(&entries), scratch);
    }
}

/// A zip archive of stored entries whose names end in `.npy`.
fn stored_zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (vec![], vec![]);
    for (name, content) in entries {
        let name = format!("{name}.npy");
        let len = (content.len() as u32).to_le_bytes();
        let lens =
            [&crc32(content).to_le_bytes()[..], &len, &len, &(name.len() as u16).to_le_bytes()].concat();
        let header_at = (out.len() as u32).to_le_bytes();
        out.extend(
            [b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0", &lens[..], &[0; 2], name.as_bytes(), content].concat(),
        );
        let head = b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0";
        directory.extend([head, &lens[..], &[0; 12], &header_at, name.as_bytes()].concat());
    }
    let n = (entries.len() as u16).to_le_bytes();
    let (start, len) = ((out.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    out.extend([&directory, &b"PK\x05\x06\0\0\0\0"[..], &n, &n, &len, &start, &[0; 2]].concat());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

/// A parquet file with images, in memory and on disk.
pub fn parquet(bytes: &[u8], scratch: &Path) {
    shard("parquet", bytes, scratch);
}

/// A tar file with images, in memory and on disk.
pub fn tar(bytes: &[u8], scratch: &Path) {
    shard("tar", bytes, scratch);
}

fn shard(source: &str, bytes: &[u8], scratch: &Path) {
    let path = write(scratch, &format!("{NAME}.{source}"), bytes);
    for memory_bytes in [0, 1 << 20] {
        let options = data::LoadOptions {
            size: Some(data::Size::square(8)),
            memory_bytes,
            skip_bad: true,
            ..Default::default()
        };
        if let Some(data) = named(data::load(&format!("{source}:{}", path.display()), &options)) {
            assert_eq!(data.train.labels.len(), data.train.n);
        }
    }
}

/// An image, alone and as one of an image folder.
pub fn image(bytes: &[u8], scratch: &Path) {
    let path = write(scratch, &format!("{NAME}.png"), bytes);
    if let Some(pixels) = named(data::read_scaled(&path, 3, 8, 8)) {
        assert_eq!(pixels.len(), 3 * 64);
    }
    let folder = scratch.join(format!("{NAME}-folder"));
    for (i, class) in ["a", "a", "b", "b"].iter().enumerate() {
        fs::create_dir_all(folder.join(class)).unwrap();
        fs::copy(&path, folder.join(class).join(format!("{i}.png"))).unwrap();
    }
    let options = data::LoadOptions { size: Some(data::Size::square(8)), ..Default::default() };
    named(data::load(&format!("folder:{}", folder.display()), &options));
}

/// A genotype, as text and as a file. The file may have other content too. The part that is read must be a genotype.
pub fn genotype(bytes: &[u8], scratch: &Path) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(genotype) = Genotype::parse(text)
    {
        assert_eq!(Genotype::parse(&genotype.to_string()).as_ref(), Ok(&genotype));
    }
    let path = write(scratch, &format!("{NAME}.txt"), bytes).display().to_string();
    if let Some(genotype) = named(read_genotype(&path)) {
        assert_eq!(Genotype::parse(&genotype.to_string()).as_ref(), Ok(&genotype));
        let text = text_of(&path).unwrap();
        assert_eq!(space_of(&text), "darts", "{text:?}");
    }
    if let Some(remark) = remark(&path) {
        assert!(remark.contains(NAME), "no file is named in: {remark}");
    }
}

/// The configuration of a search: the file of a user, and the resolved file of a run.
pub fn config(bytes: &[u8], scratch: &Path) {
    let path = write(scratch, &format!("{NAME}.toml"), bytes);
    // An error about several settings together names no file, so `named` is not used here.
    if let Ok(config) = Config::resolve(Some(&path), &Default::default()) {
        fs::write(&path, config.to_toml().unwrap()).unwrap();
        assert_eq!(Config::resolve(Some(&path), &Default::default()).is_ok(), config.length.epochs.is_none());
    }
    if let Some(config) = named(Config::read_resolved(&path)) {
        fs::write(&path, config.to_toml().unwrap()).unwrap();
        assert_eq!(named(Config::read_resolved(&path)), Some(config));
    }
}

/// The configuration of a training.
pub fn train_config(bytes: &[u8], scratch: &Path) {
    let path = write(scratch, &format!("{NAME}.toml"), bytes);
    for preset in [None, Some("small")] {
        _ = TrainConfig::resolve(preset, Some(&path), &Default::default());
    }
}

/// The file of a comparison: its resolved form is the same comparison.
pub fn compare(bytes: &[u8], scratch: &Path) {
    let path = write(scratch, &format!("{NAME}.toml"), bytes);
    if let Ok(config) = CompareConfig::read(&path, None)
        && let Ok(resolved) = config.resolved()
    {
        fs::write(&path, resolved.to_string()).unwrap();
        let again = CompareConfig::read(&path, None).unwrap();
        assert_eq!(again.first_difference(&config).unwrap(), None);
    }
}

/// Tensors: the tensors that were read are written again with the same numbers.
pub fn safetensors(bytes: &[u8], _: &Path) {
    let path = Path::new(NAME);
    if let Some((all, metadata)) = named(tensors::parse(bytes, path)) {
        let again = tensors::to_bytes(&all, &metadata, path).unwrap();
        let (read, _) = tensors::parse(&again, path).unwrap();
        // The bytes are compared, because a NaN does not equal itself.
        assert_eq!(tensors::to_bytes(&read, &metadata, path).unwrap(), again);
    }
}

/// A checkpoint: the length of its description (two bytes, low first), the description, the tensors.
pub fn checkpoint(bytes: &[u8], scratch: &Path) {
    let len = usize::from(u16::from_le_bytes([0, 1].map(|i| bytes.get(i).copied().unwrap_or(0))));
    let rest = bytes.get(2..).unwrap_or_default();
    let (info, state) = rest.split_at(len.min(rest.len()));
    let folder = scratch.join(NAME).join("step-00000003");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("state.json"), info).unwrap();
    fs::write(folder.join("state.safetensors"), state).unwrap();
    if let Some(found) = named(checkpoint::read(&folder)) {
        assert_eq!(found.step, 3);
    }
}

/// A manifest.
pub fn manifest(bytes: &[u8], _: &Path) {
    let path = Path::new(NAME);
    if let Some(manifest) = named(Manifest::parse(bytes, path)) {
        assert_eq!(Manifest::parse(&manifest.to_bytes().unwrap(), path).unwrap(), manifest);
    }
}

/// Metrics: they are cut back to a step, and drawn. The remaining lines must be whole lines of the input.
pub fn metrics_lines(bytes: &[u8], scratch: &Path) {
    let path = write(scratch, &format!("{NAME}.jsonl"), bytes);
    named(report::metrics_svg(&path));
    for step in [3, 1, 0] {
        named(metrics::cut_back(&path, step));
        let left = fs::read(&path).unwrap();
        assert!(left.is_empty() || left.ends_with(b"\n"));
        for line in left.split_inclusive(|b| *b == b'\n') {
            assert!(bytes.windows(line.len()).any(|part| part == line));
        }
    }
}

/// A table of architectures: every entry of a chain's space has a number, and the others are counted.
pub fn table(bytes: &[u8], _: &Path) {
    if let Some(table) = named(Table::parse(bytes, Path::new(NAME))) {
        // A missing key is a mistake of the user, and its error does not name the file.
        if let Ok(held) = table.held(&Chain::default(), None, "--key") {
            assert!(!held.entries.is_empty() && held.entries.iter().all(|e| e.value.is_finite()));
        }
    }
}

/// A folder for the files of this process. The suite uses another folder.
#[allow(dead_code)]
pub fn scratch() -> &'static Path {
    static SCRATCH: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    SCRATCH.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("parsec-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}
