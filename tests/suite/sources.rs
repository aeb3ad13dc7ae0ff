//! Published formats of image sets: torchvision's folders, CIFAR's archives, and `.npz` files. The fixtures and the
//! expected arrays were written by Python (`tests/pytorch/make_source_fixtures.py`).

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use parsec_nas::Error;
use parsec_nas::data::{
    CIFAR10, CIFAR100, Dataset, Images, LoadOptions, load, load_reported, parse_cifar_archive,
};
use parsec_nas::files::tensors::{self, Data, Tensors};
use tempfile::TempDir;

use super::faults::Dice;
use super::pickle::{Entry, zip};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sources")
}

fn expected() -> Tensors {
    let path = fixtures().join("expected.safetensors");
    tensors::parse(&fs::read(&path).unwrap(), &path).unwrap().0
}

fn loaded(source: &str, place: &Path) -> Result<Dataset, Error> {
    load(&format!("{source}:{}", place.display()), &LoadOptions::default())
}

/// The message of a file error. All words must be in it.
#[track_caller]
fn refused(result: Result<Dataset, Error>, words: &[&str]) -> String {
    let error = result.expect_err("accepted");
    let text = error.to_string();
    let Error::File { try_this, .. } = error else { panic!("not a file error: {text}") };
    assert!(!try_this.is_empty(), "no hint: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    text
}

/// The account without the path of a temporary folder.
fn account(data: &Dataset) -> String {
    data.account.to_string()
}

#[track_caller]
fn assert_part(part: &Images, all: &Tensors, name: &str) {
    let images = &all[&format!("{name}.images")];
    assert_eq!(images.shape, [part.n, part.channels, part.height, part.width], "{name}");
    let Data::U8(pixels) = &images.data else { panic!("{name}") };
    assert!(part.bytes() == *pixels, "{name}");
    let Data::I64(labels) = &all[&format!("{name}.labels")].data else { panic!("{name}") };
    assert!(part.labels.iter().map(|&label| i64::from(label)).eq(labels.iter().copied()), "{name}");
}

fn names(data: &Dataset) -> String {
    data.class_names.join(" ")
}

// ---- torchvision's folders ----

#[test]
fn emnist_and_qmnist_have_the_values_that_torchvision_reads() {
    let all = expected();
    let raw = fixtures().join("EMNIST/raw");
    let data = loaded("idx", &raw).unwrap();
    assert_part(&data.train, &all, "letters.train");
    assert_part(&data.test, &all, "letters.test");
    assert_eq!(names(&data), "a b c d e f g h i j k l m n o p q r s t u v w x y z");
    assert_eq!(
        account(&data),
        "52 + 26 images, 26 classes, 1 channel, 3x5, from EMNIST/raw letters, the test part held out"
    );
    // The split may be named, in the folder of the files or above it. The data are the same.
    for place in [raw.join("letters"), fixtures().join("EMNIST"), fixtures().join("EMNIST/letters")] {
        let again = loaded("idx", &place).unwrap();
        assert_eq!(again.identity, data.identity);
        assert_eq!(again.account, data.account, "{}", place.display());
    }
    assert_eq!(data.identity.kind, "idx");

    let data = loaded("idx", &fixtures().join("QMNIST")).unwrap();
    assert_part(&data.train, &all, "qmnist.train");
    assert_part(&data.test, &all, "qmnist.test");
    assert_eq!(names(&data), "0 1 2 3 4 5 6 7 8 9");
    assert!(account(&data).ends_with(", from QMNIST/raw/, the test part held out"), "{}", account(&data));

    // The root has both, and the error names the words to try.
    let text = refused(loaded("idx", &fixtures()), &["found 2: QMNIST, EMNIST's letters"]);
    let root = fixtures().display().to_string();
    assert!(
        text.ends_with(&format!(
            "try: --data idx:{root}/QMNIST/raw, or --data idx:{root}/EMNIST/raw/letters"
        )),
        "{text}"
    );
    let split = loaded("idx", &fixtures().join("letters")).unwrap();
    assert_eq!(split.class_names.len(), 26);
    refused(
        loaded("idx", &fixtures().join("byclass")),
        &["emnist-byclass-train-images", "nothing of that name"],
    );
    refused(loaded("idx", &fixtures().join("leters")), &["train-images-idx3-ubyte", "nothing of that name"]);
}

/// The four files of a set with the labels `labels`, repeated.
fn write_set(dir: &Path, [train, test]: [&str; 2], labels: &[u8]) {
    fs::create_dir_all(dir).unwrap();
    for (part, n) in [(train, 60u32), (test, 30)] {
        let idx = |magic: u32, dims: &[u32], data: &[u8]| {
            let words: Vec<u8> = [&[magic], dims].concat().iter().flat_map(|w| w.to_be_bytes()).collect();
            [&words, data].concat()
        };
        let pixels: Vec<u8> = (0..n * 12).map(|i| (i % 251) as u8).collect();
        let labels: Vec<u8> = (0..n as usize).map(|i| labels[i % labels.len()]).collect();
        fs::write(dir.join(format!("{part}-images-idx3-ubyte")), idx(0x803, &[n, 4, 3], &pixels)).unwrap();
        fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), idx(0x801, &[n], &labels)).unwrap();
    }
}

const PLAIN: [&str; 2] = ["train", "t10k"];

/// Kaggle's archive has each file in a folder of its own name too, which has a dash in place of the dot.
#[test]
fn files_in_folders_of_their_own_names_are_found() {
    for also_beside in [true, false] {
        let dir = TempDir::new().unwrap();
        write_set(dir.path(), ["train", "t10k"], &[0, 1]);
        for entry in fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        {
            let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
            let moved = dir.path().join(name.replace("-idx", ".idx"));
            fs::rename(&entry, &moved).unwrap();
            fs::create_dir(&entry).unwrap();
            fs::copy(&moved, entry.join(&name)).unwrap();
            if !also_beside {
                fs::remove_file(&moved).unwrap();
            }
        }
        let data = loaded("idx", dir.path()).unwrap();
        assert!(data.train.n > 0 && data.test.n > 0);
    }
}

#[test]
fn torchvisions_root_with_one_set_is_that_set() {
    let root = TempDir::new().unwrap();
    let raw = root.path().join("FashionMNIST/raw");
    write_set(&raw, PLAIN, &[0, 1, 2]);
    let data = loaded("idx", &raw).unwrap();
    assert_eq!(account(&data).split_once("from ").unwrap().1, "FashionMNIST/raw/, the test part held out");
    for place in ["", "FashionMNIST"] {
        let again = loaded("idx", &root.path().join(place)).unwrap();
        assert_eq!((again.identity, again.account), (data.identity.clone(), data.account.clone()));
    }
    let options = LoadOptions::default();
    let spec = format!("idx:{}", root.path().display());
    let reported = load_reported(&spec, &options, &|_, _| ()).unwrap();
    let text = reported.account.to_string();
    assert!(text.ends_with(", from the test part of FashionMNIST/raw/"), "{text}");

    write_set(&root.path().join("KMNIST/raw"), PLAIN, &[0, 1]);
    let text = refused(loaded("idx", root.path()), &["found 2: FashionMNIST/raw, KMNIST/raw"]);
    assert!(text.contains(&format!("--data idx:{}/KMNIST/raw", root.path().display())), "{text}");
    // A missing file is named with its folder.
    fs::remove_dir_all(root.path().join("KMNIST")).unwrap();
    fs::remove_file(raw.join("t10k-labels-idx1-ubyte")).unwrap();
    refused(loaded("idx", root.path()), &["FashionMNIST/raw/t10k-labels-idx1-ubyte", "no such file", ".gz"]);
}

/// In version 0.1.0 labels from 1 gave a class 0 without images. Runs of that version go on with these classes.
#[test]
fn plain_names_keep_their_labels_and_come_before_other_names() {
    let dir = TempDir::new().unwrap();
    write_set(dir.path(), PLAIN, &[1, 2, 3]);
    let before = loaded("idx", dir.path()).unwrap();
    assert_eq!(names(&before), "0 1 2 3");
    assert_eq!(before.train.labels[..4], [1, 2, 3, 1]);
    assert_eq!(
        before.account.parts[0].place,
        format!("{}/", dir.path().file_name().unwrap().to_str().unwrap())
    );
    // Other sets beside these files, or below, change nothing.
    write_set(dir.path(), ["emnist-digits-train", "emnist-digits-test"], &[0, 1]);
    write_set(&dir.path().join("raw"), PLAIN, &[0, 1]);
    write_set(&dir.path().join("MNIST/raw"), PLAIN, &[0, 1]);
    let after = loaded("idx", dir.path()).unwrap();
    assert_eq!((after.identity, after.account), (before.identity.clone(), before.account));
    // A split beside the plain files is read by its name.
    assert_eq!(names(&loaded("idx", &dir.path().join("digits")).unwrap()), "0 1");
    // A folder with the name of a split is a folder.
    write_set(&dir.path().join("letters"), PLAIN, &[0, 1, 2, 3, 4]);
    assert_eq!(names(&loaded("idx", &dir.path().join("letters")).unwrap()), "0 1 2 3 4");
}

#[test]
fn splits_of_emnist_have_their_classes() {
    let dir = TempDir::new().unwrap();
    let below = |n: u8| (0..n).collect::<Vec<u8>>();
    let letters: Vec<u8> = (1..=26).collect();
    let expected: [(&str, Vec<u8>, &[&str]); 4] = [
        ("letters", letters, &["a", "z"]),
        ("balanced", below(47), &["0", "9", "A", "Z", "a", "b", "d", "e", "f", "g", "h", "n", "q", "r", "t"]),
        ("digits", below(10), &["0", "9"]),
        ("byclass", below(60), &["0", "A", "Z", "a", "x"]),
    ];
    for (split, labels, some) in &expected {
        let parts = ["train", "test"].map(|part| format!("emnist-{split}-{part}"));
        write_set(dir.path(), parts.each_ref().map(String::as_str), labels);
        if *split == "byclass" {
            // The two parts of `write_set` have 60 and 30 images.
            let data = loaded("idx", &dir.path().join(split)).unwrap();
            assert_eq!(data.class_names[36..39], ["a", "b", "c"]);
            continue;
        }
        let data = loaded("idx", &dir.path().join(split)).unwrap();
        assert_eq!(data.class_names.len(), labels.len(), "{split}");
        assert_eq!(
            (&*data.class_names[0], data.class_names.last().unwrap().as_str()),
            (some[0], *some.last().unwrap())
        );
        assert!(some.iter().all(|name| data.class_names.iter().any(|other| other == name)), "{split}");
        assert_eq!(data.train.labels[..3], [0, 1, 2], "{split}");
    }
    let data = loaded("idx", &dir.path().join("balanced")).unwrap();
    assert_eq!(data.class_names[34..].concat(), "YZabdefghnqrt");
    let text = refused(
        loaded("idx", dir.path()),
        &["found 4: EMNIST's byclass, EMNIST's balanced, EMNIST's letters"],
    );
    assert!(text.contains(&format!("--data idx:{}/letters", dir.path().display())), "{text}");

    let path = dir.path().join("emnist-letters-test-labels-idx1-ubyte");
    let good = fs::read(&path).unwrap();
    let with = |i: usize, label: u8| {
        let mut bytes = good.clone();
        bytes[8 + i] = label;
        fs::write(&path, bytes).unwrap();
        loaded("idx", &dir.path().join("letters"))
    };
    refused(with(4, 0), &["at byte 12", "from 1 on", "label 0 for image 4"]);
    refused(with(5, 27), &["at byte 13", "below 27", "label 27 for image 5"]);
    fs::write(&path, &good).unwrap();
    let digits = ["emnist-digits-train", "emnist-digits-test"];
    write_set(dir.path(), digits, &(0..12).collect::<Vec<u8>>());
    refused(loaded("idx", &dir.path().join("digits")), &["label below 10", "digits"]);
}

#[test]
fn a_relative_split_is_found_from_the_folder_of_the_run() {
    let base = TempDir::new().unwrap();
    write_set(&base.path().join("set/raw"), ["emnist-digits-train", "emnist-digits-test"], &[0, 1, 2]);
    let options = LoadOptions { bases: vec![base.path().to_owned()], ..Default::default() };
    assert_eq!(load("idx:set/raw/digits", &options).unwrap().class_names.len(), 3);
    let error = load("idx:set/raw/mnist", &options).unwrap_err().to_string();
    assert!(error.contains("nothing of that name"), "{error}");
}

#[test]
fn damaged_labels_of_qmnist_are_named() {
    let root = TempDir::new().unwrap();
    let from = fixtures().join("QMNIST/raw");
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, root.path().join(path.file_name().unwrap())).unwrap();
    }
    let name = "qmnist-train-labels-idx2-int.gz";
    let mut bytes = vec![];
    let packed = fs::read(from.join(name)).unwrap();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = bytes.clone();
        change(&mut changed);
        fs::write(root.path().join(name), changed).unwrap();
        loaded("idx", root.path())
    };
    assert!(with(&|_| ()).is_ok());
    refused(with(&|b| b[12 + 3 * 32..][..4].fill(255)), &[name, "at byte 108", "-1 for image 3"]);
    refused(with(&|b| b[12 + 32 + 2] = 1), &[name, "at byte 44", "without gaps", "image 1"]);
    refused(with(&|b| b.truncate(400)), &[name, "truncated"]);
    refused(with(&|b| b[8..12].fill(0)), &[name, "above 0"]);
    refused(with(&|b| b[4..12].fill(255)), &[name, "at most"]);
    refused(with(&|b| b[3] = 1), &[name, "0x00000c02"]);
}

// ---- CIFAR's archives ----

#[test]
fn archives_of_cifar_have_the_values_that_torchvision_reads() {
    let all = expected();
    for (source, file, held_out) in [
        ("cifar10", "cifar-10-binary.tar.gz", "test_batch.bin"),
        ("cifar100", "cifar-100-python.tar.gz", "test"),
    ] {
        let data = loaded(source, &fixtures().join(file)).unwrap();
        assert_part(&data.train, &all, &format!("{source}.train"));
        assert_part(&data.test, &all, &format!("{source}.test"));
        let text = account(&data);
        assert!(text.ends_with(&format!(", from {file}, {held_out} held out")), "{text}");
        // The archive in a folder.
        assert_eq!(loaded(source, &fixtures()).unwrap().identity, data.identity);
    }
    let data = loaded("cifar100", &fixtures().join("cifar-100-python.tar.gz")).unwrap();
    assert_eq!(data.class_names[99], "fine99");
    let data = loaded("cifar10", &fixtures()).unwrap();
    assert_eq!((data.class_names[9].as_str(), data.train.n, data.test.n), ("class9", 10, 3));
}

fn unpacked(name: &str) -> Vec<u8> {
    let packed = fs::read(fixtures().join(name)).unwrap();
    let mut tar = vec![];
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
    tar
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_unpacked_folder_comes_before_the_archive() {
    let dir = TempDir::new().unwrap();
    let archive = dir.path().join("cifar-10-binary.tar.gz");
    fs::copy(fixtures().join("cifar-10-binary.tar.gz"), &archive).unwrap();
    let from_archive = loaded("cifar10", dir.path()).unwrap();
    tar::Archive::new(&unpacked("cifar-10-binary.tar.gz")[..]).unpack(dir.path()).unwrap();
    let folder = loaded("cifar10", dir.path()).unwrap();
    assert_eq!(folder.identity, from_archive.identity);
    assert_eq!(folder.class_names, from_archive.class_names);
    fs::write(&archive, "damaged").unwrap();
    assert_eq!(loaded("cifar10", dir.path()).unwrap().identity, folder.identity);
    fs::remove_dir_all(dir.path().join("cifar-10-batches-bin")).unwrap();
    refused(loaded("cifar10", dir.path()), &["cifar-10-binary.tar.gz", "tar archive"]);
    refused(loaded("cifar10", &dir.path().join("nothing")), &["data_batch_1.bin", "cifar-10-python.tar.gz"]);
}

/// A member of an archive: name, content, type.
type Member<'a> = (&'a str, &'a [u8], tar::EntryType);

fn tar_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for &(name, content, kind) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_entry_type(kind);
        if !kind.is_file() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn members_are_taken_by_name_and_odd_ones_are_ignored() {
    let record = |coarse: u8, fine: u8| [&[coarse, fine][..], &[7; 3072]].concat();
    let (train, test) = ([record(0, 1), record(1, 2)].concat(), record(3, 4));
    let file = tar::EntryType::Regular;
    let parse =
        |members: &[Member<'_>]| parse_cifar_archive(&CIFAR100, Path::new("a.tar"), &*tar_of(members));
    let good: &[Member<'_>] = &[
        ("x/train.bin/", &[], tar::EntryType::Directory),
        ("x/train.bin", &[], tar::EntryType::Symlink),
        ("x/test.bin", &[], tar::EntryType::Link),
        ("x/train.bin", &[], tar::EntryType::Char),
        ("x/other.bin", &[1; 700], file),
        ("deep/in/a/folder/test.bin", &test, file),
        ("train.bin", &train, file),
        ("x/train", &[1; 3], tar::EntryType::Fifo),
    ];
    let (images, held_out, names) = parse(good).unwrap();
    assert_eq!((images.labels, held_out.labels, names.len()), (vec![1, 2], vec![4], 100));

    let told = |members: &[Member<'_>], words: &[&str]| {
        let text = parse(members).unwrap_err().to_string();
        assert!(text.contains("a.tar") && words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    };
    told(&[], &["the member train.bin or train", "among 0"]);
    told(&[("a", b"b", file)], &["no such member among 1"]);
    told(&[("train.bin", &train, file)], &["the member test.bin", "no such member"]);
    let twice: Vec<Member<'_>> = [good, &[("y/train.bin", &train, file)]].concat();
    told(&twice, &["a.tar/train.bin", "another one"]);
    told(&[("test.bin", &[], file)], &["a.tar/test.bin", "0 bytes"]);
    told(&[("train.bin", &train[1..], file)], &["a.tar/train.bin", "whole records"]);
    let wrong = record(20, 4);
    told(
        &[("train.bin", &train, file), ("test.bin", &wrong, file)],
        &["a.tar/test.bin", "at byte 0", "coarse"],
    );
    told(&[("train", b"not a pickle", file)], &["a.tar/train"]);
    told(
        &[("fine_label_names.txt", b"one\n", file), ("train.bin", &train, file), ("test.bin", &test, file)],
        &["a.tar/fine_label_names.txt", "1 names"],
    );
}

#[test]
fn damaged_archives_are_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("cifar-10-binary.tar.gz");
    let with = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        loaded("cifar10", &path)
    };
    let good = unpacked("cifar-10-binary.tar.gz");
    assert!(with(&good).is_ok(), "not gzipped");
    let name = "cifar-10-binary.tar.gz";
    // Every cut is an error, also one after the last member.
    let gz = packed(&good);
    for len in (0..gz.len()).step_by(97).chain([gz.len() - 1, gz.len() - 8]) {
        refused(with(&gz[..len]), &[name]);
    }
    let end = good.iter().rposition(|&byte| byte != 0).unwrap();
    for len in (0..end).step_by(1021) {
        refused(with(&good[..len]), &[name]);
    }
    let mut wrong = gz.clone();
    let crc = wrong.len() - 8;
    wrong[crc] ^= 1;
    refused(with(&wrong), &[name, "tar archive"]);
    // The archive of the other set.
    let other = unpacked("cifar-100-python.tar.gz");
    refused(with(&other), &["data_batch_1", "the archive of the set"]);
    // A member whose header claims more bytes than the set has, and one that claims more than follow.
    let claims = |size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_path("test_batch.bin").unwrap();
        header.set_size(size);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 3073]].concat()
    };
    refused(with(&claims(1 << 33)), &["test_batch.bin", "1 to 30730000 bytes"]);
    refused(with(&claims(30_730_000)), &["test_batch.bin", "after 3073 bytes"]);
    // An archive that unpacks to far more than the set has.
    let mut bomb = good[..good.len() - 1024].to_vec();
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(500 << 20);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    bomb.extend(header.as_bytes());
    bomb.resize(bomb.len() + (500 << 20), 0);
    refused(with(&packed(&bomb)), &[name]);
    assert!(parse_cifar_archive(&CIFAR10, &path, &*good).is_ok());
}

// ---- .npz ----

#[test]
fn npz_files_have_the_values_of_numpy() {
    let all = expected();
    let path = fixtures().join("medmnist.npz");
    let data = loaded("npz", &path).unwrap();
    assert_part(&data.train, &all, "medmnist.train");
    assert_part(&data.test, &all, "medmnist.val");
    assert_part(data.report.as_ref().unwrap(), &all, "medmnist.test");
    assert_eq!((names(&data).as_str(), data.identity.kind.as_str()), ("0 1 2", "npz"));
    assert_eq!(
        account(&data),
        "12 + 4 + 5 images, 3 classes, 3 channels, 5x6, from medmnist.npz, val_images (to choose by) and test_images (for \
         eval)"
    );
    let spec = format!("npz:{}", path.display());
    let reported = load_reported(&spec, &LoadOptions::default(), &|_, _| ()).unwrap();
    assert_part(&reported.images, &all, "medmnist.test");
    let text = reported.account.to_string();
    assert!(text.ends_with(", from test_images of medmnist.npz"), "{text}");

    for name in ["keras.npz", "header_2.npz", "header_3.npz"] {
        let data = loaded("npz", &fixtures().join(name)).unwrap();
        assert_part(&data.train, &all, "keras.train");
        assert_part(&data.test, &all, "keras.test");
        assert!(data.report.is_none());
        assert!(account(&data).ends_with(&format!(", from {name}, x_test held out")), "{}", account(&data));
    }
}

#[test]
fn arrays_of_other_kinds_are_refused() {
    let with = |name: &str, words: &[&str]| {
        let text = refused(loaded("npz", &fixtures().join(name)), words);
        assert!(text.contains(name), "{text}");
    };
    with("objects.npz", &["y_train.npy", "objects of Python"]);
    with("records.npz", &["y_train.npy", "records"]);
    with("fortran.npz", &["x_train.npy", "C order", "ascontiguousarray"]);
    with("floats.npz", &["x_train.npy", "uint8", "<f4"]);
    with("multilabel.npz", &["y_train.npy", "[9, 4]", "4 numbers per image", "several labels", "argmax"]);
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    let len = (head.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &len[..], head.as_bytes(), data].concat()
}

fn parsed(arrays: &[(&str, Vec<u8>)]) -> Result<Vec<Images>, Error> {
    let entries = arrays.iter().enumerate().map(|(i, (name, bytes))| {
        let name = format!("{name}.npy");
        if i % 2 == 0 { Entry::stored(&name, bytes) } else { Entry::deflated(&name, bytes) }
    });
    parsec_nas::data::parse_npz(Path::new("a.npz"), &zip(&entries.collect::<Vec<_>>()))
}

/// Good arrays, with the given ones in the place of those with the same names.
fn with_arrays(others: &[(&'static str, Vec<u8>)]) -> Result<Vec<Images>, Error> {
    let mut arrays = vec![
        ("train_images", npy("'|u1'", "(4, 2, 3)", &(0..24).collect::<Vec<u8>>())),
        ("train_labels", npy("'|u1'", "(4, 1)", &[0, 1, 2, 1])),
        ("test_images", npy("'|u1'", "(2, 2, 3)", &(0..12).collect::<Vec<u8>>())),
        ("test_labels", npy("'|u1'", "(2, 1)", &[2, 0])),
    ];
    for (name, bytes) in others {
        arrays.retain(|(other, _)| other != name);
        if !bytes.is_empty() {
            arrays.push((name, bytes.clone()));
        }
    }
    parsed(&arrays)
}

#[test]
fn types_of_labels_and_numbers_of_channels() {
    let parts = with_arrays(&[]).unwrap();
    assert_eq!((parts.len(), parts[0].channels, parts[0].height, parts[0].width), (2, 1, 2, 3));
    let numbers = [0i64, 1, 2, 1];
    for (descr, bytes) in [
        ("'<i8'", numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()),
        ("'>i8'", numbers.iter().flat_map(|n| n.to_be_bytes()).collect()),
        ("'>u4'", numbers.iter().flat_map(|n| (*n as u32).to_be_bytes()).collect()),
        ("\"<i2\"", numbers.iter().flat_map(|n| (*n as u16).to_le_bytes()).collect()),
        ("'|i1'", numbers.iter().map(|n| *n as u8).collect()),
    ] {
        for shape in ["(4,)", "(4, 1)", "(4L, 1L)", "( 4 ,1,)"] {
            let again = with_arrays(&[("train_labels", npy(descr, shape, &bytes))]).unwrap();
            assert_eq!(again, parts, "{descr} {shape}");
        }
    }
    // [N][H][W][C] becomes [N][C][H][W].
    let image = |n: usize| npy("'|u1'", &format!("({n}, 1, 2, 3)"), &(0..6 * n as u8).collect::<Vec<u8>>());
    let parts = with_arrays(&[("train_images", image(4)), ("test_images", image(2))]).unwrap();
    assert_eq!((parts[0].channels, parts[0].height, parts[0].width), (3, 1, 2));
    assert_eq!(parts[0].bytes()[..6], [0, 3, 1, 4, 2, 5]);
    // [N][C][H][W] stays as it is: three channels, or another number of channels of square images.
    for [c, h, w] in [[3, 5, 6], [1, 7, 5], [13, 8, 8], [13, 6, 6]] {
        let len = c * h * w;
        let image = |n: usize| {
            npy("'|u1'", &format!("({n}, {c}, {h}, {w})"), &(0..n * len).map(|i| i as u8).collect::<Vec<_>>())
        };
        let parts = with_arrays(&[("train_images", image(4)), ("test_images", image(2))]).unwrap();
        assert_eq!((parts[0].channels, parts[0].height, parts[0].width), (c, h, w));
        assert!(parts[0].bytes().iter().enumerate().all(|(i, byte)| *byte == i as u8));
    }
    for [h, w, c] in [[8, 8, 13], [6, 5, 4], [5, 6, 13]] {
        let image = |n: usize| npy("'|u1'", &format!("({n}, {h}, {w}, {c})"), &vec![1; n * h * w * c]);
        let parts = with_arrays(&[("train_images", image(4)), ("test_images", image(2))]).unwrap();
        assert_eq!((parts[0].channels, parts[0].height, parts[0].width), (c, h, w));
    }
    // The held-out part may be named in another way. Arrays that have no use are counted.
    let valid =
        [("valid_images", npy("'|u1'", "(1, 2, 3)", &[9; 6])), ("valid_labels", npy("'|u1'", "(1,)", &[1]))];
    let parts = with_arrays(&valid).unwrap();
    assert_eq!((parts.len(), parts[1].n, parts[1].bytes()), (3, 1, &[9; 6][..]));
    let deep = |n: usize, c: usize| npy("'|u1'", &format!("({n}, 1, 1, {c})"), &vec![5; n * c]);
    let parts = with_arrays(&[("train_images", deep(4, 1024)), ("test_images", deep(2, 1024))]).unwrap();
    assert_eq!(parts[0].channels, 1024);
    let error = with_arrays(&[("train_images", deep(4, 1025))]).unwrap_err().to_string();
    assert!(error.contains("1 to 1024 channels") && error.contains("1025"), "{error}");
}

#[test]
fn wrong_arrays_are_named() {
    let told = |others: &[(&'static str, Vec<u8>)], words: &[&str]| {
        let text = with_arrays(others).unwrap_err().to_string();
        assert!(text.contains("a.npz") && words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    };
    let labels = |bytes: &[u8]| npy("'|i1'", &format!("({},)", bytes.len()), bytes);
    told(&[("train_labels", labels(&[0, 1, 255, 1]))], &["train_labels.npy at byte", "label -1 for image 2"]);
    told(&[("train_labels", labels(&[1, 2, 2, 1]))], &["labels from 0 on", "label 1 for image 0"]);
    told(&[("train_labels", labels(&[0, 1, 90, 1]))], &["without gaps", "label 90 for image 2"]);
    told(&[("train_labels", labels(&[0; 4]))], &["two classes"]);
    told(&[("test_labels", labels(&[0, 3]))], &["test_labels.npy", "below 3", "label 3 for image 1"]);
    told(&[("train_labels", labels(&[0, 1, 2]))], &["4 labels", "[3]"]);
    told(&[("train_labels", npy("'<f4'", "(4,)", &[0; 16]))], &["integer type", "<f4"]);
    told(&[("train_labels", npy("'<i8'", "(4,)", &[255; 32]))], &["label -1 for image 0"]);
    let big = npy("'<u8'", "(4,)", &[255; 32]);
    told(&[("train_labels", big)], &["label 18446744073709551615 for image 0"]);
    told(
        &[("test_images", npy("'|u1'", "(2, 3, 2)", &[0; 12]))],
        &["test_images.npy", "[2, 3, 1]", "[3, 2, 1]"],
    );
    told(&[("train_images", npy("'|u1'", "(4, 6)", &[0; 24]))], &["[N, H, W]", "[4, 6]"]);
    told(&[("train_images", npy("'|u1'", "(0, 2, 3)", &[]))], &["above 0"]);
    told(&[("train_images", npy("'|b1'", "(4, 2, 3)", &[0; 24]))], &["uint8", "|b1"]);
    told(&[("train_images", vec![])], &["train_images or x_train", "the arrays test_images"]);
    told(&[("train_labels", vec![])], &["train_labels beside train_images"]);
    told(&[("test_images", vec![])], &["val_images or test_images"]);
    told(&[("train_images", b"\x93NUMPX".to_vec())], &["train_images.npy at byte 0", "numpy"]);
    told(&[("train_images", b"\x93NUMPY\x07\0".to_vec())], &["version 1, 2 or 3", "7"]);
    told(&[("train_images", b"\x93NUMPY\x01\0\xff\xff{".to_vec())], &["a header of at most"]);
    told(&[("train_images", b"\x93NUMPY\x02\0\xff\xff\xff\xff{".to_vec())], &["a header of at most"]);
    told(&[("train_images", npy("'|O'", "(4,)", b"\x80\x04."))], &["objects of Python", "integers"]);
    told(&[("train_images", npy("[('a', '|u1')]", "(24,)", &[0; 24]))], &["records"]);
    told(&[("train_images", npy("'<U4'", "(4,)", &[0; 64]))], &["array of numbers", "<U4"]);
    told(&[("train_images", npy("eval('1')", "(4, 2, 3)", &[0; 24]))], &["a dict with descr"]);
    told(&[("train_images", npy("'|u1'", "(4, 2, -3)", &[0; 24]))], &["a dict with descr"]);
    told(&[("train_images", npy("'|u1'", "(4, 2, 3", &[0; 24]))], &["a dict with descr"]);
    // A shape that does not fit the entry is found before memory is taken for it.
    told(&[("train_images", npy("'|u1'", "(4, 2, 4)", &[0; 24]))], &["32 bytes after the header", "24"]);
    told(
        &[("train_images", npy("'|u1'", "(2147483647, 1, 1)", &[0; 24]))],
        &["2147483647 bytes after the header"],
    );
    told(&[("train_images", npy("'|u1'", "(2147483649, 1, 1)", &[0; 24]))], &["at most 2147483648 bytes"]);
    let huge = npy("'|u1'", "(18446744073709551615, 18446744073709551615, 2)", &[0; 24]);
    told(&[("train_images", huge)], &["at most 2147483648 bytes"]);
    let zero = npy("'|u1'", "(1099511627776, 1048576, 1, 0)", &[]);
    told(&[("train_images", zero)], &["above 0"]);
}

#[test]
fn the_npz_file_of_a_folder() {
    let dir = TempDir::new().unwrap();
    refused(loaded("npz", dir.path()), &["one .npz file", "none", "npz:FILE"]);
    fs::copy(fixtures().join("keras.npz"), dir.path().join("a b.npz")).unwrap();
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    assert_eq!(loaded("npz", dir.path()).unwrap().train.n, 9);
    fs::write(dir.path().join("c.npz"), "x").unwrap();
    let text = refused(loaded("npz", dir.path()), &["2: a b.npz, c.npz"]);
    assert!(text.contains(&format!("--data 'npz:{}/a b.npz'", dir.path().display())), "{text}");
    refused(loaded("npz", &dir.path().join("c.npz")), &["c.npz at byte 0", "zip archive"]);
    fs::write(dir.path().join("c.npz"), npy("'|u1'", "(1,)", &[0])).unwrap();
    refused(loaded("npz", &dir.path().join("c.npz")), &["one array (.npy)"]);
    refused(loaded("npz", &dir.path().join("d.npz")), &["no such file", "--data's colon"]);
    let usage = load("npz", &LoadOptions::default()).unwrap_err();
    assert!(usage.exit_code() == 2 && usage.to_string().contains("npz:FILE"), "{usage}");
}

#[test]
fn places_without_a_source_are_recognised() {
    let hint =
        |place: &Path| load(&place.display().to_string(), &LoadOptions::default()).unwrap_err().to_string();
    let dir = TempDir::new().unwrap();
    fs::copy(fixtures().join("keras.npz"), dir.path().join("x.npz")).unwrap();
    for (place, source) in [
        (fixtures().join("medmnist.npz"), "npz"),
        (dir.path().to_owned(), "npz"),
        (fixtures().join("cifar-10-binary.tar.gz"), "cifar10"),
        (fixtures().join("cifar-100-python.tar.gz"), "cifar100"),
        (fixtures(), "cifar10"),
        (fixtures().join("EMNIST"), "idx"),
        (fixtures().join("EMNIST/raw/letters"), "idx"),
        (fixtures().join("QMNIST/raw"), "idx"),
    ] {
        let text = hint(&place);
        assert!(text.contains(&format!("--data {source}:{}", place.display())), "{text}");
    }
    let text = hint(&fixtures().join("expected.safetensors"));
    assert!(text.contains("in one of the forms"), "{text}");
}

/// Flipped, missing and additional bytes in any file of a set: the set loads, or the error names a file of the set.
#[test]
fn damage_to_any_file_of_a_set_is_an_error_that_names_a_file() {
    let dir = TempDir::new().unwrap();
    let mut dice = Dice(7);
    for (source, place, files) in [
        ("idx", "EMNIST/raw/letters", &["images-idx3-ubyte", "labels-idx1-ubyte"][..]),
        ("idx", "QMNIST/raw", &["images-idx3-ubyte.gz", "labels-idx2-int.gz"][..]),
        ("cifar10", "cifar-10-binary.tar.gz", &[]),
        ("cifar100", "cifar-100-python.tar.gz", &[]),
        ("npz", "medmnist.npz", &[]),
    ] {
        let names: Vec<String> = if files.is_empty() {
            vec![place.to_owned()]
        } else {
            let first =
                if place.starts_with('E') { "EMNIST/raw/emnist-letters" } else { "QMNIST/raw/qmnist" };
            let parts = ["train", "test"].into_iter();
            parts.flat_map(|part| files.iter().map(move |file| format!("{first}-{part}-{file}"))).collect()
        };
        for name in &names {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::copy(fixtures().join(name), dir.path().join(name)).unwrap();
        }
        assert!(loaded(source, &dir.path().join(place)).is_ok(), "{source}");
        for _ in 0..60 {
            let path = dir.path().join(&names[dice.below(names.len())]);
            let good = fs::read(&path).unwrap();
            let mut bytes = good.clone();
            let at = dice.below(bytes.len());
            match dice.below(3) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, dice.below(256) as u8),
            }
            fs::write(&path, bytes).unwrap();
            if let Err(error) = loaded(source, &dir.path().join(place)) {
                let text = error.to_string();
                assert!(text.contains(&dir.path().display().to_string()), "{text}");
                assert!(names.iter().any(|name| text.contains(name.as_str())), "{text}");
            }
            fs::write(&path, good).unwrap();
        }
    }
}

/// Images of four channels are trained on, chosen by and reported. Image files cannot have them.
#[test]
fn a_training_on_an_npz_file_of_four_channels() {
    if !super::gpu::has_gpu() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut dice = Dice(5);
    let mut arrays = vec![];
    for (part, n) in [("train", 24), ("val", 8), ("test", 6)] {
        let pixels: Vec<u8> = (0..n * 256).map(|_| dice.below(256) as u8).collect();
        let labels: Vec<u8> = (0..n as u8).map(|i| i % 2).collect();
        arrays.push((format!("{part}_images.npy"), npy("'|u1'", &format!("({n}, 8, 8, 4)"), &pixels)));
        arrays.push((format!("{part}_labels.npy"), npy("'|u1'", &format!("({n}, 1)"), &labels)));
    }
    let entries: Vec<Entry> = arrays.iter().map(|(name, bytes)| Entry::deflated(name, bytes)).collect();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/four.npz"), zip(&entries)).unwrap();
    let parsec = |folder: &Path, args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
        command.args(args.split_whitespace()).current_dir(folder).env_remove("PARSEC_DEVICE");
        let out = command.env("PARSEC_CACHE", dir.path().join("cache")).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, err) = parsec(
        dir.path(),
        "train --genotype 02012100 --data npz:data/four.npz --preset small --channels 4 --head 8 --batch 8 --epochs 1 --run \
         run",
    );
    let line = "24 + 8 + 6 images, 2 classes, 4 channels, 8x8, from four.npz, val_images (to choose by) and test_images (for \
                eval)\n";
    assert!(code == 0 && err.contains(line), "{err}");
    // The file is found from another folder.
    let (code, err) = parsec(&dir.path().join("run"), "eval .");
    assert!(
        code == 0 && err.contains("6 images, 2 classes, 4 channels, 8x8, from test_images of four.npz\n"),
        "{err}"
    );
    assert!(!err.contains("not those with which"), "{err}");
    image::RgbImage::new(8, 8).save(dir.path().join("x.png")).unwrap();
    let (code, err) = parsec(dir.path(), "predict run x.png");
    assert!(code == 2 && err.contains("found 4 channels"), "{err}");
}
