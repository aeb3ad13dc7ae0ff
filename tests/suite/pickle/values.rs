//! Values that Python wrote, and pickles that must be refused.

use std::path::Path;

use super::{fixture, one_tensor, told};
use parsec_nas::files::pickle::{Array, Dtype, Value, parse};

fn read(name: &str) -> Value {
    parse(&fixture(name), Path::new(name)).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(bytes: &[u8]) -> (u64, String) {
    let (offset, message) = told(parse(bytes, Path::new("test.pkl")));
    (offset.unwrap(), message)
}

fn ints(items: impl IntoIterator<Item = i64>) -> Vec<Value> {
    items.into_iter().map(Value::Int).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

#[test]
fn plain_values_of_all_protocols() {
    for p in 0..6 {
        let value = read(&format!("plain_p{p}.pkl"));
        let get = |key: &str| value.get(key).unwrap();
        assert_eq!(get("none"), &Value::None, "protocol {p}");
        assert_eq!((get("yes"), get("no")), (&Value::Bool(true), &Value::Bool(false)));
        assert_eq!((get("small"), get("zero")), (&Value::Int(7), &Value::Int(0)));
        assert_eq!((get("negative"), get("long")), (&Value::Int(-70000), &Value::Int(-(1 << 40))));
        assert_eq!(get("seed"), &Value::BigInt(u64::MAX.into()));
        assert_eq!((get("float"), get("inf")), (&Value::Float(-0.1), &Value::Float(f64::INFINITY)));
        assert_eq!(get("bytes"), &Value::Bytes(b"\x00\xffab\\\n'".as_slice().into()));
        assert_eq!(get("text"), &text("Grüße\n\\u0041 😀"));
        let nested = Value::List(vec![Value::Int(2), Value::List(vec![])]);
        assert_eq!(get("list"), &Value::List(vec![Value::Int(1), nested]));
        let tuples = (0..5).map(|n| Value::Tuple(ints(1..n + 1))).collect();
        assert_eq!(get("tuples"), &Value::Tuple(tuples));
        let dict = vec![(text("a"), Value::Dict(vec![])), (Value::Int(1), Value::Float(2.5))];
        assert_eq!(get("dict"), &Value::Dict(dict));
        let shared = Value::List(ints([1, 2]));
        let again = Value::Dict(vec![(text("again"), shared.clone())]);
        assert_eq!(get("shared"), &Value::List(vec![shared.clone(), shared, again]));
        assert_eq!(get("many"), &Value::List(ints(0..1500)));
    }
}

fn check_arrays(name: &str, all: bool) {
    let value = read(name);
    let array = |key: &str| match value.get(key) {
        Some(Value::Array(array)) => Array::clone(array),
        other => panic!("{name}: {key}: {other:?}"),
    };
    let expect = |key: &str, dtype: Dtype, raw: Vec<u8>| {
        let expected = Array { dtype, shape: vec![2, 3], data: raw.into() };
        assert_eq!(array(key), expected, "{name}: {key}");
    };
    let halves = || (0..6).map(|i| f64::from(i) * 0.5 - 1.0);
    expect("f4", Dtype::F32, halves().flat_map(|x| (x as f32).to_le_bytes()).collect());
    expect("f8", Dtype::F64, halves().flat_map(f64::to_le_bytes).collect());
    let bits = [0xbc00u16, 0xb800, 0, 0x3800, 0x3c00, 0x3e00];
    expect("f2", Dtype::F16, bits.into_iter().flat_map(u16::to_le_bytes).collect());
    expect("u1", Dtype::U8, (0..6).collect());
    expect("i8", Dtype::I64, (0..6).flat_map(|i: i64| (-i).to_le_bytes()).collect());
    expect("i4", Dtype::I32, (0..6).flat_map(|i: i32| (-i).to_le_bytes()).collect());
    expect("u2", Dtype::U16, (65000..65006u16).flat_map(u16::to_le_bytes).collect());
    expect("b1", Dtype::Bool, vec![0, 1, 0, 1, 0, 1]);
    expect("big", Dtype::I16, (0..6).flat_map(|i: i16| (-i).to_le_bytes()).collect());
    let cube = array("cube");
    assert_eq!((&*cube.shape, &*cube.data), ([2, 3, 4].as_slice(), (0..24).collect::<Vec<u8>>().as_slice()));
    if all {
        let fortran = array("fortran");
        let ordered: Vec<u8> = (0..24i16).flat_map(i16::to_le_bytes).collect();
        assert_eq!((&*fortran.shape, &*fortran.data), ([2, 3, 4].as_slice(), ordered.as_slice()));
    }
    let scalars = [
        ("float32", Value::Float(1.5)),
        ("float64", Value::Float(-0.1)),
        ("float16", Value::Float(2f64.powi(-24))),
        ("int64", Value::Int(-3)),
        ("uint8", Value::Int(255)),
        ("bool", Value::Bool(true)),
        ("uint64", Value::BigInt(u64::MAX.into())),
        ("big_scalar", Value::Int(-2)),
    ];
    for (key, expected) in scalars {
        assert_eq!(value.get(key), Some(&expected), "{name}: {key}");
    }
}

#[test]
fn arrays_of_all_protocols_and_both_spellings() {
    for p in 0..6 {
        check_arrays(&format!("arrays_new_p{p}.pkl"), p < 5);
        check_arrays(&format!("arrays_old_p{p}.pkl"), p < 5);
    }
    let Value::Array(zeros) = read("frombuffer_p5.pkl") else { panic!() };
    assert_eq!((&*zeros.shape, &*zeros.data), ([3].as_slice(), [0; 24].as_slice()));
    let empty = parse(b"c__builtin__\nbytes\n)R.", Path::new("a")).unwrap();
    assert_eq!(empty, Value::Bytes([].into()));
    let Value::Array(empty) = read("empty_array_p4.pkl") else { panic!() };
    assert_eq!((&*empty.shape, empty.data.len()), ([0, 3].as_slice(), 0));
}

#[test]
fn cifar_as_python_2_wrote_it() {
    let pixels: Vec<u8> = (0..2 * 3072).map(|i| (i % 251) as u8).collect();
    let batch = read("cifar10_batch");
    let array = |value: &Value| match value.get("data") {
        Some(Value::Array(array)) => Array::clone(array),
        other => panic!("{other:?}"),
    };
    let expected = Array { dtype: Dtype::U8, shape: vec![2, 3072], data: pixels.clone().into() };
    assert_eq!(array(&batch), expected);
    assert_eq!(batch.get("labels"), Some(&Value::List(ints([6, 9]))));
    assert_eq!(batch.get("batch_label").unwrap().as_text(), Some("training batch 1 of 5"));
    let Some(Value::List(names)) = batch.get("filenames") else { panic!() };
    assert_eq!(names[1].as_text(), Some("camion.png"));
    // The keys are bytes.
    let Value::Dict(pairs) = &batch else { panic!() };
    assert!(pairs.iter().all(|(key, _)| matches!(key, Value::Bytes(_))));

    let train = read("cifar100_train");
    assert_eq!(train.get("fine_labels"), Some(&Value::List(ints([19, 99]))));
    assert_eq!(train.get("coarse_labels"), Some(&Value::List(ints([11, 0]))));
    let reversed: Vec<u8> = pixels.chunks(3072).flat_map(|row| row.iter().rev()).copied().collect();
    assert_eq!(&*array(&train).data, reversed.as_slice());

    let meta = read("cifar10_meta");
    assert_eq!(meta.get("num_cases_per_batch"), Some(&Value::Int(10000)));
}

#[test]
fn other_things_of_python_2() {
    let value = read("python2_p0.pkl");
    assert_eq!(value.get("data"), Some(&Value::Bytes(b"\x00\xff'\n".as_slice().into())));
    assert_eq!(value.get("u"), Some(&text("Grü€")));
    assert_eq!(value.get("n"), Some(&Value::Int(123456789012345)));
    let value = read("ordered_python2.pkl");
    assert_eq!((value.get("a"), value.get("b")), (Some(&Value::Int(1)), Some(&Value::Int(2))));
}

#[test]
fn names_that_would_run_code_are_refused() {
    for p in 0..6 {
        let bytes = fixture(&format!("attack_system_p{p}.pkl"));
        let (offset, message) = refused(&bytes);
        assert!(message.contains("`posix.system`: this file would run code; it is not read"), "{message}");
        let place = if p < 4 {
            bytes.iter().position(|&byte| byte == b'c')
        } else {
            bytes.iter().position(|&byte| byte == 0x93)
        };
        assert_eq!(offset, place.unwrap() as u64, "protocol {p}");
    }
    for (name, function) in [
        ("attack_eval_in_list.pkl", "`__builtin__.eval`"),
        ("attack_memo.pkl", "`builtins.exec`"),
        ("attack_bare_name.pkl", "`posix.system`"),
    ] {
        let (_, message) = refused(&fixture(name));
        assert!(message.contains(&format!("{function}: this file would run code")), "{message}");
    }
    assert!(!Path::new("/tmp/pwned").exists());
}

#[test]
fn every_way_to_a_name_is_closed() {
    let cases: &[(&[u8], u64, &str)] = &[
        (b"cos\nsystem\n(S'x'\ntR.", 0, "`os.system`"),
        (b"\x80\x02]cbuiltins\neval\na.", 3, "`builtins.eval`"),
        // The names come from the memo.
        (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93.", 21, "`os.system`"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", 14, "`os.system`"),
        // The instruction `i` calls a function, so it is refused even with allowed names.
        (b"(S'x'\nios\nsystem\n.", 6, "`os.system`"),
        (b"(icollections\nOrderedDict\n.", 1, "`collections.OrderedDict`"),
        // A name inside of an allowed module, an allowed name in another module, and dots.
        (b"cnumpy\nload\n.", 0, "`numpy.load`"),
        (b"ctorch\nload\n.", 0, "`torch.load`"),
        (b"cos\nndarray\n.", 0, "`os.ndarray`"),
        (b"ccollections\nOrderedDict.__class__\n.", 0, "`collections.OrderedDict.__class__`"),
        (b"cargparse\nNamespace\n.", 0, "`argparse.Namespace`"),
        (b"ctorch.storage\n_load_from_bytes\n.", 0, "`torch.storage._load_from_bytes`"),
        // No control characters reach the terminal.
        (b"c\x1b[2Jos\nsystem\n.", 0, "`\\u{1b}[2Jos.system`"),
    ];
    for (bytes, offset, name) in cases {
        let (at, message) = refused(bytes);
        let expected = format!("{name}: this file would run code; it is not read");
        assert!(message.contains(&expected), "{message}");
        assert_eq!(at, *offset, "{message}");
    }
    // A tensor is refused, because its storage would be outside of the pickle.
    let (_, message) = refused(&one_tensor(6, 0, &[2, 3], &[3, 1]));
    assert!(message.contains("a value that lies outside of the file"), "{message}");
    // Objects, extension codes, values elsewhere.
    for bytes in [
        b"ccollections\nOrderedDict\n)\x81.".as_slice(),
        b"ccollections\nOrderedDict\n)}\x92.",
        b"(ccollections\nOrderedDict\no.",
        b"\x82\x01.",
        b"\x83\x01\x00.",
        b"\x84\x01\x00\x00\x00.",
        b"Pkey\n.",
        b"K\x00Q.",
        b"\x97.",
        b"\x8f.",
        b"(\x91.",
        // A name is no value, and neither is an array without content or a type.
        b"cnumpy\nndarray\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
        b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR.",
        // Known names with other arguments.
        b"cnumpy.core.multiarray\n_reconstruct\n(K\x01K\x02K\x03tR.",
        b"cnumpy\nndarray\n)R.",
        b"ccollections\nOrderedDict\n(K\x01tR.",
        b"c_codecs\nencode\n(X\x01\0\0\0aX\x05\0\0\0rot13tR.",
        b"ctorch\nFloatStorage\n)R.",
        b"K\x01)R.",
        b"]}b.",
        b"K\x01}b.",
    ] {
        let (_, message) = refused(bytes);
        assert!(message.contains("expected"), "{message}");
    }
}

#[test]
fn arrays_of_other_things_are_refused() {
    for name in ["strings.pkl", "objects.pkl", "records.pkl"] {
        let (_, message) = refused(&fixture(name));
        assert!(message.contains("an array of numbers"), "{message}");
    }
}

#[test]
fn damage_is_refused_with_its_place() {
    let cases: &[(&[u8], u64)] = &[
        (b"", 0),
        (b"\x80\x02", 2),
        (b"\x80\x06N.", 0),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", 2),
        // Lengths beyond the end.
        (b"NX\xff\xff\xff\x7fab.", 1),
        (b"T\xff\xff\xff\xffab.", 0),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffab.", 0),
        (b"\x8d\x00\x00\x00\x00\x00\x00\x00\x80ab.", 0),
        (b"\x8b\xff\xff\xff\x7fab.", 0),
        (b"\x8a\x11aaaaaaaaaaaaaaaaa.", 0),
        (b"\x96\x10\x00\x00\x00\x00\x00\x00\x00.", 0),
        // The stack.
        (b".", 0),
        (b"(.", 1),
        (b"NN.", 2),
        (b"K\x01(0.x", 4 + 1),
        (b"0.", 0),
        (b"N(0", 3),
        (b"N(2.", 2),
        (b"e.", 0),
        (b"](Ku.", 4),
        (b"}(K\x01u.", 4),
        (b"(K\x01d.", 3),
        (b"NNa.", 2),
        (b"}K\x01a.", 3),
        (b"]K\x01K\x02s.", 5),
        (b"\x85.", 0),
        (b"N\x86.", 1),
        (b"h\x00.", 0),
        (b"g-1\n.", 0),
        (b"p99999999999\n.", 0),
        // Texts.
        (b"X\x01\x00\x00\x00\xff.", 0),
        (b"S'a\n.", 0),
        (b"S'\\q'\n.", 0),
        (b"S'\\x1'\n.", 0),
        (b"S\n.", 0),
        (b"V\\ud800\n.", 0),
        (b"V\\u12\n.", 0),
        (b"I1x\n.", 0),
        (b"I9999999999999999999999999999999999999999999\n.", 0),
        (b"Fx\n.", 0),
        (b"I1", 0),
        (b"\x00.", 0),
        (b"N.N", 2),
    ];
    for (bytes, offset) in cases {
        let (at, message) = refused(bytes);
        assert_eq!(at, *offset, "{message} in {:?}", String::from_utf8_lossy(bytes));
    }
    // Any shorter file is refused, with an offset that is not beyond its end.
    for name in ["plain_p0.pkl", "plain_p4.pkl", "arrays_new_p2.pkl", "arrays_new_p5.pkl", "cifar10_meta"] {
        let bytes = fixture(name);
        for len in 0..bytes.len() {
            assert!(refused(&bytes[..len]).0 <= len as u64);
        }
    }
}

#[test]
fn arrays_that_do_not_fit_their_bytes_are_refused() {
    let array = |shape: &str, data: &[u8]| {
        let head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(";
        let dtype = b"tcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nT";
        let len = (data.len() as u32).to_le_bytes();
        [head.as_slice(), shape.as_bytes(), dtype, &len, data, b"tb."].concat()
    };
    let Value::Array(found) = parse(&array("I2\n", &[0; 16]), Path::new("a")).unwrap() else { panic!() };
    assert_eq!(&*found.shape, [2]);
    for shape in [
        "I3\n",
        "I-2\n",
        "I4611686018427387904\nI4\n",
        "I9223372036854775807\nI9223372036854775807\n",
        "I0\n",
        "NI2\n",
        "I99999999999999999999\n",
        &"I1\n".repeat(17),
    ] {
        refused(&array(shape, &[0; 16]));
    }
}

#[test]
fn bombs_are_refused() {
    // A list that contains itself, directly and through a dict and a tuple.
    for bytes in [
        b"\x80\x02]q\x00h\x00a.".as_slice(),
        b"]q\x00(h\x00h\x00h\x00e.",
        b"]q\x00}q\x01K\x01h\x00sa.",
        b"]q\x00h\x00\x85a.",
    ] {
        let (_, message) = refused(bytes);
        assert!(message.contains("contains itself"), "{message}");
    }
    // Depth.
    let deep = |n: usize| [vec![b']'; n], vec![b'a'; n - 1], vec![b'.']].concat();
    assert!(parse(&deep(60), Path::new("a")).is_ok());
    for n in [70, 1_000_000] {
        assert!(refused(&deep(n)).1.contains("64 deep"));
    }
    let marks = [vec![b'('; 1_000_000], vec![b't'; 1_000_000], vec![b'.']].concat();
    assert!(refused(&marks).1.contains("64 deep"));
    // Each of 50 lists contains the one before it twice: 2^50 values at the end.
    let mut laughs = b"]q\x00".to_vec();
    for i in 1..50u8 {
        laughs.extend([b']', b'q', i, b'(', b'h', i - 1, b'h', i - 1, b'e']);
    }
    laughs.extend(b"\x85".iter());
    laughs.extend([b'q', 60, b'1', b'h', 60, b'.']);
    let laughs = [b"(".as_slice(), &laughs].concat();
    assert!(refused(&laughs).1.contains("as many values as fit the size of the file"));
    // The same long text, turned to bytes again and again.
    let mut copies = b"(c_codecs\nencode\nq\x00X".to_vec();
    copies.extend(1_000_000u32.to_le_bytes());
    copies.extend(vec![b'a'; 1_000_000]);
    copies.extend(b"q\x01X\x06\0\0\0latin1q\x02\x86q\x03");
    copies.extend(b"h\x00h\x03R".repeat(1000));
    assert!(refused(&copies).1.contains("values that fit the size of the file"));
    // More values than any file has.
    assert!(refused(&vec![b'N'; 5_000_000]).1.contains("at most 4194304 values"));
    // A long tuple as arguments, as a shape and as a state.
    let long = [b"cnumpy\ndtype\n(".to_vec(), vec![b'N'; 100_000], b"tR.".to_vec()].concat();
    assert!(refused(&long).1.contains("a tuple of at most 16 values"));
}

#[test]
fn a_list_that_is_filled_after_it_was_named_is_whole_everywhere() {
    let value = parse(b"(]q\x00h\x00h\x00K\x03at.", Path::new("a")).unwrap();
    assert_eq!(value, Value::Tuple(vec![Value::List(ints([3])); 3]));
}
