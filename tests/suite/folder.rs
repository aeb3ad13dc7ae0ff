//! Folders of images as people have them: types, orientation, links, nested folders, splits, damaged files, the line
//! that reports the data, and the kept images.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::codecs::jpeg::JpegEncoder;
use image::{ImageEncoder, Rgb, RgbImage};
use parsec_nas::Error;
use parsec_nas::data::{
    Account, Cache, Dataset, Images, LoadOptions, Reported, Role, Size, decode_ahead, load, load_reported,
    load_watched, read_scaled,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

mod cli;
mod parts;

const SIDE: usize = 8;

fn options() -> LoadOptions {
    LoadOptions { size: Some(Size::square(SIDE)), ..LoadOptions::default() }
}

fn spec(dir: &Path) -> String {
    format!("folder:{}", dir.display())
}

fn folder(dir: &Path) -> Dataset {
    load(&spec(dir), &options()).unwrap()
}

fn refused(dir: &Path) -> String {
    load(&spec(dir), &options()).unwrap_err().to_string()
}

fn reported(dir: &Path) -> Reported {
    load_reported(&spec(dir), &options(), &|_, _| ()).unwrap()
}

/// Writes an image of one colour. The type follows from the extension.
pub fn plain(path: PathBuf, rgb: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(SIDE as u32, SIDE as u32, Rgb(rgb)).save(path).unwrap();
}

/// Writes `n` images of the class `class` (its red value) into `dir`, with green values from `first`.
pub fn class(dir: &Path, class: &str, n: usize, first: usize) {
    for i in 0..n {
        plain(dir.join(class).join(format!("{i:03}.png")), [class.as_bytes()[0], (first + i) as u8, 9]);
    }
}

/// The green values of images of one colour.
fn greens(images: &Images) -> Vec<u8> {
    (0..images.n).map(|i| images.image(i).unwrap()[SIDE * SIDE]).collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
}

// ---- types ----

#[test]
fn every_type_is_read_and_the_content_decides() {
    let dir = TempDir::new().unwrap();
    for (i, extension) in ["png", "webp", "bmp", "tif", "TIFF", "gif", "jpg"].into_iter().enumerate() {
        for class in ["a", "b"] {
            plain(dir.path().join(class).join(format!("{i}.{extension}")), [200, 10 * i as u8, 100]);
        }
    }
    // These files have another type than the extensions of their names.
    fs::rename(dir.path().join("a/1.webp"), dir.path().join("a/1.jpg")).unwrap();
    fs::rename(dir.path().join("b/0.png"), dir.path().join("b/0.jfif")).unwrap();
    let data = folder(dir.path());
    assert_eq!((data.train.n, data.test.n), (12, 2));
    // The palette of a GIF file and the steps of a JPEG file move values a little.
    let near = |have: Vec<u8>, want: &[u8]| {
        assert_eq!(have.len(), want.len());
        have.iter().zip(want).for_each(|(a, b)| assert!(a.abs_diff(*b) <= 3, "{have:?}"));
    };
    let (train, test) = (greens(&data.train), greens(&data.test));
    near(train[..6].to_vec(), &[0, 10, 20, 30, 50, 60]);
    assert_eq!(test, [40, 40]);
    assert_eq!(data.account.passed_over(), "");
    assert_eq!(
        data.account.to_string().split(", from ").next().unwrap(),
        "12 + 2 images, 2 classes, 3 channels, 8x8"
    );
}

#[test]
fn what_is_not_read_is_counted_by_kind() {
    let dir = TempDir::new().unwrap();
    class(dir.path(), "a", 5, 0);
    class(dir.path(), "b", 5, 0);
    for (name, n) in [("heic", 7), ("AVIF", 2), ("jxl", 1), ("nef", 1), ("txt", 1)] {
        (0..n).for_each(|i| fs::write(dir.path().join(format!("a/x{i}.{name}")), b"....ftypheic").unwrap());
    }
    fs::write(dir.path().join("b/noname"), "x").unwrap();
    plain(dir.path().join("left.png"), [1, 2, 3]);
    // None of these files is counted.
    for hidden in [".DS_Store", "._000.png", "Thumbs.db", "desktop.ini"] {
        fs::write(dir.path().join("a").join(hidden), "x").unwrap();
    }
    fs::create_dir_all(dir.path().join("__MACOSX/a")).unwrap();
    fs::create_dir_all(dir.path().join(".cache/a")).unwrap();
    let account = folder(dir.path()).account;
    assert_eq!(
        account.passed_over(),
        "2 .avif, 7 .heic, 1 .jxl, 1 .nef, 1 .txt, 1 file without an extension, 1 image outside of the class folders"
    );
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(
        account.to_string(),
        format!(
            "8 + 2 images, 2 classes, 3 channels, 8x8, from {name}/, every fifth image held out; passed over: {}",
            account.passed_over()
        )
    );
    // The error about a class without images names the kinds of its files.
    (0..3).for_each(|i| fs::write(dir.path().join(format!("c{i}.heic")), "x").unwrap());
    fs::create_dir(dir.path().join("c")).unwrap();
    fs::write(dir.path().join("c/1.heic"), "x").unwrap();
    let error = refused(dir.path());
    assert!(
        error.contains("c: expected image files") && error.contains("none among 1 files (1 .heic)"),
        "{error}"
    );
}

#[test]
fn known_contents_are_named() {
    let dir = TempDir::new().unwrap();
    for (bytes, name) in [
        (b"\0\0\0\x18ftypheic\0\0\0\0".as_slice(), "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\xff\x0a....", "JPEG XL"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"hello", "68 65 6c 6c"),
    ] {
        let path = dir.path().join("photo.jpg");
        fs::write(&path, bytes).unwrap();
        let error = read_scaled(&path, 3, 4, 4).unwrap_err().to_string();
        assert!(error.contains("photo.jpg") && error.contains(name) && error.contains("try:"), "{error}");
    }
}

#[test]
fn colours_of_print_are_read_and_of_a_film_the_first_picture() {
    let middle = |name: &str| {
        let pixels = read_scaled(&fixture(name), 3, 4, 4).unwrap();
        [pixels[5], pixels[16 + 5], pixels[32 + 5]]
    };
    let near = |have: [u8; 3], want: [u8; 3]| {
        have.iter().zip(want).for_each(|(a, b)| assert!(a.abs_diff(b) <= 12, "{have:?} for {want:?}"));
    };
    near(middle("cmyk.jpg"), [220, 40, 60]);
    near(middle("two-frames.gif"), [220, 20, 20]);
}

/// Every type with half of its bytes is an error that says where the file ends or that it is damaged.
#[test]
fn cut_files_of_every_type_are_errors() {
    let dir = TempDir::new().unwrap();
    for extension in ["png", "jpg", "webp", "bmp", "tif", "gif"] {
        let path = dir.path().join(format!("cut.{extension}"));
        let noise = |x: u32, y: u32| Rgb([(x * 37 + y * 91) as u8, (x * x + y) as u8, (x * y * 13) as u8]);
        RgbImage::from_fn(40, 40, noise).save(&path).unwrap();
        read_scaled(&path, 3, 8, 8).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read_scaled(&path, 3, 8, 8).expect_err(extension).to_string();
        assert!(error.contains("truncated") || error.contains("damaged"), "{error}");
    }
}

#[test]
fn limits_are_named() {
    let dir = TempDir::new().unwrap();
    let jpeg = |width: u16, height: u16| {
        let mut bytes = vec![];
        JpegEncoder::new(&mut bytes).encode_image(&RgbImage::new(16, 16)).unwrap();
        let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        // A comment, so that the file is long enough for its pixels.
        let comment = [&[0xff, 0xfe, 0xff, 0xfe], [b' '; 65_532].as_slice()].concat();
        (0..3).for_each(|_| drop(bytes.splice(2..2, comment.iter().copied())));
        let path = dir.path().join("large.jpg");
        fs::write(&path, bytes).unwrap();
        read_scaled(&path, 3, 8, 8).unwrap_err().to_string()
    };
    let error = jpeg(20_000, 10_000);
    for part in ["large.jpg", "512 MiB", "20000x10000", "200 megapixels", "a smaller copy"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let error = jpeg(40_000, 10);
    assert!(error.contains("sides of at most 32768") && error.contains("40000x10"), "{error}");
}

// ---- orientation ----

/// The TIFF block with orientation `value` that cameras write.
fn exif(value: u8) -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    out.extend([value, 0, 0, 0, 0, 0, 0, 0]);
    out
}

/// Writes a photo whose left half is red, whose upper right quarter is green, and whose lower right quarter is blue.
/// The pixels are stored so that a viewer shows this picture after it has applied `orientation`.
fn photo(orientation: u8, path: &Path) {
    const N: u32 = 32;
    let shown = RgbImage::from_fn(N, N, |x, y| match (x < N / 2, y < N / 2) {
        (true, _) => Rgb([230, 20, 20]),
        (_, true) => Rgb([20, 230, 20]),
        _ => Rgb([20, 20, 230]),
    });
    // The position in the shown picture of the pixel that is stored at (x, y), by the EXIF standard.
    let stored = RgbImage::from_fn(N, N, |x, y| {
        let (right, bottom) = (N - 1 - x, N - 1 - y);
        let (x, y) = match orientation {
            2 => (right, y),
            3 => (right, bottom),
            4 => (x, bottom),
            5 => (y, x),
            6 => (bottom, x),
            7 => (bottom, right),
            8 => (y, right),
            _ => (x, y),
        };
        *shown.get_pixel(x, y)
    });
    let mut bytes = vec![];
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 98);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(&stored, N, N, image::ExtendedColorType::Rgb8).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn photos_are_read_as_they_are_shown() {
    let dir = TempDir::new().unwrap();
    for orientation in 1..=8 {
        for class in ["a", "b"] {
            photo(orientation, &dir.path().join(class).join(format!("{orientation}.jpg")));
        }
    }
    let upright = |image: &[u8], name: &str| {
        let at = |x: usize, y: usize| [0, 1, 2].map(|c| image[c * 64 + y * 8 + x]);
        for (x, y, want) in [(1, 1, 0), (1, 6, 0), (6, 1, 1), (6, 6, 2)] {
            let pixel = at(x, y);
            assert!(pixel[want] > 200 && pixel.iter().filter(|v| **v < 60).count() == 2, "{name}: {pixel:?}");
        }
    };
    let data = folder(dir.path());
    for part in [&data.train, &data.test] {
        (0..part.n).for_each(|i| upright(&part.image(i).unwrap(), &format!("image {i}")));
    }
    let paths: Vec<PathBuf> = (1..=8).map(|i| dir.path().join(format!("a/{i}.jpg"))).collect();
    decode_ahead(&paths, [3, 8, 8], 3, 2, |images| {
        for path in &paths {
            let image = images.next().unwrap()?;
            upright(&image, &path.display().to_string());
            assert_eq!(read_scaled(path, 3, 8, 8)?, image);
        }
        assert!(images.next().is_none());
        Ok(())
    })
    .unwrap();
    // The rules of version 0.1.0 read the pixels as they are stored.
    let before = load(&spec(dir.path()), &LoadOptions { before: true, ..options() }).unwrap();
    assert_eq!(before.train.image(0).unwrap(), data.train.image(0).unwrap());
    assert_ne!(before.train.image(1).unwrap(), data.train.image(1).unwrap());
    assert_eq!(data.train.n, before.train.n);

    // The stored picture is red on the left. The orientation turns it to the right, so that red is on top.
    for name in ["orientation-6.png", "orientation-6.webp", "orientation-6.tif"] {
        let pixels = read_scaled(&fixture(name), 3, 4, 4).unwrap();
        assert!(pixels[1] > 200 && pixels[2] > 200 && pixels[13] < 60, "{name}: {pixels:?}");
    }
}

// ---- links and folders below class folders ----

#[cfg(unix)]
#[test]
fn links_are_followed_and_folders_are_read_to_their_ends() {
    use std::os::unix::fs::symlink;
    let dir = TempDir::new().unwrap();
    let (data, store) = (dir.path().join("data"), dir.path().join("store"));
    class(&store, "s", 10, 100);
    class(&store, "whole", 5, 50);
    class(&data, "a/deeper/and/deeper", 10, 0);
    class(&data, "b", 20, 0);
    for i in 0..10 {
        symlink(format!("../../store/s/{i:03}.png"), data.join(format!("a/l{i}.png"))).unwrap();
    }
    symlink(store.join("whole"), data.join("c")).unwrap();
    symlink(store.join("whole"), data.join("b/more")).unwrap();
    let read = folder(&data);
    assert_eq!(read.class_names, ["a", "b", "c"]);
    let count = |label: u16| {
        [&read.train, &read.test].iter().flat_map(|part| &part.labels).filter(|l| **l == label).count()
    };
    assert_eq!([count(0), count(1), count(2)], [20, 25, 5]);
    assert_eq!(read.account.passed_over(), "");
    // `deeper` comes before `l0.png`, as names do.
    assert_eq!(greens(&read.train)[..9], [0, 1, 2, 3, 5, 6, 7, 8, 100]);

    // Links that lead nowhere, to themselves, or to a folder above.
    symlink("nowhere.png", data.join("a/n1.png")).unwrap();
    symlink("nowhere", data.join("b/n2")).unwrap();
    symlink("self.png", data.join("b/self.png")).unwrap();
    symlink("..", data.join("a/deeper/up")).unwrap();
    symlink(&data, data.join("b/all")).unwrap();
    symlink(".", data.join("b/here")).unwrap();
    symlink(".", data.join("d")).unwrap();
    let again = folder(&data);
    assert_eq!(again.identity, read.identity);
    assert_eq!(again.account.passed_over(), "5 links into a loop, 2 links that lead nowhere");
    // The rules of version 0.1.0 ignore links and folders below class folders.
    let before = load(&spec(&data), &LoadOptions { before: true, ..options() });
    assert!(before.unwrap_err().to_string().contains("none among 0 files"));
}
/// A link to any folder above it, up to the folder of the data, would bring images of other classes and parts.
#[cfg(unix)]
#[test]
fn links_to_a_part_and_to_the_data_are_passed_over() {
    use std::os::unix::fs::symlink;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    for part in ["Train", "val", "test"] {
        class(&data.join(part), "cat", 6, 0);
        class(&data.join(part), "dog", 6, 100);
    }
    let plain = folder(&data);
    let deep = data.join("Train/cat/deep/er");
    fs::create_dir_all(&deep).unwrap();
    symlink("../../Train", data.join("Train/cat/up")).unwrap();
    symlink("..", data.join("Train/cat/loop")).unwrap();
    symlink("../..", data.join("Train/dog/top")).unwrap();
    symlink(&data, deep.join("all")).unwrap();
    symlink(data.join("Train"), deep.join("part")).unwrap();
    symlink("..", data.join("val/all")).unwrap();
    let read = folder(&data);
    assert_eq!(read.identity, plain.identity);
    assert_eq!(read.account.passed_over(), "6 links into a loop");
}

#[cfg(unix)]
#[test]
fn a_linked_part_is_a_part_and_an_unreadable_folder_is_named() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    for name in ["a", "b"] {
        class(&data.join("train"), name, 6, 0);
        class(&dir.path().join("elsewhere"), name, 2, 200);
    }
    symlink("../elsewhere", data.join("val")).unwrap();
    let read = folder(&data);
    assert_eq!((read.train.n, read.test.n), (12, 4));
    assert_eq!(greens(&read.test), [200, 201, 200, 201]);

    let shut = data.join("train/b/shut");
    fs::create_dir(&shut).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read_dir(&shut).is_err() {
        let error = refused(&data);
        assert!(error.contains("shut") && error.contains("--skip-bad-images"), "{error}");
        let skipped = load(&spec(&data), &LoadOptions { skip_bad: true, ..options() }).unwrap();
        assert_eq!(skipped.account.passed_over(), "1 unreadable folder");
    }
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The identity of a folder has not changed since 0.1.0: SHA-256 over pixels and labels, train first, and val beside
/// test was ignored.
#[test]
fn the_identity_of_before_stays() {
    let dir = TempDir::new().unwrap();
    for name in ["a", "b"] {
        class(&dir.path().join("train"), name, 3, 0);
        class(&dir.path().join("test"), name, 2, 50);
    }
    let mut hash = Sha256::new();
    for (n, first) in [(3, 0), (2, 50)] {
        for class in [b'a', b'b'] {
            (0..n).for_each(|i| [class, first + i, 9].iter().for_each(|v| hash.update([*v; SIDE * SIDE])));
        }
        (0..n).for_each(|_| hash.update([0, 0]));
        (0..n).for_each(|_| hash.update([1, 0]));
    }
    let want: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let now = folder(dir.path()).identity;
    assert_eq!(now.sha256, want);
    assert!(serde_json::to_value(&now).unwrap().get("n_report").is_none());

    ["a", "b"].iter().for_each(|name| class(&dir.path().join("val"), name, 5, 90));
    let before = load(&spec(dir.path()), &LoadOptions { before: true, ..options() }).unwrap();
    assert_eq!(before.identity, now);
    assert_eq!((before.test.n, before.report), (4, None));
    assert_eq!(folder(dir.path()).test.n, 10);
}

#[test]
fn parts_that_do_not_fit_are_errors_and_others_are_counted() {
    // Two folders of one part.
    let dir = TempDir::new().unwrap();
    for part in ["train", "val", "validation"] {
        ["a", "b"].iter().for_each(|name| class(&dir.path().join(part), name, 5, 0));
    }
    let error = refused(dir.path());
    assert!(
        error.contains("one folder of the part val") && error.contains("val/ and validation/"),
        "{error}"
    );
    // A folder beside the parts, and images beside them.
    fs::rename(dir.path().join("validation"), dir.path().join("masks")).unwrap();
    plain(dir.path().join("cover.png"), [0; 3]);
    let account = folder(dir.path()).account;
    assert_eq!(account.passed_over(), "1 image outside of the class folders, masks/ beside train/");
    // Test images without classes, as competitions have them.
    class(dir.path(), "test", 7, 0);
    let read = folder(dir.path());
    assert_eq!((read.train.n, read.test.n, read.report.is_none()), (10, 10, true));
    assert!(read.account.passed_over().contains("test/ (no class folders)"), "{}", read.account);
    // Only a held-out part.
    fs::remove_dir_all(dir.path().join("train")).unwrap();
    ["test", "masks"].iter().for_each(|name| fs::remove_dir_all(dir.path().join(name)).unwrap());
    let error = refused(dir.path());
    assert!(error.contains("a folder train/ beside val/"), "{error}");
    // A class may have the name of a part.
    let dir = TempDir::new().unwrap();
    ["car", "plane", "train"].iter().for_each(|name| class(dir.path(), name, 5, 0));
    assert_eq!(folder(dir.path()).class_names, ["car", "plane", "train"]);
    // One folder around everything.
    let dir = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(&dir.path().join("my images"), name, 5, 0));
    let error = refused(dir.path());
    assert!(error.contains("--data 'folder:") && error.contains("my images'"), "{error}");
}

// ---- damaged files ----

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn all_damaged_files_are_named_at_once_or_counted() {
    let dir = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(&dir.path().join("train"), name, 30, 0));
    ["a", "b"].iter().for_each(|name| class(&dir.path().join("val"), name, 4, 100));
    let path = |name: &str| dir.path().join(name);
    cut(&path("train/a/001.png"));
    let error = refused(dir.path());
    assert!(error.starts_with(&path("train/a/001.png").display().to_string()), "{error}");
    assert!(
        error.contains("truncated") && error.ends_with("or --skip-bad-images to go on without it"),
        "{error}"
    );

    cut(&path("train/a/003.png"));
    fs::write(path("val/b/002.png"), "").unwrap();
    let error = refused(dir.path());
    assert!(error.contains("3 that cannot"), "{error}");
    for name in
        ["train/a/001.png: ", "train/a/003.png: ", "val/b/002.png: an empty file", "--skip-bad-images"]
    {
        assert!(error.contains(name), "{name} is not in: {error}");
    }
    let skip = LoadOptions { skip_bad: true, ..options() };
    let read = load(&spec(dir.path()), &skip).unwrap();
    assert_eq!((read.train.n, read.test.n), (58, 7));
    assert_eq!(greens(&read.train)[..4], [0, 2, 4, 5]);
    assert_eq!(greens(&read.test), [100, 101, 102, 103, 100, 101, 103]);
    assert_eq!(read.train.labels.iter().filter(|label| **label == 0).count(), 28);
    assert_eq!(read.account.passed_over(), "3 damaged images");
    assert!(matches!(load(&spec(dir.path()), &options()), Err(Error::File { .. })));

    (4..16).for_each(|i| cut(&path(&format!("train/b/{i:03}.png"))));
    let error = refused(dir.path());
    assert!(error.contains("15 that cannot") && error.contains("and 5 more"), "{error}");
    assert_eq!(error.matches(".png: ").count(), 10, "{error}");
    // A class of damaged images only.
    (0..30).for_each(|i| fs::write(path(&format!("train/b/{i:03}.png")), "x").unwrap());
    let error = load(&spec(dir.path()), &skip).unwrap_err().to_string();
    assert!(error.contains("an image of the class b to train on"), "{error}");
}

// ---- threads, parts, progress ----

#[test]
fn threads_change_nothing_and_progress_counts_every_image() {
    let dir = TempDir::new().unwrap();
    ["a", "b", "c"].iter().for_each(|name| class(dir.path(), name, 20, 0));
    cut(&dir.path().join("b/007.png"));
    let with = |threads: usize| {
        let (n, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let watch = |done: usize, total: usize| {
            assert_eq!(total, 60);
            n.fetch_add(1, Ordering::Relaxed);
            most.fetch_max(done, Ordering::Relaxed);
        };
        let options = LoadOptions { threads, skip_bad: true, ..options() };
        let read = load_watched(&spec(dir.path()), &options, &watch).unwrap();
        assert_eq!((n.into_inner(), most.into_inner()), (60, 60));
        (read.identity, read.account, read.train.bytes().to_vec())
    };
    let one = with(1);
    [2, 7, 100].iter().for_each(|threads| assert_eq!(with(*threads), one));
}

#[test]
fn for_a_report_only_its_part_is_decoded() {
    let dir = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(dir.path(), name, 10, 0));
    let all = folder(dir.path());
    let whole = &all.account.part(Role::HeldOut).unwrap().sha256;
    // A damaged training image changes nothing. A changed held-out image changes the hash of the part.
    fs::write(dir.path().join("a/000.png"), "damaged").unwrap();
    let total = AtomicUsize::new(0);
    let watch = |_: usize, of: usize| total.store(of, Ordering::Relaxed);
    let part = load_reported(&spec(dir.path()), &options(), &watch).unwrap();
    assert_eq!((part.images, total.into_inner()), (all.test.clone(), 4));
    assert_eq!((&part.account.parts[0].sha256, part.account.parts[0].role), (whole, Role::HeldOut));
    let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        part.account.to_string().ends_with(&format!("from every fifth image of {name}/")),
        "{}",
        part.account
    );
    plain(dir.path().join("b/004.png"), [1; 3]);
    assert_ne!(&reported(dir.path()).account.parts[0].sha256, whole);
    // Sources of other kinds have one part for both.
    let embedded = load_reported("embedded", &options(), &|_, _| ()).unwrap();
    let all = load("embedded", &options()).unwrap();
    assert_eq!((embedded.images.n, &embedded.account.parts[0].sha256), (1000, &all.account.parts[1].sha256));
    assert_eq!(
        all.account.to_string(),
        "5,000 + 1,000 images, 10 classes, 1 channel, 28x28, from the program"
    );
}

#[cfg(unix)]
#[test]
fn a_pattern_may_meet_names_of_other_encodings() {
    use std::os::unix::ffi::OsStrExt;
    let dir = TempDir::new().unwrap();
    class(dir.path(), "a", 3, 0);
    fs::copy(
        dir.path().join("a/000.png"),
        dir.path().join("a").join(std::ffi::OsStr::from_bytes(b"caf\xe9.png")),
    )
    .unwrap();
    fs::create_dir(dir.path().join(std::ffi::OsStr::from_bytes(b"\xe9"))).unwrap();
    for (pattern, n) in [
        ("a/*.png", 4),
        ("**/*.png", 4),
        ("a/caf?.png", 1),
        ("**/00[01].png", 2),
        ("?/001.png", 1),
        ("*/*", 4),
    ] {
        let (paths, _) = parsec_nas::data::image_files(&[dir.path().join(pattern)]).unwrap();
        assert_eq!(paths.len(), n, "{pattern}: {paths:?}");
    }
}

// ---- kept images ----

fn kept_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_second_start_reads_the_kept_images() {
    let dir = TempDir::new().unwrap();
    let (data, kept) = (dir.path().join("data"), dir.path().join("kept"));
    ["a", "b"].iter().for_each(|name| class(&data.join("train"), name, 6, 0));
    ["a", "b"].iter().for_each(|name| class(&data.join("val"), name, 2, 100));
    let cache = Cache { folder: kept.clone(), most_bytes: 1 << 20, least_bytes: 0 };
    let options = LoadOptions { cache: Some(cache.clone()), ..options() };
    // The number of images that were decoded.
    let decoded = |options: &LoadOptions| {
        let n = AtomicUsize::new(0);
        let read =
            load_watched(&spec(&data), options, &|_, _| _ = n.fetch_add(1, Ordering::Relaxed)).unwrap();
        (n.into_inner(), read.identity, read.train.bytes().to_vec())
    };
    let first = decoded(&options);
    assert_eq!(first.0, 16);
    assert_eq!(kept_files(&kept).len(), 2, "one file for each part");
    let again = |n: usize| (n, first.1.clone(), first.2.clone());
    assert_eq!(decoded(&options), again(0));
    assert_eq!(load_reported(&spec(&data), &options, &|_, _| panic!("decoded")).unwrap().images.n, 4);
    // Damaged files are made again.
    for path in kept_files(&kept) {
        let good = fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let (n, identity, _) = decoded(&options);
            assert_eq!(&identity, &first.1);
            assert!(n == 4 || n == 12, "{n}");
            assert_eq!(decoded(&options).0, 0);
        }
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert_ne!(decoded(&options).0, 0);
    }
    // After a change of the size, of a file's time, or of a file's name, the images are decoded again.
    assert_eq!(decoded(&LoadOptions { size: Some(Size::square(4)), ..options.clone() }).0, 16);
    let file = fs::File::options().write(true).open(data.join("val/a/000.png")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(decoded(&options), again(4));
    fs::rename(data.join("train/a/000.png"), data.join("train/a/0000.png")).unwrap();
    assert_eq!(decoded(&options).0, 12);
    // Nothing is kept if the files have too few bytes, or if the folder cannot be made.
    let lazy = Cache { least_bytes: 1 << 20, ..cache.clone() };
    assert_eq!(decoded(&LoadOptions { cache: Some(lazy), ..options.clone() }).0, 16);
    fs::write(dir.path().join("file"), "x").unwrap();
    let nowhere =
        LoadOptions { cache: Some(Cache { folder: dir.path().join("file/in"), ..cache }), ..options };
    assert_eq!(decoded(&nowhere).0, 16);
}

#[test]
fn damaged_images_are_kept_as_such() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    ["a", "b"].iter().for_each(|name| class(&data, name, 10, 0));
    cut(&data.join("a/001.png"));
    let cache = Cache { folder: dir.path().join("kept"), most_bytes: 1 << 20, least_bytes: 0 };
    let strict = LoadOptions { cache: Some(cache), ..options() };
    let skip = LoadOptions { skip_bad: true, ..strict.clone() };
    let error = load(&spec(&data), &strict).unwrap_err().to_string();
    let read = load_watched(&spec(&data), &skip, &|_, _| panic!("decoded")).unwrap();
    assert_eq!(greens(&read.train)[..3], [0, 2, 3]);
    assert_eq!(read.account.passed_over(), "1 damaged image");
    assert_eq!(load(&spec(&data), &strict).unwrap_err().to_string(), error, "the error needs the file again");
}

#[test]
fn old_kept_images_make_room() {
    let dir = TempDir::new().unwrap();
    let kept = dir.path().join("kept");
    let most_bytes = 4 * 10 * 3 * 64;
    let cache = Cache { folder: kept.clone(), most_bytes, least_bytes: 0 };
    let options = LoadOptions { cache: Some(cache), ..options() };
    let mut sets: Vec<PathBuf> = vec![];
    for i in 0..6 {
        let data = dir.path().join(format!("data{i}"));
        ["a", "b"].iter().for_each(|name| class(&data, name, 10, i));
        load(&spec(&data), &options).unwrap();
        sets.push(data);
        let bytes: u64 = kept_files(&kept).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(bytes <= most_bytes, "{bytes}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // The newest images are kept, and the oldest are removed.
    load_watched(&spec(&sets[5]), &options, &|_, _| panic!("decoded")).unwrap();
    let n = AtomicUsize::new(0);
    load_watched(&spec(&sets[0]), &options, &|_, _| _ = n.fetch_add(1, Ordering::Relaxed)).unwrap();
    assert_eq!(n.into_inner(), 20);
}

// ---- hints ----

#[test]
fn a_folder_without_its_source_is_recognised() {
    // What Hugging Face's library saves with save_to_disk.
    let saved = TempDir::new().unwrap();
    for part in ["train", "test"] {
        fs::create_dir(saved.path().join(part)).unwrap();
        fs::write(saved.path().join(part).join("data-00000-of-00001.arrow"), "ARROW1").unwrap();
    }
    let bare = load(&saved.path().display().to_string(), &options()).unwrap_err().to_string();
    assert!(bare.contains("to_parquet") && refused(saved.path()).contains("to_parquet"), "{bare}");
    let dir = TempDir::new().unwrap();
    let hint = |dir: &Path| load(dir.to_str().unwrap(), &options()).unwrap_err().to_string();
    let photos = dir.path().join("my photos");
    ["a", "b"].iter().for_each(|name| class(&photos, name, 2, 0));
    assert!(hint(&photos).contains(&format!("--data 'folder:{}'", photos.display())), "{}", hint(&photos));
    for (file, source) in [
        ("data_batch_1.bin", "cifar10"),
        ("cifar-100-binary", "cifar100"),
        ("train-images-idx3-ubyte.gz", "idx"),
    ] {
        let folder = dir.path().join(source);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(file), "x").unwrap();
        assert!(
            hint(&folder).contains(&format!("--data {source}:{}", folder.display())),
            "{}",
            hint(&folder)
        );
    }
    let error = hint(&dir.path().join("nothing/here"));
    assert!(error.contains("nothing has the name"), "{error}");
}
