//! Every data source with good and with damaged files, and batches as pure functions of the step.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::write::GzEncoder;
use parsec_nas::Error;
use parsec_nas::data::{
    Augment, Batch, BatchSource, CIFAR10, CIFAR100, Dataset, Images, LoadOptions, Normalisation, Prefetch,
    Size, Split, eval_batches, first_mixed_batches, load, mixed_batches, parse_cifar, parse_idx_images,
    parse_idx_labels, splits,
};
use proptest::prelude::*;
use tempfile::TempDir;

fn load_dir(kind: &str, dir: &Path) -> Result<Dataset, Error> {
    load(&format!("{kind}:{}", dir.display()), &LoadOptions::default())
}

/// Checks that loading gave a file error with a path that ends with `file`, at offset `at`, and with all `words` in its
/// text.
#[track_caller]
fn assert_file_error(result: Result<Dataset, Error>, file: &str, at: Option<u64>, words: &[&str]) {
    let error = result.expect_err("damaged data were accepted");
    assert_eq!(error.exit_code(), 1);
    let text = error.to_string();
    let Error::File { path, offset, try_this, .. } = error else { panic!("not a file error: {text}") };
    assert!(path.ends_with(file), "{text}: expected {file}");
    assert_eq!(offset, at, "{text}");
    assert!(!try_this.is_empty(), "no hint: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[track_caller]
fn assert_usage<T>(result: Result<T, Error>, words: &[&str]) {
    let Err(error) = result else { panic!("accepted") };
    assert_eq!(error.exit_code(), 2, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

// ---- the specification ----

#[test]
fn a_wrong_specification_is_a_usage_error_that_suggests() {
    let load = |spec: &str| load(spec, &LoadOptions::default());
    assert_usage(load("cifra10:/data"), &["cifra10", "did you mean cifar10:DIR", "folder:DIR"]);
    assert_usage(load("Embeded"), &["did you mean embedded"]);
    assert_usage(load("imagenet1k-webdataset"), &["one of embedded, cifar10:DIR"]);
    assert_usage(load("idx"), &["idx:DIR"]);
    assert_usage(load("embedded:/x"), &["without a folder"]);
    assert_usage(load(""), &["embedded"]);
    let dir = TempDir::new().unwrap();
    assert_usage(load(dir.path().to_str().unwrap()), &["folder:"]);
}

// ---- the embedded set ----

#[test]
fn the_embedded_set_is_balanced_real_and_small() {
    let data = load("embedded", &LoadOptions::default()).unwrap();
    assert_eq!((data.train.n, data.test.n), (5000, 1000));
    assert_eq!((data.train.channels, data.train.height, data.train.width), (1, 28, 28));
    assert_eq!(data.class_names.len(), 10);
    for (part, each) in [(&data.train, 500), (&data.test, 100)] {
        assert_eq!(part.bytes().len(), part.n * 28 * 28);
        for class in 0..10 {
            assert_eq!(part.labels.iter().filter(|&&label| label == class).count(), each);
        }
        // Evaluation takes batches in file order, so no stretch of the images may lack classes.
        for stretch in part.labels.chunks(100) {
            let mut classes = stretch.to_vec();
            classes.sort_unstable();
            classes.dedup();
            assert!(classes.len() >= 9, "{stretch:?}");
        }
    }
    // Fashion-MNIST's published statistics over its 60,000 images.
    let norm = Normalisation::of(&data.train);
    assert!((norm.mean[0] - 0.2860).abs() < 0.005 && (norm.std[0] - 0.3530).abs() < 0.005, "{norm:?}");
    // No image is both a training image and a held-out image.
    let train: std::collections::BTreeSet<_> =
        (0..data.train.n).map(|i| data.train.image(i).unwrap()).collect();
    let shared = (0..data.test.n).filter(|&i| train.contains(&data.test.image(i).unwrap())).count();
    assert!(shared <= 2, "{shared} images in both parts");

    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fashion-mnist-subset");
    let bytes: u64 = fs::read_dir(&assets).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 3_000_000, "{bytes} bytes");
    assert!(fs::read_to_string(assets.join("LICENSE")).unwrap().contains("MIT licence"));
    // The committed files are also an ordinary idx: folder with the same data.
    let same = load_dir("idx", &assets).unwrap();
    assert_eq!(same.identity.sha256, data.identity.sha256);
}

// ---- IDX ----

fn idx(magic: u32, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = magic.to_be_bytes().to_vec();
    dims.iter().for_each(|dim| out.extend(dim.to_be_bytes()));
    out.extend(data);
    out
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Noise that is the same in every run.
fn noise(n: usize, salt: u32) -> Vec<u8> {
    (0..n as u32).map(|i| ((i ^ salt).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A good small set (three classes, 8x4 pixels, 30 and 6 images) in a folder of its own.
fn idx_dir() -> TempDir {
    let dir = TempDir::new().unwrap();
    for (part, n) in [("train", 30u32), ("t10k", 6)] {
        let labels: Vec<u8> = (0..n).map(|i| (i % 3) as u8).collect();
        let images = idx(0x803, &[n, 8, 4], &noise(n as usize * 32, n));
        fs::write(dir.path().join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(dir.path().join(format!("{part}-labels-idx1-ubyte")), idx(0x801, &[n], &labels)).unwrap();
    }
    dir
}

/// Rewrites one file and loads.
fn with_file(
    dir: &Path,
    kind: &str,
    name: &str,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Dataset, Error> {
    let path = dir.join(name);
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let result = load_dir(kind, dir);
    fs::write(&path, good).unwrap();
    result
}

#[test]
fn idx_files_load_plain_gzipped_and_under_their_other_names() {
    let dir = idx_dir();
    let plain = load_dir("idx", dir.path()).unwrap();
    assert_eq!((plain.train.n, plain.train.channels, plain.train.height, plain.train.width), (30, 1, 8, 4));
    assert_eq!(plain.train.bytes(), noise(30 * 32, 30));
    assert_eq!(plain.test.labels, [0, 1, 2, 0, 1, 2]);
    assert_eq!(plain.class_names, ["0", "1", "2"]);
    assert_eq!((plain.identity.kind.as_str(), plain.identity.n_classes), ("idx", 3));

    let packed = TempDir::new().unwrap();
    for (from, to) in [
        ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte.gz"),
        ("t10k-images-idx3-ubyte", "test-images-idx3-ubyte.gz"),
        ("t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte.gz"),
    ] {
        fs::write(packed.path().join(to), gz(&fs::read(dir.path().join(from)).unwrap())).unwrap();
    }
    let again = load_dir("idx", packed.path()).unwrap();
    assert_eq!(again.identity, plain.identity);
    assert_eq!((again.train, again.test), (plain.train, plain.test));
}

#[test]
fn damaged_idx_files_are_named_with_the_offset() {
    let dir = idx_dir();
    let images = "train-images-idx3-ubyte";
    let labels = "train-labels-idx1-ubyte";
    let damage = |name, change: &dyn Fn(&mut Vec<u8>)| with_file(dir.path(), "idx", name, change);
    assert_file_error(damage(images, &|b| b.truncate(500)), images, Some(500), &["960 bytes", "truncated"]);
    assert_file_error(
        damage(images, &|b| b.truncate(7)),
        images,
        Some(0),
        &["header of 16 bytes", "7 bytes"],
    );
    assert_file_error(damage(images, &|b| b.clear()), images, Some(0), &["empty"]);
    assert_file_error(damage(images, &|b| b.extend([1, 2])), images, Some(976), &["more"]);
    assert_file_error(damage(images, &|b| b[3] = 1), images, Some(0), &["0x00000803", "holds labels"]);
    assert_file_error(damage(images, &|b| b[0] = b'P'), images, Some(0), &["magic", "0x50000803"]);
    assert_file_error(damage(images, &|b| b[4..8].fill(0)), images, Some(4), &["above 0"]);
    assert_file_error(damage(images, &|b| b[12..16].fill(0)), images, Some(12), &["above 0"]);
    assert_file_error(damage(images, &|b| b[4..16].fill(255)), images, Some(4), &["at most"]);
    assert_file_error(
        damage(labels, &|b| *b = idx(0x801, &[2], &[0, 1])),
        labels,
        Some(4),
        &["30 labels", "2 labels"],
    );
    assert_file_error(damage(labels, &|b| b[8 + 11] = 200), labels, Some(19), &["label 200", "image 11"]);
    assert_file_error(damage(labels, &|b| b[8..].fill(1)), labels, Some(8), &["two classes"]);
    let test = "t10k-labels-idx1-ubyte";
    assert_file_error(damage(test, &|b| b[8 + 5] = 3), test, Some(13), &["below 3", "label 3 for image 5"]);
    let test = "t10k-images-idx3-ubyte";
    assert_file_error(damage(test, &|b| b.swap(11, 15)), test, Some(8), &["8x4", "4x8"]);
    load_dir("idx", dir.path()).unwrap();

    fs::remove_file(dir.path().join(labels)).unwrap();
    assert_file_error(load_dir("idx", dir.path()), labels, None, &["no such file", ".gz"]);
    fs::create_dir(dir.path().join(labels)).unwrap();
    assert_file_error(load_dir("idx", dir.path()), labels, None, &["a folder"]);
    let missing = dir.path().join("nowhere");
    assert_file_error(load_dir("idx", &missing), "nowhere", None, &["nothing of that name"]);
    assert_file_error(load_dir("idx", &dir.path().join(images)), images, None, &["a file"]);
}

#[test]
fn damaged_gzip_is_a_file_error_and_a_bomb_is_not_unpacked() {
    let dir = idx_dir();
    let images = "train-images-idx3-ubyte";
    let good = fs::read(dir.path().join(images)).unwrap();
    let packed = |change: &dyn Fn(&mut Vec<u8>)| {
        with_file(dir.path(), "idx", images, |b| {
            *b = gz(&good);
            change(b);
        })
    };
    packed(&|_| ()).unwrap();
    assert!(matches!(packed(&|b| b.truncate(b.len() / 2)), Err(Error::File { offset: Some(_), .. })));
    // A wrong checksum is found after all of the content was read.
    let flip = |b: &mut Vec<u8>| {
        let crc = b.len() - 6;
        b[crc] ^= 1;
    };
    assert_file_error(packed(&flip), images, Some(976), &["gzip"]);
    assert_file_error(packed(&|b| b.truncate(12)), images, Some(0), &["gzip"]);
    // The header says 960 bytes of images; 64 MiB follow.
    let bomb = with_file(dir.path(), "idx", images, |b| {
        let mut long = good.clone();
        long.resize(64 << 20, 0);
        *b = gz(&long);
    });
    assert_file_error(bomb, images, Some(976), &["more"]);
}

// ---- CIFAR ----

fn cifar_file(n: usize, salt: u32, label: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    (0..n).flat_map(|i| [label(i), noise(3072, salt + i as u32)].concat()).collect()
}

fn cifar10_dir() -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in 1..=5usize {
        let bytes = cifar_file(4, 100 * file as u32, |i| vec![((file * 4 + i) % 10) as u8]);
        fs::write(dir.path().join(format!("data_batch_{file}.bin")), bytes).unwrap();
    }
    fs::write(dir.path().join("test_batch.bin"), cifar_file(3, 7, |i| vec![i as u8])).unwrap();
    dir
}

#[test]
fn cifar_binary_files_load_also_from_the_parent_folder() {
    let dir = cifar10_dir();
    let data = load_dir("cifar10", dir.path()).unwrap();
    assert_eq!((data.train.n, data.test.n, data.train.channels, data.train.height), (20, 3, 3, 32));
    assert_eq!(data.train.labels[..6], [4, 5, 6, 7, 8, 9]);
    assert_eq!(data.train.image(5).unwrap(), noise(3072, 201));
    assert_eq!(data.class_names[1], "automobile");

    let parent = TempDir::new().unwrap();
    fs::rename(dir.path(), parent.path().join("cifar-10-batches-bin")).unwrap();
    let inside = load_dir("cifar10", parent.path()).unwrap();
    assert_eq!(inside.identity, data.identity);
    let names = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n";
    let names_path = parent.path().join("cifar-10-batches-bin/batches.meta.txt");
    fs::write(&names_path, names).unwrap();
    assert_eq!(load_dir("cifar10", parent.path()).unwrap().class_names[9], "j");
    fs::write(&names_path, "a\nb\n").unwrap();
    assert_file_error(load_dir("cifar10", parent.path()), "batches.meta.txt", None, &["2 names", "optional"]);
}

#[test]
fn cifar100_uses_the_fine_labels() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("train.bin"), cifar_file(6, 1, |i| vec![19, 90 + i as u8])).unwrap();
    fs::write(dir.path().join("test.bin"), cifar_file(2, 2, |i| vec![0, i as u8])).unwrap();
    let data = load_dir("cifar100", dir.path()).unwrap();
    assert_eq!(data.train.labels, [90, 91, 92, 93, 94, 95]);
    assert_eq!((data.class_names.len(), data.test.image(1).unwrap().into_owned()), (100, noise(3072, 3)));
    let damage = |change: &dyn Fn(&mut Vec<u8>)| with_file(dir.path(), "cifar100", "train.bin", change);
    assert_file_error(damage(&|b| b[2 * 3074 + 1] = 100), "train.bin", Some(6149), &["fine label below 100"]);
    assert_file_error(damage(&|b| b[3074] = 20), "train.bin", Some(3074), &["coarse label below 20"]);
}

#[test]
fn damaged_cifar_files_are_named_with_the_offset() {
    let dir = cifar10_dir();
    let name = "data_batch_2.bin";
    let damage = |change: &dyn Fn(&mut Vec<u8>)| with_file(dir.path(), "cifar10", name, change);
    assert_file_error(damage(&|b| b.truncate(10_000)), name, Some(9219), &["3073", "781 bytes"]);
    assert_file_error(damage(&|b| b.truncate(2 * 3073)), name, Some(6146), &["4 images", "2 images"]);
    assert_file_error(
        damage(&|b| b.extend(noise(3073, 0).iter().map(|p| p % 10))),
        name,
        Some(4 * 3073),
        &["5 images"],
    );
    assert_file_error(damage(&|b| b.truncate(9)), name, Some(0), &["whole records"]);
    assert_file_error(damage(&|b| b.clear()), name, Some(0), &["empty"]);
    assert_file_error(damage(&|b| b[3073] = 10), name, Some(3073), &["label below 10", "image 1"]);
    assert_file_error(damage(&|b| b.resize(30_730_001, 0)), name, Some(30_730_000), &["at most", "30730001"]);
    fs::rename(dir.path().join(name), dir.path().join("other")).unwrap();
    assert_file_error(load_dir("cifar10", dir.path()), name, None, &["no such file", "cifar-10-batches-bin"]);
    // Where the binary version is not there at all, the Python version is read.
    fs::remove_file(dir.path().join("data_batch_1.bin")).unwrap();
    fs::write(dir.path().join("data_batch_1"), "pickle").unwrap();
    assert_file_error(load_dir("cifar10", dir.path()), "data_batch_1", Some(0), &["expected"]);
}

// ---- image folders ----

fn png(path: &Path, width: u32, height: u32, rgb: [u8; 3]) {
    image::RgbImage::from_pixel(width, height, image::Rgb(rgb)).save(path).unwrap();
}

/// Classes `cat` (red, 7 images) and `dog` (blue, 3 images, one of them a jpeg).
fn image_dir() -> TempDir {
    let dir = TempDir::new().unwrap();
    for class in ["dog", "cat"] {
        fs::create_dir(dir.path().join(class)).unwrap();
    }
    for i in 0..7 {
        png(&dir.path().join(format!("cat/{i}.png")), 10 + i, 20, [200 + i as u8, 0, 10]);
    }
    png(&dir.path().join("dog/a.PNG"), 32, 32, [0, 0, 250]);
    png(&dir.path().join("dog/b.jpeg"), 40, 8, [0, 0, 251]);
    image::GrayImage::from_pixel(5, 5, image::Luma([77])).save(dir.path().join("dog/c.png")).unwrap();
    fs::write(dir.path().join("dog/notes.txt"), "not an image").unwrap();
    dir
}

#[test]
fn an_image_folder_loads_resized_with_every_fifth_image_held_out() {
    let dir = image_dir();
    let data = load_dir("folder", dir.path()).unwrap();
    assert_eq!(data.class_names, ["cat", "dog"]);
    assert_eq!((data.train.n, data.test.n), (8, 2));
    assert_eq!((data.train.channels, data.train.height, data.train.width), (3, 32, 32));
    assert_eq!(data.train.labels, [0, 0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(data.test.labels, [0, 1]);
    let plane = |part: &Images, i: usize, c: usize| part.image(i).unwrap()[c * 1024..][..1024].to_vec();
    assert_eq!(plane(&data.test, 0, 0), [204; 1024], "the fifth cat");
    assert_eq!(plane(&data.test, 1, 2), [77; 1024], "the last dog, grey in all channels");
    assert_eq!((plane(&data.train, 6, 0), plane(&data.train, 6, 2)), (vec![0; 1024], vec![250; 1024]));
    assert!(plane(&data.train, 7, 2).iter().all(|&blue| blue.abs_diff(251) < 8), "the jpeg");

    let small = load(
        &format!("folder:{}", dir.path().display()),
        &LoadOptions { size: Some(Size::square(8)), ..Default::default() },
    )
    .unwrap();
    assert_eq!((small.train.height, small.train.bytes().len()), (8, 8 * 3 * 64));
    assert_usage(
        load(
            &format!("folder:{}", dir.path().display()),
            &LoadOptions { size: Some(Size::square(0)), ..Default::default() },
        ),
        &["pixels"],
    );

    // The same pictures in the sub-folders `train` and `test`.
    let parts = TempDir::new().unwrap();
    fs::create_dir(parts.path().join("train")).unwrap();
    for class in ["cat", "dog"] {
        fs::rename(dir.path().join(class), parts.path().join("train").join(class)).unwrap();
    }
    assert_eq!(load_dir("folder", parts.path()).unwrap().identity, data.identity, "train alone");
    for class in ["cat", "dog"] {
        fs::create_dir_all(parts.path().join("val").join(class)).unwrap();
        png(&parts.path().join("val").join(class).join("x.png"), 4, 4, [9; 3]);
    }
    let data = load_dir("folder", parts.path()).unwrap();
    assert_eq!((data.train.n, data.test.n), (10, 2));
    fs::rename(parts.path().join("val/dog"), parts.path().join("val/dogs")).unwrap();
    assert_file_error(load_dir("folder", parts.path()), "val/dog", None, &["no such folder", "same classes"]);
}

#[test]
fn damaged_image_folders_are_named() {
    let dir = image_dir();
    let damage = |name, change: &dyn Fn(&mut Vec<u8>)| with_file(dir.path(), "folder", name, change);
    assert_file_error(
        damage("cat/2.png", &|b| *b = b"hello".to_vec()),
        "cat/2.png",
        Some(0),
        &["68 65 6c 6c"],
    );
    assert_file_error(damage("cat/2.png", &|b| b.clear()), "cat/2.png", Some(0), &["empty"]);
    assert_file_error(damage("cat/2.png", &|b| b.truncate(60)), "cat/2.png", Some(60), &["truncated"]);
    assert_file_error(
        damage("dog/b.jpeg", &|b| b.truncate(b.len() - 9)),
        "dog/b.jpeg",
        Some(jpeg_len(&dir) - 9),
        &["truncated"],
    );
    let corrupt = |b: &mut Vec<u8>| {
        let middle = b.len() / 2;
        b[middle] ^= 0xff;
    };
    assert_file_error(damage("cat/3.png", &corrupt), "cat/3.png", None, &["damaged"]);
    // A png that claims to be 4 billion pixels wide and high.
    assert_file_error(damage("cat/1.png", &|b| b[16..24].fill(0x7f)), "cat/1.png", None, &["image"]);

    let empty = dir.path().join("eel");
    fs::create_dir(&empty).unwrap();
    assert_file_error(load_dir("folder", dir.path()), "eel", None, &["png, jpeg", "0 files"]);
    fs::remove_dir(&empty).unwrap();
    fs::rename(dir.path().join("dog"), dir.path().join("cat/dog")).unwrap();
    let root = dir.path().file_name().unwrap().to_str().unwrap();
    assert_file_error(load_dir("folder", dir.path()), root, None, &["2 to", "only", "cat"]);
    let nothing = dir.path().join("cat/dog");
    assert_file_error(load_dir("folder", &nothing), "cat/dog", None, &["no sub-folder"]);
}

fn jpeg_len(dir: &TempDir) -> u64 {
    // The file itself may be damaged at this point, so the same picture is encoded again.
    let copy = dir.path().join(".copy.jpeg");
    png(&copy, 40, 8, [0, 0, 251]);
    fs::metadata(copy).unwrap().len()
}

#[cfg(unix)]
#[test]
fn links_in_the_place_of_a_published_set_are_followed() {
    use std::os::unix::fs::symlink;
    let files = idx_dir();
    let whole = load_dir("idx", files.path()).unwrap();
    let name = "train-labels-idx1-ubyte";
    fs::rename(files.path().join(name), files.path().join("away")).unwrap();
    symlink(files.path().join("away"), files.path().join(name)).unwrap();
    assert_eq!(load_dir("idx", files.path()).unwrap().identity, whole.identity);
    fs::remove_file(files.path().join(name)).unwrap();
    symlink("/dev/zero", files.path().join(name)).unwrap();
    assert_file_error(load_dir("idx", files.path()), name, None, &["no regular file"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000), dims in any::<[u8; 12]>()) {
        let path = Path::new("random");
        let _ = parse_idx_images(path, &bytes);
        let _ = parse_idx_labels(path, &bytes);
        let _ = parse_cifar(&CIFAR10, path, &bytes);
        let _ = parse_cifar(&CIFAR100, path, &bytes);
        // The damaged bytes also follow a good magic number, and the magic number of gzip.
        for magic in [0x803u32, 0x801] {
            let file = [magic.to_be_bytes().as_slice(), &dims, &bytes].concat();
            let _ = parse_idx_images(path, &file);
            let _ = parse_idx_labels(path, &file);
            let _ = parse_idx_images(path, &gz(&file));
        }
        let _ = parse_idx_images(path, &[&[0x1f, 0x8b, 8, 0], bytes.as_slice()].concat());
    }
}

// ---- identity, split, normalisation ----

/// `n` images of two channels and 4x3 pixels; the first pixel of image i is i.
fn tiny(n: usize) -> Arc<Dataset> {
    let images = |n: usize| {
        let mut pixels = noise(n * 24, 5);
        (0..n).for_each(|i| pixels[i * 24] = i as u8);
        Images {
            n,
            channels: 2,
            height: 4,
            width: 3,
            pixels: pixels.into(),
            labels: (0..n).map(|i| (i % 4) as u16).collect(),
        }
    };
    let base = load("embedded", &LoadOptions::default()).unwrap();
    Arc::new(Dataset { train: images(n), test: images(5), ..base })
}

/// The normalisation that leaves bytes unchanged.
fn raw(channels: usize) -> Normalisation {
    Normalisation { mean: vec![0.0; channels], std: vec![1.0 / 255.0; channels] }
}

#[test]
fn the_identity_sees_one_changed_pixel_or_label() {
    let dir = idx_dir();
    let before = load_dir("idx", dir.path()).unwrap().identity;
    assert_eq!(before.sha256.len(), 64);
    assert_eq!(before.difference(&before.clone()), None);
    let pixel = with_file(dir.path(), "idx", "t10k-images-idx3-ubyte", |b| b[100] ^= 1).unwrap().identity;
    let label = with_file(dir.path(), "idx", "train-labels-idx1-ubyte", |b| b[8] = 1).unwrap().identity;
    for other in [&pixel, &label] {
        let (what, here, there) = before.difference(other).unwrap();
        assert_eq!(
            (what, here, there),
            ("sha256 of pixels and labels", before.sha256.clone(), other.sha256.clone())
        );
    }
    let text = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<parsec_nas::data::Identity>(&text).unwrap(), before);
}

#[test]
fn a_split_is_a_seeded_partition() {
    for (n, fraction, n_search) in [(5000, 0.5, 2500), (7, 0.5, 4), (10, 0.2, 2), (3, 0.0, 0), (3, 1.0, 3)] {
        let halves = splits(n, fraction, 11);
        assert_eq!(halves.search.len(), n_search);
        let mut all = [halves.train.clone(), halves.search.clone()].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..n as u32));
        assert_eq!(halves, splits(n, fraction, 11));
    }
    assert_ne!(splits(100, 0.5, 1), splits(100, 0.5, 2));
}

#[test]
fn normalisation_statistics_equal_a_plain_f64_computation() {
    let data = tiny(50);
    let norm = Normalisation::of(&data.train);
    for c in 0..2 {
        let values: Vec<f64> = (0..50)
            .flat_map(|i| data.train.bytes()[i * 24 + c * 12..][..12].iter().map(|&p| f64::from(p) / 255.0))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((f64::from(norm.mean[c]) - mean).abs() < 1e-7, "{norm:?} {mean}");
        assert!((f64::from(norm.std[c]) - var.sqrt()).abs() < 1e-7, "{norm:?} {var}");
    }
    let flat = Images { n: 1, channels: 1, height: 2, width: 2, pixels: vec![9; 4].into(), labels: vec![0] };
    assert_eq!(Normalisation::of(&flat).std, [1.0 / 255.0]);
}

// ---- batches ----

fn source(data: &Arc<Dataset>, split: Split, batch: usize, augment: Augment) -> BatchSource {
    let halves = splits(data.train.n, 0.5, 3);
    let indices = if split == Split::Train { halves.train } else { halves.search };
    BatchSource::new(data.clone(), indices, split, batch, 3, augment, &raw(2)).unwrap()
}

#[test]
fn every_epoch_covers_the_split_once_in_another_order() {
    let data = tiny(60);
    let halves = splits(60, 0.5, 3);
    let source = source(&data, Split::Search, 5, Augment::NONE);
    assert_eq!(source.batches_per_epoch(), 6);
    let epoch = |e: u64| (0..6).flat_map(|i| source.members(e * 6 + i)).collect::<Vec<u32>>();
    for e in [0, 1, 7] {
        let mut members = epoch(e);
        members.sort_unstable();
        assert_eq!(members, halves.search);
    }
    assert_ne!(epoch(0), epoch(1));
    // The batch is made of exactly those images, unchanged.
    let batch = source.batch(8).unwrap();
    assert_eq!((batch.n, batch.channels, batch.height, batch.width), (5, 2, 4, 3));
    for (i, index) in source.members(8).into_iter().enumerate() {
        let image: Vec<u8> = batch.images[i * 24..][..24].iter().map(|v| v.round() as u8).collect();
        assert_eq!(image, data.train.image(index as usize).unwrap().into_owned());
        assert_eq!(batch.labels[i], index % 4);
    }
}

#[test]
fn the_remainder_of_an_epoch_is_dropped_and_large_batches_are_refused() {
    let data = tiny(60);
    let halves = splits(60, 0.5, 3);
    let new = |batch: usize, norm: &Normalisation| {
        BatchSource::new(data.clone(), halves.train.clone(), Split::Train, batch, 3, Augment::default(), norm)
    };
    let source = new(8, &raw(2)).unwrap();
    assert_eq!(source.batches_per_epoch(), 3);
    let mut members: Vec<u32> = (3..6).flat_map(|step| source.members(step)).collect();
    members.sort_unstable();
    members.dedup();
    assert_eq!(members.len(), 24);
    assert_usage(new(31, &raw(2)), &["--batch", "1 to 30", "train split", "31"]);
    assert_usage(new(0, &raw(2)), &["--batch"]);
    assert_usage(new(8, &raw(3)), &["normalisation", "2 means"]);
    assert_usage(new(8, &Normalisation { mean: vec![0.0; 2], std: vec![1.0, 0.0] }), &["positive"]);
}

/// All results of crop (a shift by `dy` and `dx` with a black border) and mirror on `image`, with the shifts and the
/// mirroring.
fn variants(image: &[u8], pad: isize) -> BTreeMap<Vec<u8>, (isize, isize, bool)> {
    let mut out = BTreeMap::new();
    for dy in -pad..=pad {
        for dx in -pad..=pad {
            for flip in [false, true] {
                let at = |c: isize, y: isize, x: isize| {
                    let (y, x) = (y + dy, if flip { 2 - x } else { x } + dx);
                    let inside = (0..4).contains(&y) && (0..3).contains(&x);
                    if inside { image[(c * 12 + y * 3 + x) as usize] } else { 0 }
                };
                let pixels = (0..24).map(|i| at(i / 12, i % 12 / 3, i % 3)).collect();
                out.insert(pixels, (dy, dx, flip));
            }
        }
    }
    out
}

#[test]
fn augmentation_is_crop_with_black_border_and_mirror() {
    // No byte is 0, so that black comes only from the border.
    let pixels: Vec<u8> = (1..=24).collect();
    let images = Images {
        n: 2,
        channels: 2,
        height: 4,
        width: 3,
        pixels: [pixels.clone(), pixels.clone()].concat().into(),
        labels: vec![0, 1],
    };
    let data = Arc::new(Dataset { train: images, ..(*tiny(2)).clone() });
    let norm = Normalisation { mean: vec![0.5, 0.25], std: vec![0.5, 0.125] };
    let augment = Augment { crop_pad: 1, flip: true, ..Augment::NONE };
    let source = BatchSource::new(data, vec![0, 1], Split::Train, 2, 9, augment, &norm).unwrap();
    let known = variants(&pixels, 1);
    assert_eq!(known.len(), 18);
    let mut seen: BTreeMap<(isize, isize, bool), usize> = BTreeMap::new();
    for step in 0..900 {
        for image in source.batch(step).unwrap().images.chunks(24) {
            let bytes: Vec<u8> = image
                .iter()
                .enumerate()
                .map(|(i, v)| ((v * norm.std[i / 12] + norm.mean[i / 12]) * 255.0).round() as u8)
                .collect();
            *seen.entry(known[&bytes]).or_default() += 1;
        }
    }
    // 1800 draws over 18 equally likely outcomes give 100 each, with a standard deviation of 9.7.
    assert_eq!(seen.len(), 18);
    assert!(seen.values().all(|&n| (55..145).contains(&n)), "{seen:?}");
}

#[test]
fn each_change_alone_is_what_it_says() {
    let data = tiny(20);
    let make = |augment| source(&data, Split::Train, 10, augment);
    let plain = make(Augment::NONE);
    let only = |augment: Augment, check: &dyn Fn(&[f32], &[f32]) -> bool| {
        let changed = make(augment);
        (0..40)
            .flat_map(|step| {
                let (a, b) = (plain.batch(step).unwrap(), changed.batch(step).unwrap());
                assert_eq!(a.labels, b.labels);
                a.images.chunks(24).zip(b.images.chunks(24)).map(|(a, b)| check(a, b)).collect::<Vec<bool>>()
            })
            .filter(|&hit| hit)
            .count()
    };
    let mirrored = only(Augment { flip: true, ..Augment::NONE }, &|a, b| {
        let mirror: Vec<f32> = a.chunks(3).flat_map(|row| row.iter().rev().copied()).collect();
        assert!(b == a || b == mirror);
        b == mirror
    });
    assert!((140..260).contains(&mirrored), "{mirrored} of 400 mirrored");
    // A square of side 2 around a pixel: up to 2x2 zeros in the same place of both channels, the rest unchanged.
    let cut = only(Augment { cutout: 2, ..Augment::NONE }, &|a, b| {
        let hole = |c: usize| (0..12).filter(|i| b[c * 12 + i] != a[c * 12 + i]).collect::<Vec<_>>();
        assert!(b.iter().zip(a).all(|(b, a)| b == a || *b == 0.0));
        assert!(hole(0).len() <= 4);
        hole(1).len() == 4
    });
    assert!((100..400).contains(&cut), "{cut} of 400 with a whole square");
}

#[test]
fn a_batch_depends_on_seed_step_and_part_only() {
    let data = tiny(40);
    let a = source(&data, Split::Train, 10, Augment::default());
    let b = source(&data, Split::Train, 10, Augment::default());
    let forward: Vec<Batch> = (0..9).map(|step| a.batch(step).unwrap()).collect();
    let backward: Vec<Batch> = (0..9).rev().map(|step| b.batch(step).unwrap()).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
    assert_ne!(forward[0].images, forward[2].images);
    let all: Vec<u32> = (0..40).collect();
    let of = |part, seed| {
        BatchSource::new(data.clone(), all.clone(), part, 10, seed, Augment::default(), &raw(2))
            .unwrap()
            .batch(0)
            .unwrap()
    };
    assert_ne!(of(Split::Train, 1), of(Split::Search, 1));
    assert_ne!(of(Split::Train, 1), of(Split::Train, 2));
}

#[test]
fn the_two_parts_are_augmented_independently() {
    // All images are equal, so that batches can differ only by augmentation.
    let images = Images { pixels: noise(24, 1).repeat(20).into(), ..tiny(20).train.clone() };
    let data = Arc::new(Dataset { train: images, ..(*tiny(20)).clone() });
    let pixels = |part, step| source(&data, part, 10, Augment::default()).batch(step).unwrap().images;
    assert_eq!(pixels(Split::Train, 0), pixels(Split::Train, 0));
    assert_ne!(pixels(Split::Train, 0), pixels(Split::Search, 0));
    assert_ne!(pixels(Split::Train, 0), pixels(Split::Train, 1));
}

#[test]
fn evaluation_takes_file_order_and_joins_the_remainder() {
    let data = tiny(23);
    let sizes = |n: usize, batch: usize| {
        let data = tiny(n);
        let batches = eval_batches(&data.train, &raw(2), batch).unwrap();
        batches.map(|b| b.unwrap().n).collect::<Vec<usize>>()
    };
    assert_eq!(sizes(23, 5), [5, 5, 5, 8]);
    assert_eq!(sizes(20, 5), [5, 5, 5, 5]);
    assert_eq!(sizes(3, 5), [3]);
    let batches: Vec<Batch> = eval_batches(&data.train, &raw(2), 5).unwrap().map(Result::unwrap).collect();
    let pixels: Vec<u8> = batches.iter().flat_map(|b| b.images.iter().map(|v| v.round() as u8)).collect();
    assert_eq!(pixels, data.train.bytes());
    let labels: Vec<u16> = batches.iter().flat_map(|b| b.labels.iter().map(|&l| l as u16)).collect();
    assert_eq!(labels, data.train.labels);
    assert_usage(eval_batches(&data.train, &raw(2), 0).map(|_| ()), &["--batch"]);
}

/// Images of folders are sorted by class. The statistics of a batch of one class would not fit the other classes, so
/// the images are mixed.
#[test]
fn batches_are_mixed_where_classes_lie_apart() {
    let mut data = Dataset::clone(&tiny(23));
    data.train.labels = (0..23).map(|i| i / 8).collect();
    let batches: Vec<Batch> = mixed_batches(&data.train, &raw(2), 5).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|b| b.n).collect::<Vec<_>>(), [6, 6, 6, 5]);
    assert!(batches.iter().all(|b| (0..3).all(|class| b.labels.contains(&class))), "{batches:?}");
    let mut labels: Vec<u16> = batches.iter().flat_map(|b| b.labels.iter().map(|&l| l as u16)).collect();
    labels.sort_unstable();
    assert_eq!(labels, data.train.labels, "every image once");
    // The first images come in the same order.
    let first = |n: usize| -> Vec<Batch> {
        first_mixed_batches(&data.train, &raw(2), 5, n).unwrap().map(Result::unwrap).collect()
    };
    let joined = |batches: &[Batch]| -> (Vec<f32>, Vec<u32>) {
        let images = batches.iter().flat_map(|b| b.images.clone()).collect();
        (images, batches.iter().flat_map(|b| b.labels.clone()).collect())
    };
    let (images, labels) = joined(&batches);
    for (n, sizes) in [(3, vec![3]), (13, vec![5, 8]), (15, vec![5; 3])] {
        let some = first(n);
        assert_eq!(some.iter().map(|b| b.n).collect::<Vec<_>>(), sizes);
        assert_eq!(joined(&some), (images[..images.len() / 23 * n].to_vec(), labels[..n].to_vec()));
    }
    assert_eq!(first(23), batches);

    // Images that are not sorted by class keep their order.
    data.train.labels.swap(0, 22);
    let mixed: Vec<Batch> = mixed_batches(&data.train, &raw(2), 5).unwrap().map(Result::unwrap).collect();
    let plain: Vec<Batch> = eval_batches(&data.train, &raw(2), 5).unwrap().map(Result::unwrap).collect();
    assert_eq!(mixed, plain);
    let first: Vec<Batch> =
        first_mixed_batches(&data.train, &raw(2), 5, 7).unwrap().map(Result::unwrap).collect();
    assert_eq!((first.len(), &first[0].labels[..5]), (1, &plain[0].labels[..]));
    assert_usage(mixed_batches(&data.train, &raw(2), 0).map(|_| ()), &["--batch"]);
}

// ---- prefetch ----

fn sources(data: &Arc<Dataset>) -> Vec<Arc<BatchSource>> {
    [Split::Search, Split::Train].map(|part| Arc::new(source(data, part, 4, Augment::default()))).to_vec()
}

#[test]
fn prefetch_gives_the_same_batches_for_any_number_of_threads_and_after_a_resume() {
    let data = tiny(60);
    let take = |start: u64, threads: usize, n: usize| -> Vec<(u64, Vec<Batch>)> {
        let mut prefetch = Prefetch::new(sources(&data), start, threads).unwrap();
        (0..n).map(|_| prefetch.next().unwrap()).collect()
    };
    let plain = sources(&data);
    let expected: Vec<(u64, Vec<Batch>)> =
        (0..30).map(|step| (step, plain.iter().map(|s| s.batch(step).unwrap()).collect())).collect();
    assert_eq!(take(0, 1, 30), expected);
    assert_eq!(take(0, 4, 30), expected);
    assert_eq!(take(0, 0, 30), expected);
    assert_eq!(take(13, 3, 17), expected[13..]);
}

#[test]
fn prefetch_stays_a_few_steps_ahead_and_stops_when_dropped() {
    static PREPARED: AtomicU64 = AtomicU64::new(0);
    let alive = Arc::new(());
    let held = alive.clone();
    let prepare = move |_| {
        let _held = &held;
        PREPARED.fetch_add(1, Ordering::SeqCst);
        Ok(vec![])
    };
    let mut prefetch = Prefetch::from_fn(prepare, 5, 3).unwrap();
    assert_eq!(prefetch.next().unwrap().0, 5);
    std::thread::sleep(Duration::from_millis(50));
    let prepared = PREPARED.load(Ordering::SeqCst);
    assert!((2..=5).contains(&prepared), "{prepared} steps prepared after one was taken");
    drop(prefetch);
    assert_eq!(Arc::strong_count(&alive), 1, "a thread outlived its prefetch");
}

#[test]
fn a_panicking_data_thread_is_an_error_and_not_a_hang() {
    let prepare = |step: u64| -> parsec_nas::Result<Vec<Batch>> {
        assert!(step != 2, "the disk caught fire");
        Ok(vec![])
    };
    for threads in [1, 4] {
        let mut prefetch = Prefetch::from_fn(prepare, 0, threads).unwrap();
        assert_eq!(prefetch.next().unwrap().0, 0);
        assert_eq!(prefetch.next().unwrap().0, 1);
        for _ in 0..2 {
            let text = prefetch.next().unwrap_err().to_string();
            assert!(text.contains("step 2") && text.contains("the disk caught fire"), "{text}");
        }
    }
}

#[test]
fn augmenting_is_fast_enough_to_hide_behind_the_gpu() {
    // The bound is loose by a factor of ten or more, because the machine may be busy. It finds only gross errors.
    let data = Arc::new(load("embedded", &LoadOptions::default()).unwrap());
    let norm = Normalisation::of(&data.train);
    let all = (0..data.train.n as u32).collect();
    let source = BatchSource::new(data, all, Split::Train, 100, 0, Augment::default(), &norm).unwrap();
    source.batch(0).unwrap();
    let start = std::time::Instant::now();
    (0..20).for_each(|step| drop(source.batch(step).unwrap()));
    let millis = start.elapsed().as_secs_f64() * 1e3 / 20.0;
    println!("{millis:.3} ms for 100 images of 28x28");
    assert!(millis < 20.0, "{millis} ms for 100 images");
}

#[test]
fn errors_name_paths_that_a_user_can_find() {
    let text = load_dir("folder", &PathBuf::from("no/such/folder")).unwrap_err().to_string();
    assert!(text.contains("no/such/folder") && text.contains("per class") && text.contains("try:"), "{text}");
}
