//! Files with many images each (parquet, tar), and images that stay on disk.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{ImageFormat, Rgb, RgbImage};
use parsec_nas::data::{
    Augment, BatchSource, Cache, Dataset, Images, LoadOptions, Normalisation, Size, Split, eval_batches,
    load, load_reported, load_watched,
};
use proptest::prelude::*;
use tempfile::TempDir;

mod cli;

const SIDE: usize = 8;

fn options() -> LoadOptions {
    LoadOptions { size: Some(Size::square(SIDE)), ..LoadOptions::default() }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(name)
}

fn read(source: &str, path: &Path) -> parsec_nas::Result<Dataset> {
    load(&format!("{source}:{}", path.display()), &options())
}

fn refused(source: &str, path: &Path) -> String {
    read(source, path).unwrap_err().to_string()
}

/// Checks that the images `greens` are there in this order: image i has red = 10 * (i % 3), green = i and class i % 3.
fn check(images: &Images, greens: impl IntoIterator<Item = u8>) {
    let greens: Vec<u8> = greens.into_iter().collect();
    assert_eq!(images.n, greens.len());
    for (i, green) in greens.into_iter().enumerate() {
        let class = u16::from(green) % 3;
        let image = images.image(i).unwrap();
        assert_eq!(
            (image[SIDE * SIDE], image[0], images.labels[i]),
            (green, 10 * class as u8, class),
            "image {i}"
        );
    }
}

// ---- parquet ----

#[test]
fn parquet_files_of_hugging_face_have_parts_and_names() {
    let data = read("parquet", &fixture("parts")).unwrap();
    check(&data.train, 0..18);
    // The numbers of the other parts begin at 100 and 200.
    check(&data.test, 100..106);
    check(data.report.as_ref().unwrap(), 200..209);
    assert_eq!(data.class_names, ["ant", "bee", "cat"]);
    assert_eq!(
        data.account.to_string(),
        "18 + 6 + 9 images, 3 classes, 3 channels, 8x8, from train of parts/, val of parts/ (to choose by) and test of \
         parts/ (for eval); passed over: 1 .md"
    );
    // One file is a set by itself.
    let one = read("parquet", &fixture("parts/data/train-00000-of-00002.parquet")).unwrap();
    check(&one.train, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    check(&one.test, [9, 10, 11]);
    let wanted =
        load_reported(&format!("parquet:{}", fixture("parts").display()), &options(), &|_, _| ()).unwrap();
    check(&wanted.images, 200..209);
}

#[test]
fn parquet_files_of_every_kind_are_read() {
    for name in ["numbers", "gzip", "lz4", "none", "names"] {
        let data = read("parquet", &fixture(&format!("kinds/{name}.parquet"))).unwrap();
        if name == "names" {
            // The names x, z, y are sorted: class 1 of the pictures is the last one.
            assert_eq!((data.class_names.join(""), &data.train.labels[..3]), ("xyz".into(), &[0, 2, 1][..]));
            continue;
        }
        check(&data.train, 0..12);
        check(&data.test, 12..15);
        assert_eq!(data.class_names, ["0", "1", "2"]);
    }
    let nulls = read("parquet", &fixture("kinds/nulls.parquet")).unwrap();
    assert_eq!(
        (nulls.train.n + nulls.test.n, nulls.account.passed_over().as_str()),
        (14, "1 image without a label")
    );
}

#[test]
fn parquet_files_that_do_not_fit_are_explained() {
    let text = |name: &str| refused("parquet", &fixture(&format!("kinds/{name}.parquet")));
    let zstd = text("zstd");
    assert!(zstd.contains("found ZSTD") && zstd.contains("compression='snappy'"), "{zstd}");
    let unnamed = text("unnamed");
    assert!(
        unnamed.contains("a column of whole numbers or text named label") && unnamed.contains("what (int64)"),
        "{unnamed}"
    );
    assert!(text("one").contains("label 1 for all images"), "{}", text("one"));
    let hole = text("hole");
    assert!(hole.contains("hole.parquet/row 7") && hole.contains("--skip-bad-images"), "{hole}");
    let skip = LoadOptions { skip_bad: true, ..options() };
    let data = load(&format!("parquet:{}", fixture("kinds/hole.parquet").display()), &skip).unwrap();
    assert_eq!((data.train.n + data.test.n, data.account.passed_over().as_str()), (14, "1 damaged image"));

    // The test part of a competition has no labels, and a download may be half done.
    let dir = TempDir::new().unwrap();
    let good = fs::read(fixture("kinds/gzip.parquet")).unwrap();
    for name in ["train-00000-of-00004", "train-00003-of-00004-0123abcd", "validation-00000-of-00001"] {
        fs::write(dir.path().join(format!("{name}.parquet")), &good).unwrap();
    }
    fs::copy(fixture("kinds/unnamed.parquet"), dir.path().join("test-00000-of-00002.parquet")).unwrap();
    let data = read("parquet", dir.path()).unwrap();
    assert!(data.report.is_none() && data.train.n > 0);
    assert_eq!(
        data.account.passed_over(),
        "missing: test-00001-of-00002, missing: train-00001-of-00004 and 1 more, test/ (no labels)"
    );
    let cut = dir.path().join("cut.parquet");
    fs::write(&cut, &good[..good.len() - 30]).unwrap();
    assert!(refused("parquet", &cut).contains("cut.parquet"), "{}", refused("parquet", &cut));
    assert!(refused("parquet", &dir.path().join("x.parquet")).contains("nothing of that name"));
    assert!(refused("parquet", TempDir::new().unwrap().path()).contains("none among 0 files"));
}

// ---- tar ----

fn png(green: u8) -> Vec<u8> {
    let mut out = Cursor::new(vec![]);
    RgbImage::from_pixel(SIDE as u32, SIDE as u32, Rgb([10 * (green % 3), green, 9]))
        .write_to(&mut out, ImageFormat::Png)
        .unwrap();
    out.into_inner()
}

fn tar(path: &Path, entries: &[(String, Vec<u8>)]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.finish().unwrap();
}

/// Samples of WebDataset with a number as class.
fn samples(greens: std::ops::Range<u8>) -> Vec<(String, Vec<u8>)> {
    let sample =
        |i: u8| [(format!("s{i:04}.png"), png(i)), (format!("s{i:04}.cls"), format!("{}", i % 3).into())];
    greens.flat_map(sample).collect()
}

#[test]
fn tar_files_of_webdataset_are_read_in_place() {
    let dir = TempDir::new().unwrap();
    let set = dir.path().join("set");
    tar(&set.join("train/0.tar"), &samples(0..7));
    tar(&set.join("train/1.tar"), &samples(7..15));
    tar(&set.join("test/0.tar"), &samples(100..106));
    fs::write(set.join("classnames.txt"), "ant\nbee\ncat\n").unwrap();
    let data = read("tar", &set).unwrap();
    check(&data.train, 0..15);
    check(&data.test, 100..106);
    assert_eq!((data.report.is_none(), data.class_names.join(" ")), (true, "ant bee cat".into()));
    assert_eq!(
        data.account.to_string(),
        "15 + 6 images, 3 classes, 3 channels, 8x8, from train of set/ and test of set/ (test of set/ both \
         to choose by and to report)"
    );
    // A file of names may name more classes than there are, but not fewer.
    fs::write(set.join("classnames.txt"), "\u{feff}ant\r\nbee\r\ncat\r\ndog\r\n\r\n").unwrap();
    assert_eq!(read("tar", &set).unwrap().class_names.join(" "), "ant bee cat dog");
    fs::write(set.join("classnames.txt"), b"caf\xe9\nant\nbee\n").unwrap();
    assert!(refused("tar", &set).contains("bytes that are not UTF-8"));
    for (names, found) in [("ant\n\nbee\ncat\n", "an empty line"), ("ant\nbee\nant\n", "`ant` again")] {
        fs::write(set.join("classnames.txt"), names).unwrap();
        let text = refused("tar", &set);
        assert!(
            text.contains("classnames.txt: expected another name in line") && text.contains(found),
            "{text}"
        );
    }
    fs::write(set.join("classnames.txt"), "ant\nbee\n").unwrap();
    let text = refused("tar", &set);
    assert!(text.contains("a label below 2, the number of names in ") && text.contains("found 2"), "{text}");
    // Files of a sample have any order, other files are counted, and long names are read.
    let long = "a/very/long/folder/".repeat(12);
    let entries: Vec<(String, Vec<u8>)> = (0..15)
        .flat_map(|i| {
            let label = format!("{{\"label\": {}, \"caption\": \"x\"}}", i % 3);
            let base = format!("{long}{i:03}");
            [
                (format!("{base}.json"), label.into()),
                (format!("{base}.PNG"), png(i)),
                (format!("{base}.seg.png"), png(99)),
                (format!("{base}.txt"), b"a caption".to_vec()),
            ]
        })
        .collect();
    tar(&dir.path().join("all.tar"), &entries);
    let data = read("tar", &dir.path().join("all.tar")).unwrap();
    check(&data.train, 0..12);
    assert_eq!(data.account.passed_over(), "15 .seg.png, 15 .txt");
    // Names as classes, and folders as classes.
    let named = |name: &dyn Fn(u8) -> [(String, Vec<u8>); 2]| {
        tar(&dir.path().join("named.tar"), &(0..15).flat_map(name).collect::<Vec<_>>());
        let data = read("tar", &dir.path().join("named.tar")).unwrap();
        check(&data.train, 0..12);
        data.class_names
    };
    let class = |i: u8| ["ant", "bee", "cat"][usize::from(i % 3)];
    let text = |i: u8| [(format!("{i}.png"), png(i)), (format!("{i}.cls"), class(i).into())];
    assert_eq!(named(&text), ["ant", "bee", "cat"]);
    let folders = |i: u8| [(format!("x/{}/{i}.png", class(i)), png(i)), (format!("x/{i}.md"), vec![])];
    assert_eq!(named(&folders), ["ant", "bee", "cat"]);
}

#[test]
fn damaged_tar_files_are_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.tar");
    tar(&path, &samples(0..15));
    let good = fs::read(&path).unwrap();
    let with = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refused("tar", &path)
    };
    let content = good.len() - 1024;
    for (cut, found) in [
        (content, "end mark"),
        (content - 1516, "truncated"),
        (700, "end mark"),
        (300, "a.tar"),
        (0, "a.tar"),
    ] {
        let text = with(&good[..cut]);
        assert!(text.contains("a.tar") && text.contains(found), "{cut}: {text}");
    }
    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &good).unwrap();
    assert!(with(&gz.finish().unwrap()).contains("gzip -d <"));
    // A damaged image is named by its shard and its name.
    let mut entries = samples(0..15);
    entries[4].1.truncate(20);
    tar(&path, &entries);
    let text = refused("tar", &path);
    assert!(text.contains("a.tar/s0002.png"), "{text}");
    let skip = LoadOptions { skip_bad: true, ..options() };
    let data = load(&format!("tar:{}", path.display()), &skip).unwrap();
    check(&data.train, [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    entries[5].1 = b"7000000".to_vec();
    entries[4].1 = png(2);
    tar(&path, &entries);
    assert!(refused("tar", &path).contains("a.tar/s0002.png"), "{}", refused("tar", &path));
}

#[test]
fn a_tar_file_with_more_behind_its_end_is_an_error() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.tar");
    tar(&path, &samples(0..15));
    let good = fs::read(&path).unwrap();
    // A header of zeros looks like the end of the file. Files that were joined have an end in the middle.
    let mut hole = good.clone();
    hole[6 * 1024..6 * 1024 + 512].fill(0);
    for bytes in [hole, [good.clone(), good.clone()].concat()] {
        fs::write(&path, bytes).unwrap();
        let text = refused("tar", &path);
        assert!(text.contains("a.tar at byte") && text.contains("after the end mark"), "{text}");
    }
    // Programs fill the last record with zeros.
    fs::write(&path, [good, vec![0; 9000]].concat()).unwrap();
    check(&read("tar", &path).unwrap().train, 0..12);
}

#[test]
fn names_in_tar_files_have_classes_below_the_common_folders_and_no_parts() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.tar");
    let class = |i: u8| ["ant", "bee", "cat"][usize::from(i % 3)];
    let with = |name: &dyn Fn(u8) -> String| {
        tar(&path, &(0..15).map(|i| (name(i), png(i))).collect::<Vec<_>>());
        read("tar", &path)
    };
    let deep = with(&|i| format!("./root/{}/batch{}/{i}.png", class(i), i % 4)).unwrap();
    check(&deep.train, 0..12);
    assert_eq!(deep.class_names, ["ant", "bee", "cat"]);
    let dots = with(&|i| format!("{}/IMG_2024.{i:02}.rf.png", class(i))).unwrap();
    check(&dots.train, 0..12);
    let parts = with(&|i| format!("set/{}/{}/{i}.png", ["train", "val"][usize::from(i / 10)], class(i)));
    let text = parts.unwrap_err().to_string();
    assert!(text.contains("folders of several parts") && text.contains("train.tar and test.tar"), "{text}");
}

#[test]
fn parts_follow_from_names() {
    let dir = TempDir::new().unwrap();
    let counts = |names: &[&str]| {
        let set = dir.path().join("set");
        _ = fs::remove_dir_all(&set);
        names
            .iter()
            .zip([0u8, 100])
            .for_each(|(name, first)| tar(&set.join(name), &samples(first..first + 15)));
        read("tar", &set).map(|data| (data.train.n, data.test.n)).map_err(|e| e.to_string())
    };
    for names in
        [["train-0.tar", "test-0.tar"], ["SetTrain.tar", "SetTest.tar"], ["trainval.tar", "test.tar"]]
    {
        assert_eq!(counts(&names), Ok((15, 15)), "{names:?}");
    }
    // Shards of no part, and shards of one part alone, are a set of which a fifth is held out.
    assert_eq!(counts(&["0.tar", "1.tar"]), Ok((24, 6)));
    assert_eq!(counts(&["dev-0.tar", "dev-1.tar"]), Ok((24, 6)));
    let text = counts(&["train/test_0.tar", "train/1.tar"]).unwrap_err();
    assert!(text.contains("train/test_0.tar") && text.contains("the parts train and test"), "{text}");
    assert!(counts(&["val.tar", "test.tar"]).unwrap_err().contains("shards of other parts only"));
    let configurations = dir.path().join("configurations");
    for name in ["full", "small"] {
        fs::create_dir_all(configurations.join(name)).unwrap();
        fs::copy(fixture("kinds/gzip.parquet"), configurations.join(name).join("train.parquet")).unwrap();
    }
    let text = refused("parquet", &configurations);
    assert!(text.contains("full, small") && text.contains("configurations/full"), "{text}");
    #[cfg(unix)]
    {
        let set = dir.path().join("links");
        tar(&set.join("a.tar"), &samples(0..15));
        std::os::unix::fs::symlink("a.tar", set.join("b.tar")).unwrap();
        let data = read("tar", &set).unwrap();
        assert_eq!((data.train.n, data.account.passed_over().as_str()), (12, "1 link to a file of the set"));
    }
}

#[test]
fn classes_of_tar_files_that_are_not_found_are_explained() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.tar");
    // All classes before all images: no class is beside its image.
    let mut entries = samples(0..15);
    entries.sort_by_key(|(name, _)| name.ends_with("png"));
    tar(&path, &entries);
    let text = refused("tar", &path);
    assert!(text.contains("none for 15 images") && text.contains("tar --sort=name"), "{text}");
    // Forms of a class in JSON, and what is none.
    let json = |label: &dyn Fn(u8) -> String| {
        let entries = |i: u8| {
            [
                (format!("{i}.png"), png(i)),
                (format!("{i}.json"), format!("{{\"label\": {}}}", label(i)).into()),
            ]
        };
        tar(&path, &(0..15).flat_map(entries).collect::<Vec<_>>());
    };
    // Forms of a class in its own file, and what is none.
    let cls = |label: &dyn Fn(u8) -> String| {
        let entries = |i: u8| [(format!("{i}.png"), png(i)), (format!("{i}.cls"), label(i).into())];
        tar(&path, &(0..15).flat_map(entries).collect::<Vec<_>>());
    };
    cls(&|i| format!("{}.0\n", i % 3));
    assert_eq!(read("tar", &path).unwrap().class_names, ["0", "1", "2"]);
    for (wrong, found) in [("", "an empty file"), ("0\n1", "2 lines")] {
        cls(&|i| if i == 4 { wrong.into() } else { format!("{}", i % 3) });
        let text = refused("tar", &path);
        assert!(text.contains("4.cls: expected one class") && text.contains(found), "{text}");
    }
    let forms: [&dyn Fn(u8) -> String; 4] =
        [&|i| format!("{}.0", i % 3), &|i| format!("[{}]", i % 3), &|i| format!("\" {}\"", i % 3), &|i| {
            if i == 7 { "null".into() } else { format!("{}", i % 3) }
        }];
    for (form, n) in forms.into_iter().zip([15, 15, 15, 14]) {
        json(form);
        let data = read("tar", &path).unwrap();
        assert_eq!((data.train.n + data.test.n, data.class_names.len()), (n, 3));
    }
    for (wrong, found) in [
        ("[1, 0, 0]", "a list of 3 as `label`"),
        ("{}", "an object as `label`"),
        ("0.5", "0.5 as `label`"),
        ("", "no JSON"),
    ] {
        json(&|i| if i == 4 { wrong.into() } else { format!("{}", i % 3) });
        let text = refused("tar", &path);
        assert!(text.contains("4.json: expected one class") && text.contains(found), "{text}");
    }
    // Where folders are the classes, the files beside the images may hold anything.
    let entries = |i: u8| {
        [
            (format!("{}/{i}.png", i % 3), png(i)),
            (format!("{}/{i}.json", i % 3), b"{\"label\": [1, 2]}".to_vec()),
        ]
    };
    tar(&path, &(0..15).flat_map(entries).collect::<Vec<_>>());
    check(&read("tar", &path).unwrap().train, 0..12);
    // A byte order mark is no part of a class.
    let marked =
        |i: u8| [(format!("{i}.png"), png(i)), (format!("{i}.cls"), format!("\u{feff}{}\n", i % 3).into())];
    tar(&path, &(0..15).flat_map(marked).collect::<Vec<_>>());
    check(&read("tar", &path).unwrap().train, 0..12);
}

#[test]
fn a_class_may_be_without_images() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.tar");
    let entries = (0..15)
        .flat_map(|i| [(format!("{i}.png"), png(i)), (format!("{i}.cls"), format!("{}", i % 3 + 1).into())]);
    tar(&path, &entries.collect::<Vec<_>>());
    let data = read("tar", &path).unwrap();
    assert_eq!((data.class_names.len(), &data.train.labels[..4]), (4, &[1, 2, 3, 1][..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_shards_are_errors_that_name_the_file(which in 0..3usize, at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let dir = TempDir::new().unwrap();
        let (source, name) = [("parquet", "numbers.parquet"), ("parquet", "gzip.parquet"), ("tar", "a.tar")][which];
        let path = dir.path().join(name);
        if source == "tar" {
            tar(&path, &samples(0..15));
        } else {
            fs::copy(fixture("kinds").join(name), &path).unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        fs::write(&path, &bytes).unwrap();
        for memory_bytes in [0, 1 << 20] {
            let options = LoadOptions { memory_bytes, ..options() };
            if let Err(e) = load(&format!("{source}:{}", path.display()), &options) {
                prop_assert!(e.to_string().contains(name), "{e}");
            }
        }
    }
}

#[test]
fn a_packed_folder_is_the_same_data() {
    let dir = TempDir::new().unwrap();
    let folder = &sets(dir.path())[0];
    let of_part = |part: &str, greens: std::ops::Range<u8>| {
        let mut entries: Vec<(String, Vec<u8>)> =
            greens.map(|i| (format!("{}/{i:03}.png", ["a", "b", "c"][usize::from(i % 3)]), png(i))).collect();
        entries.sort();
        tar(&dir.path().join(format!("packed/{part}.tar")), &entries);
    };
    of_part("train", 0..15);
    of_part("val", 100..106);
    of_part("test", 200..209);
    let [folder, packed] = [folder.clone(), format!("tar:{}", dir.path().join("packed").display())]
        .map(|spec| load(&spec, &options()).unwrap().identity);
    assert_eq!((folder.kind.as_str(), packed.kind.as_str()), ("folder", "tar"));
    assert_eq!(folder.difference(&packed), None);
    of_part("test", 200..208);
    let spec = format!("tar:{}", dir.path().join("packed").display());
    let fewer = load(&spec, &options()).unwrap().identity;
    assert_eq!(folder.difference(&fewer).unwrap().0, "number of images to report");
}

#[test]
fn samples_with_one_name_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.tar");
    // A sample that is there twice would give an image the class of another one.
    let mut entries = samples(0..12);
    let again = samples(3..4).into_iter().zip(samples(4..5)).map(|((name, _), (_, bytes))| (name, bytes));
    entries.splice(8..8, again.collect::<Vec<_>>());
    tar(&path, &entries);
    let text = refused("tar", &path);
    assert!(text.contains("s0003.png: expected each file once in a tar file"), "{text}");
    // Without classes beside them, images with one name before the dot are images of their own.
    let class = |i: u8| ["a", "b", "c"][usize::from(i % 3)];
    let entries = (0..15u8).map(|i| {
        let end = ["png", "1.png", "2.png", "PNG", "3.png"][usize::from(i / 3)];
        (format!("{}/x.{end}", class(i)), png(i))
    });
    let mut entries: Vec<_> = entries.collect();
    tar(&path, &entries);
    let data = read("tar", &path).unwrap();
    assert_eq!((data.train.n + data.test.n, data.account.passed_over()), (15, String::new()));
    // A word behind the dot is that of a mask.
    entries.insert(1, ("a/x.mask.png".into(), png(0)));
    tar(&path, &entries);
    let data = read("tar", &path).unwrap();
    assert_eq!((data.train.n + data.test.n, data.account.passed_over().as_str()), (15, "1 .mask.png"));
    // The same file again at another place: unpacked, it would be one.
    entries.push(("b/y.png".into(), png(1)));
    entries.push(entries[0].clone());
    tar(&path, &entries);
    assert!(refused("tar", &path).contains("a/x.png: expected each file once"));
    // The folder of a part may be in the tar file of the part.
    for (part, greens) in [("train", 0..12), ("val", 100..106)] {
        let entries = greens.map(|i| (format!("./{part}/{}/{i:03}.png", class(i)), png(i)));
        tar(&dir.path().join(format!("parts/{part}.tar")), &entries.collect::<Vec<_>>());
    }
    let data = read("tar", &dir.path().join("parts")).unwrap();
    assert_eq!((data.train.n, data.test.n, data.class_names.join(" ")), (12, 6, "a b c".into()));
    // Other parts are not.
    let place = dir.path().join("parts/val.tar");
    let mixed = ["train/a", "train/b", "test/a"].map(|at| (format!("{at}/0.png"), png(0)));
    tar(&dir.path().join("mixed/train.tar"), &mixed);
    tar(&dir.path().join("mixed/val.tar"), &mixed[..2]);
    let text = refused("tar", &dir.path().join("mixed"));
    assert!(
        text.contains("the images of one part in a tar file") && text.contains("folders of several parts"),
        "{text}"
    );
    // A set that is reported may be of one part only, and is reported whole, as a file too.
    let spec = format!("tar:{}", place.display());
    assert_eq!(load_reported(&spec, &options(), &|_, _| ()).unwrap().images.n, 6);
    fs::create_dir(dir.path().join("alone")).unwrap();
    fs::rename(place, dir.path().join("alone/val.tar")).unwrap();
    let spec = format!("tar:{}", dir.path().join("alone").display());
    assert_eq!(load_reported(&spec, &options(), &|_, _| ()).unwrap().images.n, 6);
    // A run on these images held out a part of them, and this part is reported.
    let data = load(&spec, &options()).unwrap();
    let own = LoadOptions { wanted: Some(data.identity.clone()), ..options() };
    assert_eq!(load_reported(&spec, &own, &|_, _| ()).unwrap().images, data.test);
    // A hard link has the content of the file that it names, of a class too, whatever comes first.
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    for i in 0..15u8 {
        for (name, bytes, target) in [
            (format!("./{i:03}.png"), png(i), (i == 9).then_some("000.png")),
            (
                format!("./{i:03}.cls"),
                class(i).into(),
                match i {
                    3 | 6 => Some("./012.cls"),
                    14 => Some("nothing.cls"),
                    _ => None,
                },
            ),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            if let Some(target) = target {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, name, target).unwrap();
            } else {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
            }
        }
    }
    builder.finish().unwrap();
    drop(builder);
    let data = read("tar", &path).unwrap();
    assert_eq!(data.train.n + data.test.n, 14);
    let passed_over = "1 hard link to a file that is not read, 1 image without a label";
    assert_eq!(
        (data.account.passed_over().as_str(), &data.train.labels[..7]),
        (passed_over, &[0, 1, 2, 0, 1, 2, 0][..])
    );
}

// ---- on disk ----

/// A folder, tar shards and parquet files, each with 24 + 8 + 9 images or similar, as specifications.
fn sets(dir: &Path) -> Vec<String> {
    for (part, greens) in [("train", 0..15u8), ("val", 100..106), ("test", 200..209)] {
        for green in greens.clone() {
            let class = dir.join("folder").join(part).join(["a", "b", "c"][usize::from(green % 3)]);
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join(format!("{green:03}.png")), png(green)).unwrap();
        }
        tar(&dir.join(format!("tar/{part}-0.tar")), &samples(greens));
    }
    vec![
        format!("folder:{}", dir.join("folder").display()),
        format!("tar:{}", dir.join("tar").display()),
        format!("parquet:{}", fixture("parts").display()),
    ]
}

/// All that a run gets of a set: normalisation, batches of several epochs, batches for evaluation.
fn seen(data: &Dataset) -> (Normalisation, Vec<f32>) {
    let normalisation = Normalisation::of(&data.train);
    let shared = Arc::new(data.clone());
    let indices = (0..data.train.n as u32).collect();
    let augment = Augment { crop_pad: 2, flip: true, ..Augment::NONE };
    let source = BatchSource::new(shared, indices, Split::Train, 4, 3, augment, &normalisation).unwrap();
    let mut numbers: Vec<f32> = (0..12).flat_map(|step| source.batch(step).unwrap().images).collect();
    for part in [Some(&data.test), data.report.as_ref()].into_iter().flatten() {
        let batches = eval_batches(part, &normalisation, 4).unwrap().map(Result::unwrap);
        numbers.extend(batches.flat_map(|batch| batch.images));
    }
    (normalisation, numbers)
}

#[test]
fn images_on_disk_are_the_images_in_memory() {
    let dir = TempDir::new().unwrap();
    for spec in sets(dir.path()) {
        let memory = load(&spec, &options()).unwrap();
        let kept = dir.path().join("kept");
        let cache = Cache { folder: kept.clone(), most_bytes: 1 << 20, least_bytes: 0 };
        let small = Cache { folder: dir.path().join("small"), most_bytes: 3000, ..cache.clone() };
        for cache in [None, Some(cache), Some(small)] {
            let n = AtomicUsize::new(0);
            let options = LoadOptions { memory_bytes: 0, cache: cache.clone(), ..options() };
            let disk = load_watched(&spec, &options, &|_, _| _ = n.fetch_add(1, Ordering::Relaxed)).unwrap();
            assert_eq!(disk.train.bytes().len(), 0, "{spec} is in memory");
            assert_eq!((&disk.identity, &disk.account), (&memory.identity, &memory.account), "{spec}");
            assert_eq!(seen(&disk), seen(&memory), "{spec}");
            let total = memory.train.n + memory.test.n + memory.report.as_ref().unwrap().n;
            assert_eq!(n.into_inner(), total);
            // A second start reads nothing before the first batch.
            if cache.is_some_and(|cache| cache.most_bytes > 3000) {
                let again = load_watched(&spec, &options, &|_, _| panic!("decoded")).unwrap();
                assert_eq!((&again.identity, &again.account), (&memory.identity, &memory.account));
                // A damaged byte of a kept image is noticed, and this image is decoded again.
                for file in fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()) {
                    if file.extension().unwrap() == "pixels" {
                        let mut bytes = fs::read(&file).unwrap();
                        bytes[5] ^= 1;
                        fs::write(&file, bytes).unwrap();
                    }
                }
                assert_eq!(seen(&again), seen(&memory), "{spec}");
            }
            let part = load_reported(&spec, &options, &|_, _| ()).unwrap();
            assert_eq!(part.account.parts[0].sha256, memory.account.parts[2].sha256);
        }
        fs::remove_dir_all(&kept).unwrap();
        fs::remove_dir_all(dir.path().join("small")).unwrap();
    }
}

#[test]
fn damaged_images_on_disk_are_left_out() {
    let dir = TempDir::new().unwrap();
    let spec = &sets(dir.path())[0];
    fs::write(dir.path().join("folder/train/b/004.png"), "x").unwrap();
    let cache = Cache { folder: dir.path().join("kept"), most_bytes: 1 << 20, least_bytes: 0 };
    let on_disk = LoadOptions { memory_bytes: 0, cache: Some(cache), ..options() };
    let error = load(spec, &on_disk).unwrap_err().to_string();
    assert!(error.contains("004.png") && error.contains("--skip-bad-images"), "{error}");
    let skip = LoadOptions { skip_bad: true, ..on_disk.clone() };
    let memory = load(spec, &LoadOptions { skip_bad: true, ..options() }).unwrap();
    for _ in 0..2 {
        let disk = load(spec, &skip).unwrap();
        assert_eq!(
            (&disk.identity, &disk.account, seen(&disk)),
            (&memory.identity, &memory.account, seen(&memory))
        );
    }
    assert_eq!(load(spec, &on_disk).unwrap_err().to_string(), error, "the error needs the file again");
}

#[test]
fn a_file_that_disappears_is_an_error_of_its_batch() {
    let dir = TempDir::new().unwrap();
    let spec = &sets(dir.path())[0];
    let data = load(spec, &LoadOptions { memory_bytes: 0, ..options() }).unwrap();
    fs::remove_file(dir.path().join("folder/train/a/000.png")).unwrap();
    let error = data.train.image(0).unwrap_err().to_string();
    assert!(error.contains("000.png"), "{error}");
    let batches = eval_batches(&data.train, &Normalisation::of(&data.train), 5).unwrap();
    assert_eq!(batches.filter(Result::is_err).count(), 1);
    // Another image in the place of one is no image of the set.
    fs::write(dir.path().join("folder/train/a/003.png"), [png(7), vec![0]].concat()).unwrap();
    let error = data.train.image(1).unwrap_err().to_string();
    assert!(error.contains("003.png") && error.contains("that was there at the start"), "{error}");
}
