//! Tensors that PyTorch wrote, and files that must be refused.

use std::path::Path;

use super::{Entry, fixture, folder, one_tensor, told, zip};
use parsec_nas::files::tensors::{Data, Tensor};
use parsec_nas::files::torch::{parse, read};

fn tensors(name: &str) -> Vec<(String, Tensor)> {
    read(&folder().join(name)).unwrap_or_else(|e| panic!("{e}"))
}

fn f32s(numbers: impl IntoIterator<Item = f64>) -> Data {
    Data::F32(numbers.into_iter().map(|x| x as f32).collect())
}

fn refused(bytes: &[u8]) -> (Option<u64>, String) {
    told(parse(bytes, Path::new("test.pt")))
}

fn mixed() -> Vec<(&'static str, Vec<usize>, Data)> {
    let quarters = || (0..6).map(|i| f64::from(i) * 0.25 - 0.5);
    let negative = || Data::I32((0..6).map(|i| -i).collect());
    let transposed = (0..6).flat_map(|column| (0..4).map(move |row| f64::from(row * 6 + column)));
    vec![
        ("f32", vec![2, 3], f32s(quarters())),
        ("f16", vec![2, 3], f32s(quarters())),
        ("bf16", vec![2, 3], f32s(quarters())),
        ("f64", vec![2, 3], Data::F64(quarters().map(|x| x / 3.0).collect())),
        ("i64", vec![2, 3], Data::I64((0..6).map(|i| -i).collect())),
        ("i32", vec![2, 3], negative()),
        ("i16", vec![2, 3], negative()),
        ("i8", vec![2, 3], negative()),
        ("u8", vec![2, 3], Data::U8((0..6).collect())),
        ("bool", vec![2, 3], Data::U8(vec![0, 1, 0, 1, 0, 1])),
        ("transposed", vec![6, 4], f32s(transposed)),
        ("part", vec![2, 3], f32s([7.0, 9.0, 11.0, 13.0, 15.0, 17.0])),
        ("scalar", vec![], Data::I64(vec![7])),
        ("empty", vec![0, 3], Data::F32(vec![])),
    ]
}

#[test]
fn all_types_views_and_forms() {
    for form in ["zip", "legacy", "deflated", "zip64", "big_endian"] {
        let found = tensors(&format!("mixed_{form}.pt"));
        let expected = mixed();
        assert_eq!(found.len(), expected.len());
        for ((name, tensor), (expected, shape, data)) in found.iter().zip(expected) {
            assert_eq!((name.as_str(), &tensor.shape, &tensor.data), (expected, &shape, &data), "{form}");
        }
    }
}

fn check_net(found: &[(String, Tensor)], name: &str) {
    let from = |start: u16, n: u16| f32s((start..start + n).map(f64::from));
    let expected = [
        ("0.weight", vec![2, 1, 3, 3], from(0, 18)),
        ("0.bias", vec![2], from(100, 2)),
        ("1.weight", vec![2], from(200, 2)),
        ("1.bias", vec![2], from(300, 2)),
        ("1.running_mean", vec![2], f32s([0.0, 0.0])),
        ("1.running_var", vec![2], f32s([1.0, 1.0])),
        ("1.num_batches_tracked", vec![], Data::I64(vec![0])),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(name, shape, data)| (name.to_owned(), Tensor { shape, data })).collect();
    assert_eq!(found, expected, "{name}");
}

#[test]
fn models_and_checkpoints() {
    for form in ["zip", "legacy", "zip_p3", "zip_p4", "zip_p5", "legacy_p3", "legacy_p4", "legacy_p5"] {
        check_net(&tensors(&format!("net_{form}.pt")), form);
    }
    check_net(&tensors("checkpoint_zip.pt"), "checkpoint");
    check_net(&tensors("checkpoint_legacy.pt"), "legacy checkpoint");
    for key in ["model", "model_state_dict", "net"] {
        let found = tensors(&format!("under_{key}.pt"));
        assert_eq!(found, [("w".to_owned(), Tensor { shape: vec![1], data: f32s([1.0]) })], "{key}");
    }
    let both = tensors("parameters.pt");
    assert_eq!(both.len(), 2);
    for (_, tensor) in both {
        assert_eq!(tensor, Tensor { shape: vec![2], data: f32s([1.0, 2.0]) });
    }
}

#[test]
fn models_and_attacks_are_refused_by_name() {
    for (file, name) in [
        ("module_zip.pt", "`__main__.Net`"),
        ("module_legacy.pt", "`__main__.Net`"),
        ("attack.pt", "`posix.system`"),
        ("complex.pt", "`torch.ComplexFloatStorage`"),
        ("uint16.pt", "`torch._utils._rebuild_tensor_v3`"),
    ] {
        let (offset, message) = refused(&fixture(file));
        assert!(message.contains(&format!("{name}: this file would run code")), "{message}");
        assert!(message.contains("model.state_dict()"), "{message}");
        assert!(offset.is_some());
    }
    assert!(!Path::new("/tmp/pwned").exists());
}

#[test]
fn files_without_named_tensors_are_refused() {
    let (_, message) = refused(&fixture("no_tensors.pt"));
    assert!(message.contains("found a dict of `epoch`, `lr`"), "{message}");
    assert!(refused(&fixture("single.pt")).1.contains("a value without names"));
    assert!(refused(&fixture("plain_p2.pkl")).1.contains("the magic number of torch.save"));
    assert!(refused(&fixture("plain_p0.pkl")).1.contains("a file of torch.save"));
    assert!(refused(b"").1.contains("a file of torch.save"));
    assert!(refused(&zip(&[Entry::stored("a.txt", b"x")])).1.contains("*/data.pkl"));
    assert!(matches!(read(Path::new("/nowhere/a.pt")), Err(parsec_nas::Error::Io { .. })));
}

/// The entries of an archive with one pickle and one storage.
fn archive(pickle: &[u8], storage: &[u8]) -> [Entry; 2] {
    [Entry::stored("a/data.pkl", pickle), Entry::stored("a/data/0", storage)]
}

#[test]
fn views_beyond_their_storage_are_refused() {
    let storage = [0; 24];
    let ok = one_tensor(6, 0, &[2, 3], &[3, 1]);
    assert_eq!(parse(&zip(&archive(&ok, &storage)), Path::new("a")).unwrap().len(), 1);
    let big = i32::MAX as u32;
    for (offset, shape, strides) in [
        (1, [2, 3], [3, 1]),
        (0, [3, 3], [3, 1]),
        (0, [2, 3], [4, 1]),
        (0, [2, 3], [big, 1]),
        (big, [1, 1], [1, 1]),
        // The tensor has more numbers than its storage, as an expanded tensor does.
        (0, [7, 1], [0, 1]),
        (0, [big, big], [0, 0]),
    ] {
        let pickle = one_tensor(6, offset, &shape, &strides);
        let (offset, message) = refused(&zip(&archive(&pickle, &storage)));
        assert!(message.contains("numbers of its storage for tensor `w`"), "{message}");
        assert_eq!(offset, Some(pickle.iter().rposition(|&byte| byte == b'R').unwrap() as u64));
    }
    // The stride of an extent of 1 or 0 may have any value.
    for (shape, strides) in [([1, 6], [big, 1]), ([0, big], [big, big])] {
        let pickle = one_tensor(6, 0, &shape, &strides);
        assert!(parse(&zip(&archive(&pickle, &storage)), Path::new("a")).is_ok());
    }
    assert!(refused(&fixture("expanded.pt")).1.contains("numbers of its storage"));
    // The number of strides is wrong, the length of the storage is wrong, or the storage is missing.
    refused(&zip(&archive(&one_tensor(6, 0, &[6], &[1, 1]), &storage)));
    refused(&zip(&archive(&one_tensor(7, 0, &[6], &[1]), &storage)));
    refused(&zip(&archive(&one_tensor(6, 0, &[6], &[1]), &storage)[..1]));
}

#[test]
fn much_sharing_is_refused() {
    let one = one_tensor(1000, 0, &[1000], &[1]);
    let tensor = &one[9..one.len() - 2];
    let mut pickle = b"\x80\x02}(".to_vec();
    for i in 0..40 {
        pickle.extend(format!("X\x02\0\0\0{i:02}").bytes());
        pickle.extend(tensor);
    }
    pickle.extend(b"u.");
    let (_, message) = refused(&zip(&archive(&pickle, &[0; 4000])));
    assert!(message.contains("too much sharing"), "{message}");
    // The same name twice.
    let twice = [b"\x80\x02}(X\x01\0\0\0w".as_slice(), tensor, b"X\x01\0\0\0w", tensor, b"u."].concat();
    assert!(refused(&zip(&archive(&twice, &[0; 4000]))).1.contains("a second `w`"));
}

#[test]
fn wrong_archives_are_refused() {
    let pickle = one_tensor(6, 0, &[2, 3], &[3, 1]);
    let entries = || archive(&pickle, &[0; 24]).to_vec();
    let change = |i: usize, change: &dyn Fn(&mut Entry)| {
        let mut entries = entries();
        change(&mut entries[i]);
        refused(&zip(&entries)).1
    };
    assert!(change(1, &|e| e.crc ^= 1).contains("checksum"));
    assert!(change(1, &|e| e.flags = 1).contains("not encrypted"));
    assert!(change(1, &|e| e.method = 12).contains("a stored or deflated entry"));
    assert!(change(1, &|e| e.packed_bytes = 23).contains("the same length twice"));
    assert!(change(0, &|e| e.method = 8).contains("deflated"));
    assert!(
        change(1, &|e| (e.packed_bytes, e.unpacked_bytes) = (4000, 4000)).contains("before the directory")
    );
    assert!(change(1, &|e| e.packed_bytes = u32::MAX).contains("ZIP64 field"));
    assert!(change(1, &|e| e.header_at = Some(1)).contains("the header of the entry `a/data/0`"));
    assert!(change(1, &|e| e.header_at = Some(0)).contains("the header of the entry `a/data/0`"));
    assert!(change(1, &|e| e.header_at = Some(u32::MAX - 1)).contains("the header of the entry"));
    assert!(change(1, &|e| e.name = "a/data.pkl".into()).contains("a name of its own"));
    // Two folders.
    assert!(change(1, &|e| e.name = "b/data.pkl".into()).contains("2 such entries"));
    // The first entry reaches into the second.
    let first_len = pickle.len() as u32;
    let message = change(0, &|e| (e.packed_bytes, e.unpacked_bytes) = (first_len + 40, first_len + 40));
    assert!(message.contains("overlaps"), "{message}");

    // Claims of the end record: the number of entries, the place and the length of the directory.
    let whole = zip(&entries());
    let end = whole.len() - 22;
    for at in [0, 4, 6, 10, 12, 16, 20] {
        let mut bytes = whole.clone();
        bytes[end + at] ^= 1;
        refused(&bytes);
    }
    refused(&[&whole[..], b"x"].concat());
    for len in 0..whole.len() {
        refused(&whole[..len]);
    }
}

#[test]
fn zip_bombs_are_refused() {
    let pickle = one_tensor(6, 0, &[2, 3], &[3, 1]);
    // 100 MB of zeros in 100 kB.
    let bomb = Entry::deflated("a/data/0", &vec![0; 100 << 20]);
    let bytes = zip(&[Entry::stored("a/data.pkl", &pickle), bomb.clone()]);
    assert!(refused(&bytes).1.contains("unpacks to at most 16 times its length"));
    // A smaller or a larger claimed length is refused too.
    let claim = |n: u32| {
        let bomb = Entry { unpacked_bytes: n, ..bomb.clone() };
        refused(&zip(&[Entry::stored("a/data.pkl", &pickle), bomb])).1
    };
    assert!(claim(24).contains("24 bytes in \"a/data/0\", found more"));
    assert!(claim(u32::MAX - 1).contains("16 times"));
    // Many small entries that unpack to much.
    let small = Entry::deflated("", &vec![0; 1 << 20]);
    let many: Vec<Entry> = (0..100).map(|i| Entry { name: format!("a/data/{i}"), ..small.clone() }).collect();
    assert!(refused(&zip(&many)).1.contains("16 times"));
    // A pickle may be deflated.
    let entries = [Entry::deflated("a/data.pkl", &pickle), Entry::deflated("a/data/0", &[0; 24])];
    assert!(parse(&zip(&entries), Path::new("a")).is_ok());
}

#[test]
fn damaged_legacy_files_are_refused() {
    let whole = fixture("net_legacy.pt");
    for len in 0..whole.len() {
        refused(&whole[..len]);
    }
    // The eight bytes before the last storage are its length.
    let mut bytes = whole.clone();
    let at = whole.len() - 16;
    bytes[at] ^= 2;
    let (offset, message) = refused(&bytes);
    assert!(offset.is_some_and(|offset| offset > 900), "{message}");
}
